"""What is called right, and how fast, of the results that `weir bench stream --peers` reads back."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from schemas.event import ChatEvent
from schemas.record import SourceRecord
from schemas.verdict import Verdict
from workers.bench.stream.peers.environments import FOLDER
from workers.bench.stream.peers.results import check_results, expected_results
from workers.bench.stream.workload import BenchEvent, bench_events

COUNT = 20
EVENTS = list(bench_events(COUNT))
EXPECTED = expected_results(EVENTS)


@pytest.fixture(scope="module")
def chat() -> ModuleType:
    """The work that all peers share."""
    spec = importlib.util.spec_from_file_location("peer_chat", FOLDER / "chat.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(chat: ModuleType) -> list[SourceRecord]:
    """What a peer writes, ten milliseconds apart from 1,000 on."""
    return [result_of(chat, number, event) for number, event in enumerate(EVENTS)]


def result_of(chat: ModuleType, number: int, event: BenchEvent) -> SourceRecord:
    value = chat.verdict_of(event.value, "events", 0, number, 5)
    headers = tuple(chat.result_headers([("traceparent", event.traceparent), ("other", b"x")]))
    return SourceRecord("results", 0, number, 1_000 + 10 * number, event.key, value, headers)


def test_a_peer_writes_verdicts_of_weirs_own_fields(chat: ModuleType, results: list[SourceRecord]) -> None:
    verdict = Verdict.model_validate_json(results[7].value or b"")
    assert list(json.loads(results[7].value or b"")) == list(Verdict.model_fields)
    assert (verdict.event_id, verdict.source.offset, verdict.task) == ("event-7", 7, "prompt")
    assert [name for name, _ in results[7].headers] == ["content-type", "traceparent"]
    assert set(chat.ChatEvent.model_fields) == set(ChatEvent.model_fields)


@pytest.mark.parametrize(
    "value",
    [
        b'{"event_id": "e"}',
        b'{"event_id": "", "text": "x"}',
        b'{"event_id": "e", "text": "x", "messages": []}',
        b'{"event_id": "e", "messages": [{"role": "robot", "content": "x"}]}',
        b'{"event_id": "e", "text": "x", "schema_version": "2.0"}',
        b"not JSON",
    ],
)
def test_a_peer_refuses_what_weir_refuses(chat: ModuleType, value: bytes) -> None:
    with pytest.raises(ValueError, match="validation error"):
        chat.verdict_of(value, "events", 0, 0, 5)
    with pytest.raises(ValueError, match="validation error"):
        ChatEvent.model_validate_json(value)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_peer_imports_nothing_of_weir(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not any(
        f"{word} {name}" in text for word in ("from", "import") for name in ("schemas", "pipelines", "workers")
    )


def test_right_results_are_right(results: list[SourceRecord]) -> None:
    checked = check_results(results, EXPECTED)
    assert (checked.missing, checked.wrong, checked.duplicates, checked.problem) == (0, 0, 0, None)
    assert checked.value_bytes == sum(len(result.value or b"") for result in results) / COUNT


def test_the_rate_is_by_append_times_without_the_first_tenth(results: list[SourceRecord]) -> None:
    assert check_results(results, EXPECTED).rate == 100.0
    late = [results[0]._replace(timestamp_ms=1), results[1]._replace(timestamp_ms=2), *results[2:]]
    assert check_results(reversed(late), EXPECTED).rate == 100.0  # 17 in 170 ms; the first two are the warm-up
    burst = [result._replace(timestamp_ms=1_000) for result in results[:11]] + results[11:]
    assert check_results(burst, EXPECTED).rate == pytest.approx(9 / 0.19)
    assert check_results([result._replace(timestamp_ms=7) for result in results], EXPECTED).rate == 0.0


def test_a_lost_event_is_missed(results: list[SourceRecord]) -> None:
    checked = check_results(results[:-2], EXPECTED)
    assert (checked.missing, checked.problem) == (2, "2 events without a result")
    assert check_results([], EXPECTED).missing == COUNT


def test_duplicates_are_counted_and_are_no_fault(results: list[SourceRecord]) -> None:
    again = [result._replace(timestamp_ms=9_000) for result in results[:3]]
    checked = check_results([*results, *again], EXPECTED)
    assert (checked.duplicates, checked.problem, checked.rate) == (3, None, 100.0)


def _with(**changes: object) -> Callable[[SourceRecord], SourceRecord]:
    def change(result: SourceRecord) -> SourceRecord:
        return result._replace(value=json.dumps({**json.loads(result.value or b""), **changes}).encode())

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        lambda result: result._replace(key=b"c-9"),
        lambda result: result._replace(key=None),
        lambda result: result._replace(value=None),
        lambda result: result._replace(value=b"{}"),
        lambda result: result._replace(headers=()),
        lambda result: result._replace(headers=(("traceparent", b"00-" + b"1" * 32 + b"-" + b"1" * 16 + b"-00"),)),
        _with(event_id="event-20"),
        _with(event_id="event--1"),
        _with(event_id="other"),
        _with(conversation_id="c-9"),
        _with(severity="Harmless"),
        _with(verdict_id=None),
    ],
)  # fmt: skip
def test_a_spoilt_result_is_wrong(results: list[SourceRecord], spoil: Callable[[SourceRecord], SourceRecord]) -> None:
    checked = check_results([*results[:-1], spoil(results[-1])], EXPECTED)
    assert (checked.missing, checked.wrong) == (1, 1)
    assert checked.problem == "1 events without a result, 1 wrong results"


def test_one_verdict_id_for_several_events_is_wrong(results: list[SourceRecord]) -> None:
    same = json.loads(results[0].value or b"")["verdict_id"]
    assert check_results([*results[:-2], *map(_with(verdict_id=same), results[-2:])], EXPECTED).wrong == 2


def test_the_bare_loop_passes_the_events_on() -> None:
    passed = [
        SourceRecord("results", 0, number, number, event.key, event.value, (("traceparent", event.traceparent),))
        for number, event in enumerate(EVENTS)
    ]
    assert check_results(passed, EXPECTED, verdicts=False).problem is None
    assert check_results(passed, EXPECTED).wrong == COUNT
    assert check_results([*passed[:-1], passed[-1]._replace(value=b"[]")], EXPECTED, verdicts=False).wrong == 1
