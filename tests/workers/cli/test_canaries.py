"""A text and a secret that no command may print, log or write into a file, whatever is asked of it (P10).

Ray's files and state are walked by `tests/workers/serving/test_engine_errors_on_ray.py`, malformed settings by
`tests/workers/settings/test_secrets.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from tests.guards.scripted_guard import ScriptedGuard
from tests.site import Site, event
from tests.workers.audit.report.report_runs import dead_letter, verdict, write_run
from tests.workers.serving.ray_state import files_with
from workers.cli.app import app

TEXT, SECRET = "hunter-of-canaries", "s3cret-canary"
CANARIES = (TEXT, SECRET)
ROOT = Path(__file__).parents[3]
EVENTS = 12
TOPICS = ("EVENTS", "VERDICTS", "DEAD_LETTERS", "SHADOW")
# What takes a machine to itself; each has a test that reads what it prints and writes.
ELSEWHERE = {
    "demo": "tests/workers/demo/test_run.py",
    "run": "tests/integration/test_run.py",
    "serve": "tests/workers/ask/test_serve.py",
    "audit run": "tests/workers/audit/test_audit_commands.py",
    "breaker status": "tests/workers/serving/test_breaker_on_serve.py",
    "breaker reset": "tests/workers/serving/test_breaker_on_serve.py",
    "dlq skip-batch": "tests/workers/tools/dead_letters/test_skip_batch.py",
}
NOBODY = "http://127.0.0.1:1/metrics"


@pytest.fixture
def filled(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Topics with judged events and dead letters, all of them with the text, and settings with the secret."""
    kafka = site.settings.kafka
    given = {
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA__GROUP_ID": kafka.group_id,
        "KAFKA__API_VERSION": kafka.api_version,
        "KAFKA__SASL_PASSWORD": SECRET,
        "KAFKA__SSL_PASSWORD": SECRET,
        "TELEMETRY__LOG_LEVEL": "DEBUG",
        "GUARD__MODEL": "demo",
        **{f"TOPICS__{name}": topic for name, topic in zip(TOPICS, site.names, strict=True)},
    }  # fmt: skip
    for name, value in given.items():
        if value is not None:
            monkeypatch.setenv(f"WEIR_{name}", value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={SECRET}")
    unreadable: list[bytes | None] = [f'{{"event_id": "{TEXT}'.encode(), f'{{"text": "{TEXT}"}}'.encode()]
    site.produce(
        [*(event(f"e{number}", f"{TEXT} {number}") for number in range(EVENTS)), *unreadable],
        headers=lambda _: [("note", TEXT.encode())],
    )
    site.start(ScriptedGuard())
    site.wait_for(EVENTS + len(unreadable))
    return site


def asked(site: Site, folder: Path) -> Iterator[tuple[str, ...]]:
    """Every command, with arguments that make it read what has the canaries."""
    [one] = {verdict["verdict_id"] for verdict in site.verdicts() if verdict["event_id"] == "e1"}
    [letter, *_] = site.records(2)
    runs = [
        write_run(folder / name, [verdict("v", text=TEXT)], [dead_letter(None, "invalid_json")], revision=name)
        for name in ("old", "new")
    ]
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"{TEXT} {n}", "label": n % 2}) + "\n" for n in range(4)), "utf-8")
    predicted = ["one.predictions", "other.predictions"]
    for arguments in (
        ("check", "--timeout", "2"),
        ("verify",),
        ("topics", "plan"),
        ("dlq", "list"),
        ("dlq", "show", f"{letter.partition}:{letter.offset}"),
        ("audit", "status", runs[0]),
        ("shadow", "report"),
    ):
        yield arguments
        yield *arguments, "--json"
    yield "classify", TEXT
    for sought in ("e1", one, f"{site.names[0]}-0-0", "nowhere"):
        yield "trace", sought
    yield "top", "--once", "--url", NOBODY
    yield ("schema",)
    yield "plan", "--messages-per-second", "100", "--tokens", "20"
    yield "topics", "apply"
    yield "dlq", "list", "--records"
    yield "dlq", "redrive", "--dry-run"
    yield "dlq", "redrive", "--json"
    yield "dlq", "purge", "--dry-run"
    yield "audit", "report", runs[1], "--against", runs[0], "--out", "report.html"
    yield "audit", "report", runs[1], "--json", "-", "--out", "other.html"
    for path in predicted:
        yield "eval", "run", str(rows), "--unsafe", "1", "--predictions", path, "--resamples", "10"
    yield "eval", "report", predicted[0]
    yield "eval", "compare", *predicted


def commands(group: Any, *above: str) -> Iterator[str]:
    """The names of all commands, benchmarks aside, which read nobody's messages."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)
        elif "bench" not in above:
            yield " ".join((*above, name))


def test_p10_no_command_prints_logs_or_writes_a_message_or_a_secret(
    filled: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (inputs := tmp_path / "in").mkdir()
    every = set(commands(typer.main.get_command(app)))
    left = every - ELSEWHERE.keys()
    for number, arguments in enumerate(asked(filled, inputs)):
        result = CliRunner().invoke(app, arguments)
        assert "Usage:" not in result.output, f"{arguments}: {result.output}"
        left -= {arguments[0], " ".join(arguments[:2])}
        (tmp_path / f"{number}.out").write_text(f"{result.output} {result.exception!r}", encoding="utf-8")
    (tmp_path / "log").write_text(caplog.text, encoding="utf-8")

    found = [name for canary in CANARIES for name in files_with(canary, tmp_path) if not name.startswith("in/")]
    assert found == []
    assert left == set(), "a command that nobody has asked"
    assert all((ROOT / path).is_file() for path in ELSEWHERE.values())
    assert len(files_with(filled.names[0], tmp_path)) > 2, "what was printed was looked at"
