"""The Kafka door on the mock cluster: order, ends, commits behind open turns, kills, what is wrong."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from pipelines.turns.port import TurnPush
from schemas.errors import GuardCrashError, GuardUnavailableError
from schemas.reasons import Reason
from schemas.turns.frame import DeltaFrame, decode_frame
from tests.guards.turn_judges import LetterJudge
from tests.site import Broker, wait_until
from tests.weir_result import Result
from tests.workers.deltas.delta_site import DeltaSite, frame
from tests.workers.telemetry.recorded_tracing import RecordedTracing
from workers.cli import verify as command
from workers.deltas import loop, open_turns
from workers.tools.verify.verify_turns import verify_turns

SECRET = "zanzibar"


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOOK_S", 0.05)


@pytest.fixture
def site(mock_broker: Broker) -> Iterator[DeltaSite]:
    made = DeltaSite(mock_broker)
    yield made
    made.close()


@pytest.fixture(params=["mock", pytest.param("kafka", marks=pytest.mark.integration)])
def any_site(request: pytest.FixtureRequest) -> Iterator[DeltaSite]:
    made = DeltaSite(request.getfixturevalue(f"{request.param}_broker"))
    yield made
    made.close()


def turn(conversation: str, text: str, pieces: int = 3, *, final: bool = True, **fields: Any) -> list[dict[str, Any]]:
    """A turn's frames."""
    step = -(-len(text) // pieces)
    parts = [text[start : start + step] for start in range(0, len(text), step)]
    return [
        frame(conversation, seq, part, final=final and seq == len(parts) - 1, **fields)
        for seq, part in enumerate(parts)
    ]


def test_p8_a_turn_is_raised_once_and_then_ends_and_its_offsets_are_committed(site: DeltaSite, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("{name: p, version: '1', category_actions: {Violent: {Unsafe: review}}}")
    turns = [turn(f"c{number}", f"lamp {number} is! here!") for number in range(20)]
    site.write([each for row in zip(*turns, strict=True) for each in row])

    worker = site.start_deltas(LetterJudge(), site.settings_with(policy={"file": policy}))
    site.wait_for_ends(20)
    wait_until(lambda: site.delta_offset() == 60, "all deltas to be committed")
    assert worker.stop(20.0)

    said = site.said()
    for number in range(20):
        raised, last = [one for one in said if one["conversation_id"] == f"c{number}"]
        assert (raised["raised"], raised["final"], raised["risk"]) == (True, False, "Unsafe")
        assert (raised["action"], last["action"], last["policy"]["name"]) == ("review", "review", "p")
        assert (last["raised"], last["final"], last["end"], last["offset"]) == (
            True,
            True,
            "final",
            raised["offset"] + 6,
        )
    assert worker.failure is None
    assert worker.in_flight == 0
    ledger = verify_turns(site.settings)
    assert (ledger.is_proven, ledger.turns, ledger.ended, ledger.raises) == (True, 20, 20, 20)


@pytest.mark.parametrize("has_events", [True, False])
def test_weir_verify_reads_turns_beside_events_or_alone(
    site: DeltaSite, monkeypatch: pytest.MonkeyPatch, has_events: bool
) -> None:
    settings = site.settings_with(deltas={"enabled": True}, guard={"enabled": has_events})
    monkeypatch.setattr(command, "load_settings", lambda _: settings)
    site.write(turn("c", "lamp!"))
    before = Result("verify")
    worker = site.start_deltas(LetterJudge())
    site.wait_for_ends(1)
    wait_until(lambda: site.delta_offset() == 3, "all deltas to be committed")
    assert worker.stop(20.0)
    after = Result("verify", "--json", "--from", f"{settings.topics.deltas}:0:0")

    assert (before.code, "1 turns, 0 ended, 0 open, 0 dead letters, 1 not yet judged" in before.out) == (1, True)
    assert (after.code, after.json["proven"], after.json["turns"]["ended"]) == (0, True, 1)
    assert ("inputs" in after.json) == has_events


def test_p2_no_offset_passes_the_first_delta_of_an_open_turn_and_a_successor_says_the_same(any_site: DeltaSite) -> None:
    site = any_site
    site.write(turn("open", "a!bcd!", final=False))
    site.write([each for number in range(10) for each in turn(f"c{number}", "lamp! here")])
    for_ever = site.settings.delivery.model_copy(update={"drain_timeout_s": 600.0})
    first = site.start_deltas(LetterJudge(), site.settings.model_copy(update={"delivery": for_ever}))
    site.wait_for_ends(10)
    wait_until(lambda: len(site.said()) == 21, "the open turn to be raised")
    assert first.stop(60.0), "an open turn is waited for"
    before, stored = site.said_bytes(), site.delta_offset()
    assert stored < 33 - 3, "an offset behind the first delta of the open turn"

    site.write([frame("open", 3, "e", final=True)])
    # The mock cluster cannot move partitions: there, the successor is of another group, and reads everything again.
    settings = site.settings
    if settings.kafka.api_version is not None:
        settings = site.settings_with(kafka={"group_id": f"other-{site.suffix}"})
    second = site.start_deltas(LetterJudge(), settings)
    site.wait_for_ends(11)
    wait_until(lambda: site.delta_offset(settings) == 34, "all deltas to be committed")
    assert second.stop(20.0)

    by_id: dict[str, set[bytes]] = {}
    for value, said in zip(site.said_bytes(), site.said(), strict=True):
        by_id.setdefault(said["verdict_id"], set()).add(value)
    assert all(len(values) == 1 for values in by_id.values())
    assert set(before) <= {value for values in by_id.values() for value in values}
    assert len(by_id) == 22
    assert site.ends()["open"] == "final"
    assert site.dead_letters() == []
    assert verify_turns(settings).is_proven


def test_p7_a_turn_in_the_middle_of_a_rollout_is_judged_by_the_new_model_from_its_start(site: DeltaSite) -> None:
    judge = LetterJudge()
    worker = site.start_deltas(judge)
    site.write(turn("c", "a!b", 2, final=False))
    wait_until(lambda: len(site.said()) == 1, "the turn to be raised")
    judge.roll_out()
    site.write([frame("c", 2, "c", final=True)])
    site.wait_for_ends(1)
    wait_until(lambda: site.delta_offset() == 3, "all deltas to be committed")
    assert worker.stop(20.0)

    said = site.said()
    assert [(one["provenance"]["revision"], one["index"], one["final"]) for one in said] == [
        ("1", 1, False),
        ("2", 1, False),
        ("2", 3, True),
    ]
    assert all(one["raised"] for one in said)
    assert verify_turns(site.settings).is_proven
    assert len({one["verdict_id"] for one in said}) == 3


def test_frames_that_come_out_of_order_or_twice_change_nothing(site: DeltaSite) -> None:
    frames = turn("c", "lamp! is here", 4)
    site.write([frames[0], frames[2], frames[2], frames[3], frames[0], frames[1], frames[1], frames[3]])

    worker = site.start_deltas(LetterJudge())
    site.wait_for_ends(1)
    wait_until(lambda: site.delta_offset() == 8, "all of it to be committed")
    assert worker.stop(20.0)

    assert [(said["final"], said["offset"]) for said in site.said()] == [(False, 5), (True, 13)]
    assert site.dead_letters() == []


def test_p6_p10_frames_that_cannot_be_read_or_contradict_others_are_dead_letters(
    site: DeltaSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(value: bytes | None, most: int) -> DeltaFrame:
        if value == b"a bug":
            raise KeyError(SECRET)
        return decode_frame(value, most)

    monkeypatch.setattr(open_turns, "decode_frame", decode)
    wrong = [
        (b"{", Reason.INVALID_JSON, "not JSON"),
        (b'{"\\ud83d": 1}', Reason.LONE_SURROGATE, "a field name"),
        (b"a bug", Reason.INTERNAL_ERROR, "internal error: KeyError"),
        (frame("c", 1, SECRET, finale=True), Reason.INVALID_VALUE, "did you mean final"),
        (frame("c", 0, SECRET), Reason.INVALID_VALUE, "seq: 0 came before"),
        (frame("c", 1, SECRET, offset=99), Reason.INVALID_VALUE, "offset: 99"),
        (frame("d", 0, SECRET, messages=None), Reason.INVALID_VALUE, "messages: the first frame"),
    ]
    site.write([frame("c", 0, "lamp "), *(value for value, _, _ in wrong), None, frame("c", 1, "here", final=True)])

    worker = site.start_deltas(LetterJudge())
    site.wait_for_ends(1)
    wait_until(lambda: site.delta_offset() == 10, "all of it to be committed")
    assert worker.stop(20.0)

    assert [said["offset"] for said in site.said()] == [9]
    letters = site.dead_letters()
    assert {letter.value for letter in letters} >= {b"{"}
    for _, reason, detail in wrong:
        assert [1 for letter in letters if letter.reason is reason and detail in letter.detail], detail
    assert len(letters) == len(wrong)
    assert SECRET not in " ".join(letter.detail for letter in letters)


@pytest.mark.parametrize(("missing", "end"), [(False, "idle"), (True, "gap")])
def test_p12_a_turn_whose_writer_is_gone_ends_marked_and_holds_nothing(
    site: DeltaSite, missing: bool, end: str
) -> None:
    frames = turn("c", "lamp! is here", final=False)
    site.write([frames[0], *frames[2:]] if missing else frames)

    settings = site.settings_with(deltas={"idle_s": 0.3})
    worker = site.start_deltas(LetterJudge(), settings)
    site.wait_for_ends(1)
    wait_until(lambda: site.delta_offset() == len(frames) - missing, "all of it to be committed")
    site.write([frame("c", 1 if missing else 3, "late", final=True)])
    wait_until(lambda: site.delta_offset() == len(frames) - missing + 1, "what comes late to be committed")
    assert worker.stop(20.0)

    assert site.ends() == {"c": end}
    assert [said["offset"] for said in site.said()] == [5, 5 if missing else 13]
    assert site.dead_letters() == []


def test_a_turn_is_not_idle_while_its_next_delta_may_be_in_the_log_unread(site: DeltaSite) -> None:
    may_answer = threading.Event()
    site.write(turn("c", "lamp! is here and there", 23))
    limits = {"in_flight_records": 8, "in_flight_bytes": 2**21}
    settings = site.settings_with(deltas={"idle_s": 0.1, "open_turns": 1}, limits=limits)

    worker = site.start_deltas(LetterJudge(lambda _: may_answer.wait(30)), settings)
    parts: Any = worker._loop  # noqa: SLF001
    wait_until(lambda: worker.is_full, "intake to be held")
    full_at = time.monotonic()
    wait_until(lambda: parts._asked_at > full_at + 0.5, "the ends to be looked at")  # noqa: SLF001
    may_answer.set()
    site.wait_for_ends(1)
    assert worker.stop(20.0)

    assert site.ends() == {"c": "final"}


def test_p1_a_turn_whose_beginning_is_nowhere_becomes_dead_letters(site: DeltaSite) -> None:
    settings = site.settings_with(deltas={"idle_s": 0.3})
    worker = site.start_deltas(LetterJudge(), settings)
    site.write(turn("other", "lamp"))
    site.wait_for_ends(1)
    turns: Any = worker._loop  # noqa: SLF001
    wait_until(lambda: len(turns.turns.begun) == 4, "the logs' ends to be known")
    site.write([frame("c", 1, "is "), frame("c", 2, "here", final=True)])
    wait_until(lambda: len(site.dead_letters()) == 2, "two dead letters")
    assert worker.stop(20.0)

    assert all("the first frame of its turn has not come" in letter.detail for letter in site.dead_letters())
    assert [letter.value is not None and b"here" in letter.value for letter in site.dead_letters()] == [False, True]
    assert site.ends().keys() == {"other"}
    ledger = verify_turns(site.settings)
    assert (ledger.is_proven, ledger.turns, ledger.dead_letters) == (True, 1, 2)


def test_the_tail_of_a_turn_that_another_worker_has_judged_is_passed_over(site: DeltaSite) -> None:
    site.write([frame("c", 1, "is "), frame("c", 2, "here", final=True)])

    worker = site.start_deltas(LetterJudge(), site.settings_with(deltas={"idle_s": 0.3}))
    wait_until(lambda: site.delta_offset() == 2, "it to be committed")
    assert worker.stop(20.0)

    assert (site.said(), site.dead_letters()) == ([], [])


@pytest.mark.parametrize("bound", [{"open_turns": 10}, {"open_characters": 820}])
def test_p9_of_too_many_open_turns_a_flood_s_own_end_that_are_idle_for_longest(
    site: DeltaSite, bound: dict[str, int]
) -> None:
    loud = [frame(f"c{number}", 0, "lamp", tenant="loud") for number in range(29)]
    site.write([frame("quiet", 0, "lamp", tenant="quiet"), *loud])

    worker = site.start_deltas(LetterJudge(), site.settings_with(deltas=bound))
    site.wait_for_ends(20)
    assert worker.stop(20.0)

    assert set(site.ends().values()) == {"idle"}
    assert len(site.ends()) == 20
    assert "quiet" not in site.ends()


def failing(
    errors: Sequence[Exception], always: Callable[[TurnPush], Exception | None] = lambda _: None
) -> LetterJudge:
    left = list(errors)

    def before(pushes: Sequence[TurnPush]) -> None:
        if left:
            raise left.pop()
        for push in pushes:
            if (error := always(push)) is not None:
                raise error

    return LetterJudge(before)


def test_p5_p6_a_guard_that_is_down_is_waited_for_and_a_turn_that_kills_it_is_found(site: DeltaSite) -> None:
    def kills(push: TurnPush) -> Exception | None:
        return GuardCrashError("died") if push.key.conversation_id == "c3" else None

    site.write([each for number in range(8) for each in turn(f"c{number}", "lamp! here")])
    worker = site.start_deltas(failing([GuardUnavailableError("down")] * 3, kills))
    site.wait_for_ends(8)
    wait_until(lambda: site.delta_offset() == 24, "all of it to be committed")
    assert worker.stop(20.0)

    assert site.ends() == {f"c{number}": "replica_crash" if number == 3 else "final" for number in range(8)}
    [failed] = [said for said in site.said() if said["conversation_id"] == "c3"]
    assert (failed["risk"], failed["provenance"]) == (None, None)


def test_a_guard_that_forgets_between_deltas_gives_the_same_verdicts(site: DeltaSite) -> None:
    judge = LetterJudge()
    worker = site.start_deltas(judge)
    for seq in range(6):
        site.write([frame(f"c{number}", seq, "ab!"[seq % 3], final=seq == 5) for number in range(3)])
        judge.forget()
    site.wait_for_ends(3)
    assert worker.stop(20.0)

    for number in range(3):
        said = [one for one in site.said() if one["conversation_id"] == f"c{number}"]
        assert [(one["index"], one["final"]) for one in said] == [(2, False), (5, True)]


def test_a_turn_is_one_message_of_its_trace_from_its_first_delta_to_its_last_verdict(site: DeltaSite) -> None:
    tracing = RecordedTracing()
    trace = "0af7651916cd43dd8448eb211c80319c"
    site.write([*turn("c", "lamp! is here"), b"{"], f"00-{trace}-b7ad6b7169203331-01".encode())

    worker = site.start_deltas(LetterJudge(), tracing=tracing)
    site.wait_for_ends(1)
    wait_until(lambda: site.delta_offset() == 4, "all of it to be committed")
    assert worker.stop(20.0)

    [process] = tracing.finished("process")
    assert process.attributes is not None
    assert process.attributes["messaging.kafka.offset"] == 0
    assert f"{process.context.trace_id:032x}" == trace
    parents = {record.header("traceparent") for record in site.said_records()}
    assert {(parent or b"").split(b"-")[1] for parent in parents} == {trace.encode()}
    assert "lamp" not in str([span.attributes for span in tracing.finished()])


def test_the_metrics_say_what_became_of_frames_turns_and_calls(
    site: DeltaSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    judge = failing([GuardUnavailableError("down")], lambda _: None)
    worker = site.start_deltas(judge)
    site.write([*turn("c", "lamp! is here"), *turn("c", "lamp! is here"), b"{", frame("open", 0, "lamp")])
    site.wait_for_ends(1)
    wait_until(lambda: worker.progress.completed == 7, "all but the open turn to be completed")

    data = reader.get_metrics_data()
    assert data is not None
    found = {
        (metric.name, *(point.attributes or {}).values()): point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint) and metric.name.startswith("moderation.turn.")
    }
    assert worker.stop(20.0)

    assert {key[1]: value for key, value in found.items() if key[0] == "moderation.turn.frames"} == {
        "new": 4, "held": 0, "repeated": 3, "ignored": 0, "refused": 1, "skipped": 0,
    }  # fmt: skip
    assert found["moderation.turn.open",] == 1
    assert found["moderation.turn.characters",] > 0
    assert found["moderation.turn.raised", "assistant"] == 1
    assert found["moderation.turn.ended", "final"] == 1
    assert found["moderation.turn.calls", "unavailable"] == 1
    assert found["moderation.turn.calls",] > 0
