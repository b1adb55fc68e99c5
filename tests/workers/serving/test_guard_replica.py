"""A guard replica over an engine that only pretends: isolation (P6), provenance, health (P12) and spans (P11)."""

import asyncio
import gc
import threading
import warnings

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from pipelines.guard import GuardReply
from pipelines.guard_family import QWEN3GUARD_GEN
from schemas.errors import GuardCallFailedError
from schemas.reasons import Reason
from tests.workers.serving.pretend_engine import TRACE, PretendEngine, replica_of, request, sampled
from tests.workers.telemetry.recorded_tracing import RecordedTracing
from workers.serving import guard_replica
from workers.serving.guard_replica import MAX_FAILURES, DeployedGuardReplica, GuardReplica
from workers.settings.loading import load_settings
from workers.telemetry.export import Metrics, Tracing
from workers.telemetry.span_encoding import MAX_LINKS


def judge(replica: GuardReplica, *texts: str) -> GuardReply:
    return asyncio.run(replica.judge([request(text) for text in texts]))


def test_p6_a_bad_item_gets_its_own_error_and_its_neighbours_their_own_answers(engine: PretendEngine) -> None:
    reply = judge(replica_of(engine), "a", "refuse me", "b", "nan", "half a pair", "c")

    assert [answer.text for answer in reply.answers] == ["about a", "", "about b", "", "", "about c"]
    assert [answer.error for answer in reply.answers] == [
        None,
        Reason.CONTEXT_OVERFLOW,
        None,
        Reason.NON_FINITE_LOGITS,
        Reason.LONE_SURROGATE,
        None,
    ]
    assert engine.batches == [["a", "b", "nan", "c"]]


def test_p6_a_call_of_bad_items_only_never_reaches_the_engine(engine: PretendEngine) -> None:
    reply = judge(replica_of(engine), "refuse me")

    assert reply.answers[0].error is Reason.CONTEXT_OVERFLOW
    assert engine.batches == []


def test_p3_an_output_that_was_cut_off_is_not_called_finished(engine: PretendEngine) -> None:
    reply = judge(replica_of(engine), "long", "a")

    assert [answer.finished for answer in reply.answers] == [False, True]
    assert [(answer.prompt_tokens, answer.output_tokens) for answer in reply.answers] == [(4, 3), (1, 3)]


def test_p7_a_reply_says_what_judged(engine: PretendEngine) -> None:
    provenance = judge(replica_of(engine), "a").provenance

    assert provenance.model_dump() == {
        "model": "pretend",
        "revision": "r7",
        "prompt_sha256": "p7",
        "engine": "pretend",
        "dtype": "float32",
        "parser": QWEN3GUARD_GEN.parser_version,
    }


def test_calls_that_wait_ride_in_one_batch_and_get_their_own_answers(engine: PretendEngine) -> None:
    replica = replica_of(engine)

    async def main() -> list[GuardReply]:
        return await asyncio.gather(*(replica.judge([request(f"{call}"), request(f"{call}'")]) for call in "abcdef"))

    replies = asyncio.run(main())

    assert [[answer.text for answer in reply.answers] for reply in replies] == [
        [f"about {call}", f"about {call}'"] for call in "abcdef"
    ]
    assert sorted(text for batch in engine.batches for text in batch) == sorted(
        [*"abcdef", *(f"{call}'" for call in "abcdef")]
    )


@pytest.mark.parametrize(("limits", "largest"), [({"batch_size": 2}, 2), ({"batch_tokens": 3}, 3)])
def test_p9_batches_keep_to_the_settings(engine: PretendEngine, limits: dict[str, int], largest: int) -> None:
    judge(replica_of(engine, **limits), *"abcdefghij")

    assert max(len(batch) for batch in engine.batches) == largest


def test_p12_health_goes_red_after_repeated_failures_and_green_after_one_success(engine: PretendEngine) -> None:
    replica = replica_of(engine)
    engine.is_broken = True
    for failures in range(MAX_FAILURES):
        asyncio.run(replica.check_health())
        with pytest.raises(GuardCallFailedError, match=r"^RuntimeError$"):
            judge(replica, f"a{failures}")

    with pytest.raises(RuntimeError, match=f"the last {MAX_FAILURES} batches raised"):
        asyncio.run(replica.check_health())

    engine.is_broken = False
    judge(replica, "b")
    asyncio.run(replica.check_health())


def test_p11_the_batch_has_one_span_that_links_each_sampled_message(
    engine: PretendEngine, spans: RecordedTracing
) -> None:
    replica = replica_of(engine)
    requests = [request("a", sampled(1)), request("b"), request("c", sampled(3))]
    reply = asyncio.run(replica.judge(requests))
    (span,) = spans.finished("chat ")

    assert (span.name, span.kind) == ("chat pretend", SpanKind.INTERNAL)
    assert span.parent is None
    assert [(link.context.trace_id, link.context.span_id) for link in span.links] == [
        (int(TRACE, 16), 1),
        (int(TRACE, 16), 3),
    ]
    attributes = dict(span.attributes or {})
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.model"] == "pretend"
    assert attributes["moderation.batch.size"] == 3
    assert span.context is not None
    batch = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-"
    assert all(answer.carrier["traceparent"].startswith(batch) for answer in reply.answers)


def test_p11_a_sampled_message_s_wait_is_a_span_of_its_trace_that_ends_with_the_start_of_its_batch(
    engine: PretendEngine, spans: RecordedTracing
) -> None:
    replica = replica_of(engine)
    reply = asyncio.run(replica.judge([request("a", sampled(1)), request("b"), request("c", sampled(3))]))
    (batch,) = spans.finished("chat ")
    waits = spans.finished("queue")

    assert [(wait.parent.span_id, wait.parent.is_remote) for wait in waits if wait.parent] == [(1, True), (3, True)]
    assert {wait.context and wait.context.trace_id for wait in waits} == {int(TRACE, 16)}
    assert {wait.end_time for wait in waits} == {batch.start_time}
    waited_ms = [(wait.end_time - wait.start_time) / 1e6 for wait in waits if wait.end_time and wait.start_time]
    assert waited_ms == pytest.approx([reply.answers[0].queue_ms, reply.answers[2].queue_ms], abs=1e-3)
    assert all(0 < waited < 60_000 for waited in waited_ms)


def test_p11_a_message_whose_judgement_was_kept_has_waited_for_nothing(
    engine: PretendEngine, spans: RecordedTracing
) -> None:
    replica = replica_of(engine)
    for message in (1, 2):
        asyncio.run(replica.judge([request("a", sampled(message))]))

    assert [wait.parent.span_id for wait in spans.finished("queue") if wait.parent] == [1]


def test_p11_a_batch_without_a_sampled_message_costs_no_span(engine: PretendEngine, spans: RecordedTracing) -> None:
    reply = judge(replica_of(engine), "a", "b")

    assert spans.finished() == []
    assert [dict(answer.carrier) for answer in reply.answers] == [{}, {}]


def test_p11_a_batch_of_more_messages_than_a_span_has_links_has_further_spans_in_its_trace(
    engine: PretendEngine, spans: RecordedTracing
) -> None:
    count = 2 * MAX_LINKS + 20
    requests = [request(f"{number}", sampled(number)) for number in range(1, count + 1)]
    reply = asyncio.run(replica_of(engine, batch_size=1000).judge(requests))
    first, *others = spans.finished("chat ")
    assert first.context is not None

    assert [len(span.links) for span in (first, *others)] == [MAX_LINKS, MAX_LINKS, 20]
    assert [link.context.span_id for span in (first, *others) for link in span.links] == list(range(1, count + 1))
    assert first.parent is None
    assert {span.parent and span.parent.span_id for span in others[:1]} == {first.context.span_id}
    assert {span.context and span.context.trace_id for span in others} == {first.context.trace_id}
    batch = f"00-{first.context.trace_id:032x}-{first.context.span_id:016x}-"
    assert all(answer.carrier["traceparent"].startswith(batch) for answer in reply.answers)


def test_p10_the_span_of_a_batch_that_raised_names_the_error_and_no_content(
    engine: PretendEngine, spans: RecordedTracing
) -> None:
    with pytest.raises(GuardCallFailedError) as raised:
        asyncio.run(replica_of(engine).judge([request("poison", sampled(1))]))
    # Serve logs the error of a call with its whole chain.
    assert (str(raised.value), raised.value.__cause__, raised.value.__context__) == ("RuntimeError", None, None)
    (span,) = spans.finished()

    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "RuntimeError")
    assert not span.events
    assert "private" not in span.to_json()
    assert "poison" not in span.to_json()


def test_what_it_measured_is_flushed_once_and_nobody_has_to_await_that(
    engine: PretendEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serve calls `__del__` on a clean stop and Python calls it again; the shadow lane's replica only Python does."""
    flushed: list[str] = []
    monkeypatch.setattr(Tracing, "flush", lambda _: flushed.append("spans"))
    monkeypatch.setattr(Metrics, "flush", lambda _: flushed.append("metrics"))
    replica = replica_of(engine)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replica.__del__()
        replica.__del__()

    assert flushed == ["spans", "metrics"]


def test_a_closed_replica_ends_its_threads_whatever_they_are_at(engine: PretendEngine) -> None:
    before = set(threading.enumerate())
    replica = replica_of(engine)
    judge(replica, "a")
    asyncio.run(replica.judge_background([request("b")]))
    asyncio.run(replica.judge_ask([request("c")]))
    made = [thread for thread in threading.enumerate() if thread not in before]
    replica.close()
    for thread in made:
        thread.join(10)

    names = {"weir-engine", "weir-tokeniser", "weir-ask", "weir-background"}
    assert {thread.name.rpartition("_")[0] for thread in made} == names
    assert not any(thread.is_alive() for thread in made)


def test_a_replica_that_could_not_start_has_nothing_to_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(Tracing, "flush", lambda _: flushed.append("spans"))
    monkeypatch.setattr(Metrics, "flush", lambda _: flushed.append("metrics"))
    GuardReplica.__new__(GuardReplica).__del__()  # which Python calls of one whose engine did not load

    assert flushed == []


def test_a_deployed_replica_leaves_what_it_has_loaded_out_of_garbage_collections(
    engine: PretendEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def load(_: object) -> PretendEngine:
        done.append("load")
        return engine

    monkeypatch.setattr(guard_replica, "load_engine", load)
    monkeypatch.setattr(gc, "collect", lambda: done.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    DeployedGuardReplica(load_settings())

    assert done == ["load", "collect", "freeze"]
