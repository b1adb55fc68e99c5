"""`weir audit run` and `weir audit status` as a user types them, with the demo's model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.weir_result import Result
from tests.workers.audit.scripted_lane import chat, rows_of, write_parquet
from workers.audit.pace import Pace
from workers.audit.run_folder import DRIVER
from workers.audit.run_lock import driving
from workers.demo.broker import EmbeddedBroker
from workers.kafka.producer import producer
from workers.settings.loading import load_settings

FIELDS = ("--map", "text=body", "--map", "id=key", "--map", "tenant=who", "--map", "time=at")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_parquet(tmp_path / "chat.parquet", chat(20))


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """A run that was begun and has one block done."""
    from tests.workers.audit.scripted_lane import asked
    from workers.audit.manifest import BlockMarker, Cost, Counts
    from workers.audit.run import AuditRun

    log = write_parquet(tmp_path / "long.parquet", chat(200))
    run = AuditRun(asked(tmp_path / "begun", log, 50))
    run._folder.write_manifest(run.manifest)  # noqa: SLF001 - begun, and nothing done
    provenance = dict.fromkeys(("model", "revision", "prompt_sha256", "engine", "dtype", "parser"), "x")
    marker = BlockMarker.model_validate(
        {
            "block": 3,
            "attempt": "1",
            "files": [],
            "finished_at": run.manifest.started_at,
            "provenance": provenance,
            "counts": Counts(rows=50, verdicts=49, dead_letters=1, by_severity={"Safe": 49}, by_reason={"too_long": 1}),
            "cost": Cost(prompt_tokens=5),
        }
    )
    run._folder.write_marker(marker)  # noqa: SLF001
    return tmp_path / "begun"


@pytest.mark.ray
@pytest.mark.usefixtures("_local_ray")
def test_a_run_with_the_demo_model_judges_reports_its_end_and_refuses_to_be_made_again(
    log: Path, tmp_path: Path
) -> None:
    run = str(tmp_path / "run")
    command = ("audit", "run", str(log), "--into", run, "--model", "demo", *FIELDS, "--block-rows", "8", "--json")
    made = Result(*command)
    again = Result(*command)
    seen = Result("audit", "status", run, "--json")
    table = Result("audit", "status", run, "--watch")
    verdicts, letters = rows_of(Path(run))

    assert made.code == 0, made.err
    assert made.json["state"] == "finished"
    assert made.json["counts"]["rows"] == len(verdicts) + len(letters) == 20
    assert made.json["provenance"]["model"] == "demo"
    assert made.json["mapping"] == {"id": "key", "tenant": "who", "time": "at", "text": "body"}
    assert again.code == 2
    assert "finished at" in again.err
    assert again.err.count("\n") == 1
    assert seen.json["state"] == "finished"
    assert seen.json["blocks"] == {"done": 3, "of": 3}
    assert seen.json["counts"] == made.json["counts"]
    assert "finished" in table.out
    assert seen.json["driver"] is None
    assert "driven by" not in table.out


def test_the_status_of_a_run_that_goes_on_is_read_from_its_markers(started: Path) -> None:
    command = ("audit", "status", str(started))
    seen, table = Result(*command, "--json").json, Result(*command).out
    with driving(str(started)):
        driven, driven_table = Result(*command, "--json").json, Result(*command).out
    (started / DRIVER).write_text(json.dumps({**driven["driver"], "pid": 7, "token": "x"}), encoding="utf-8")
    killed, killed_table = Result(*command, "--json").json, Result(*command).out

    assert (seen["state"], seen["rows_in_all"], seen["blocks"]) == ("running", 200, {"done": 1, "of": 4})
    assert (seen["counts"]["verdicts"], seen["counts"]["dead_letters"]) == (49, 1)
    assert seen["cost"]["prompt_tokens"] == 5
    assert "1 of 4" in table
    assert "too_long" in table
    assert seen["driver"] is None
    assert "nobody" in table
    assert (driven["driver"]["pid"], driven["driver"]["lives"]) == (os.getpid(), True)
    assert f"process {os.getpid()} on" in driven_table
    assert (killed["driver"]["pid"], killed["driver"]["lives"]) == (7, False)
    assert "is dead" in killed_table


def test_a_dry_run_says_rows_tokens_and_hours_and_writes_nothing(log: Path, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    said = Result(
        "audit", "run", str(log), *FIELDS, "--model", "Qwen/Qwen3Guard-Gen-0.6B", "--dry-run", "--gpu", "h200", "--json"
    ).json

    assert {path.name for path in tmp_path.iterdir()} == before
    assert (said["rows"], said["rows_looked_at"]) == (20, 20)
    assert said["rows_judged"] == 19
    assert said["prompts_after_deduplication"] == 18
    assert said["text_tokens"] > 19 * 5
    assert 0 < said["gpu_hours"] < 1
    assert "h200" in said["source"]


def test_a_dry_run_of_a_topics_sample_counts_its_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("chat")
        settings = load_settings(
            kafka={"bootstrap_servers": broker.bootstrap_servers, "api_version": broker.api_version}
        )
        sender = producer(settings.kafka)
        for number in range(200):
            sender.send("chat", json.dumps({"event_id": f"e{number}", "text": f"hello {number}"}).encode(), b"k")
        sender.close()
        monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        monkeypatch.setenv("WEIR_KAFKA__API_VERSION", broker.api_version)
        command = ("audit", "run", "--topic", "chat", "--model", "demo", "--dry-run", "--json")
        whole, part = Result(*command).json, Result(*command, "--sample", "10%", "--since-run", "before").json

    assert (whole["rows"], whole["rows_judged"], part["rows"]) == (200, 200, 200)
    assert 5 < part["rows_judged"] < 50
    assert "--since-run" in part["at_most"]
    assert "at_most" not in whole


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give files, or --topic"),
        (("LOG", "--topic", "t"), "one of them"),
        (("LOG",), "nothing to judge"),
        (("LOG", *FIELDS, "--from", "1h"), "--from and --to are about a topic"),
        (("LOG", *FIELDS), "--into"),
        (("LOG", *FIELDS, "--into", "RUN", "--stratify", "who"), "give --sample"),
        (("LOG", *FIELDS, "--into", "RUN", "--sample", "x"), "neither a number of rows nor a percentage"),
        (("LOG", *FIELDS, "--into", "nowhere://x/y"), "nowhere"),
        (("LOG.txt", "--into", "RUN"), "chat.parquet.txt: cannot be read: No such file or directory"),
        (("LOG", "--map", "text"), "FIELD=COLUMN"),
        (("LOG", *FIELDS, "--map", "text=who"), "text: given twice"),
        (("x" * 300,), "cannot be read: "),
        (("s3://key:secret@bucket/x",), "a URI with a password"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_ray_starts(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("ray.init", started)
    places = {"LOG": str(log), "LOG.txt": f"{log}.txt", "RUN": str(tmp_path / "run")}
    result = Result("audit", "run", *(places.get(argument, argument) for argument in arguments))

    assert result.code == 2
    assert said in result.err
    assert not (tmp_path / "run").exists()


def test_a_status_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "other"}), encoding="utf-8")

    assert "not what this version of Weir writes" in Result("audit", "status", str(tmp_path)).err
    assert "not a run of" in Result("audit", "status", str(tmp_path / "none")).err
    (tmp_path / "odd" / "manifest.json").mkdir(parents=True)
    assert "odd: cannot be read: " in Result("audit", "status", str(tmp_path / "odd")).err


def test_a_rate_is_kept_and_idle_time_is_not_saved_up() -> None:
    import asyncio

    now = [0.0]
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    async def paced() -> None:
        pace = Pace(10.0, lambda: now[0], sleep)
        for _ in range(3):
            await pace.take(5)
        now[0] += 60
        await pace.take(5)
        await pace.take(5)

    asyncio.run(paced())
    assert waits == [0.5, 0.5, 0.5]


@pytest.mark.ray
@pytest.mark.usefixtures("_local_ray")
def test_a_run_within_its_input_that_judged_nothing_names_lines_and_exits_with_3(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("event_id,text\n1,have a nice day, kill\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("", encoding="utf-8")
    run = tmp_path / "run"
    made = Result("audit", "run", str(tmp_path), "--into", str(run), "--model", "demo", "--json")
    _, (letter,) = rows_of(run)

    assert made.code == 3, made.err
    assert (letter["reason"], letter["detail"]) == ("malformed_row", "line 2: 3 fields, the header has 2")
    assert {Path(item["uri"]).name: item["why"] for item in made.json["left_out"]}["notes.txt"].startswith("none of")
    assert made.json["inputs"][0]["dialect"]["delimiter"] == ","
    again = Result("audit", "run", str(tmp_path), "--into", str(run), "--model", "demo")
    assert (again.code, "finished at" in again.err) == (2, True)
