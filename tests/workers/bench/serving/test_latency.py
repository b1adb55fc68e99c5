"""`weir bench latency` on real Ray Serve: every message answered, alike by both sides, every batch accounted for."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.weir_result import Result
from workers.bench.serving import latency as load_bench
from workers.bench.serving.load_report import LoadFigures, LoadReport

WEIR = Path(sys.executable).with_name("weir")
OPTIONS = ("--load", "15", "--load", "40", "--seconds", "1.5", "--rounds", "1", "--wait", "0.02", "--batch-size", "8")
SIDES = ["weir", "serve.batch 20 ms"]


def bench(monkeypatch: pytest.MonkeyPatch, *options: str) -> subprocess.CompletedProcess[str]:
    monkeypatch.setenv("WEIR_GUARD__DTYPE", "float32")  # in bf16 a near-tie may fall with the batch
    return subprocess.run([WEIR, "bench", "latency", *options], capture_output=True, text=True, check=False)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_both_sides_answer_every_message_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    done = bench(monkeypatch, *OPTIONS, "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)

    assert report.keys() >= {"model", "capacity", "loads", "runs", "settings", "machine", "versions"}
    assert [(run["load"], run["side"]) for run in report["loads"]] == [
        (load, side) for load in (15, 40) for side in SIDES
    ]
    assert [run["side"] for run in report["runs"]] == [*SIDES, *reversed(SIDES)]
    sent = Counter[str]()
    for run in report["loads"]:
        assert run["answered"] == run["sent"] > 0
        assert (run["errors"], run["timeouts"]) == (0, 0)
        assert run["mean_batch"] * run["batches"] == pytest.approx(run["sent"])
        assert 1 <= run["mean_batch"] <= run["largest_batch"] <= 8
        assert 0 < run["p50_ms"] <= run["p99_ms"]
        assert run["offered"] == pytest.approx(run["sent"] / 1.5)
        sent[run["side"]] += run["sent"]
    assert (report["different_answers"], report["compared_answers"]) == (0, sent["weir"])
    assert sent["weir"] == sent[SIDES[1]]
    assert (report["model"], report["capacity"]) == ("demo", None)
    assert report["settings"]["max_batch_size"] == 8
    assert report["settings"]["batch_wait_timeout_s"] == [0.02]
    assert report["settings"]["seed"] == 1
    assert report["machine"]["threads"] >= 1


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_model_that_does_not_load_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = bench(monkeypatch, *OPTIONS, "--model", str(tmp_path))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "weir: the replica weir did not start: schemas.errors.ConfigurationError: guard.model"
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("errors", "code"), [(0, 0), (2, 1)])
def test_without_json_it_is_a_table_and_errors_are_no_success(
    monkeypatch: pytest.MonkeyPatch, errors: int, code: int
) -> None:
    figures = LoadFigures(30.0, "weir", 60, 57, errors, 3, 30.0, 28.5, 19, 3.0, 9, 12.3, 45.6, 0.7)
    report = LoadReport("demo", 120.0, [figures], [figures], 1, 57, {"seed": 4}, {"threads": 1}, {"ray": "2"})
    asked = []
    monkeypatch.setattr(load_bench, "run_load_bench", lambda *arguments: asked.append(arguments) or report)
    result = Result("bench", "latency", "--load", "30", "--wait", "0", "--batch-size", "16", "--pass-ms", "5")

    assert result.code == code
    for shown in ("demo, capacity 120 messages/s", "weir", "28.5", "12.3", "45.6", "seed", "1 of 57 messages"):
        assert shown in result.out
    ((settings, plan, _),) = asked
    assert (settings.guard.model, settings.guard.batch_size) == ("demo", 16)
    assert (plan.loads, plan.waits_s, plan.pass_ms) == ((30.0,), (0.0,), 5.0)
