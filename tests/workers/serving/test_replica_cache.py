"""A guard replica judges equal prompts once, and blame (P6), a broken engine (P5), bytes (P7) and traces (P11) stay."""

import asyncio
import threading
from collections.abc import Sequence
from random import Random

import pytest

from pipelines.guard import GuardAnswer, GuardReply, GuardRequest, Judged
from pipelines.isolation import PROBE
from schemas.errors import GuardCallFailedError, ItemError
from schemas.reasons import Reason
from tests.guards.answering_guard import judge_without_waits
from tests.workers.serving.conftest import Measured
from tests.workers.serving.pretend_engine import PretendEngine, replica_of, request, sampled
from tests.workers.telemetry.recorded_tracing import RecordedTracing
from workers.demo.corpus import examples
from workers.serving.engine.completion import Completion, Conversation, Engine, EngineIdentity, PreparedPrompt
from workers.serving.engine.one_pass import OnePassEngine
from workers.serving.guard_replica import GuardReplica


def judge(replica: GuardReplica, *texts: str) -> list[GuardAnswer]:
    return list(asyncio.run(replica.judge([request(text) for text in texts])).answers)


def untimed(answers: Sequence[GuardAnswer]) -> list[GuardAnswer]:
    return [answer._replace(queue_ms=0, guard_ms=0, carrier={}) for answer in answers]


def test_p7_a_prompt_that_comes_again_gets_the_same_answer_without_the_engine(engine: PretendEngine) -> None:
    replica = replica_of(engine)
    first = judge(replica, "a", "b", "a")
    again = judge(replica, "b", "a", "c")

    assert engine.batches == [["a", "b"], ["c"]]
    assert untimed(again[:2]) == untimed([first[1], first[0]])
    assert [(answer.queue_ms, answer.guard_ms) for answer in again[:2]] == [(0, 0), (0, 0)]
    assert first[2].text == "about a"
    assert again[2].guard_ms > 0


@pytest.mark.parametrize("cache_size", [0, 1000])
def test_calls_that_wait_or_run_at_one_time_share_their_equal_prompts(engine: PretendEngine, cache_size: int) -> None:
    replica = replica_of(engine, cache_size=cache_size, batch_size=3)
    run, gate = engine.run, threading.Event()

    def gated(prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        gate.wait(20)
        return run(prompts)

    engine.run = gated  # type: ignore[method-assign]

    async def main() -> list[GuardReply]:
        calls = [asyncio.create_task(replica.judge([request("same"), request("first")]))]
        await until_waiting(replica, 0)
        calls += [asyncio.create_task(replica.judge([request(f"own {i}"), request("same")])) for i in range(20)]
        await until_waiting(replica, 40)
        gate.set()
        return await asyncio.gather(*calls)

    replies = asyncio.run(main())

    assert [[answer.text for answer in reply.answers] for reply in replies] == [
        ["about same", "about first"],
        *([f"about own {i}", "about same"] for i in range(20)),
    ]
    ran = [text for batch in engine.batches for text in batch]
    assert sorted(ran) == sorted(["same", "first", *(f"own {i}" for i in range(20))])


async def until_waiting(replica: GuardReplica, count: int) -> None:
    """Until the engine has work and so many prompts wait behind it."""
    batcher = replica._batcher  # noqa: SLF001 - how it stands in the queue is not to be seen from outside
    while not batcher._workers or batcher.waiting() != count:  # noqa: SLF001
        await asyncio.sleep(0)


def test_a_cache_that_is_off_keeps_nothing(engine: PretendEngine) -> None:
    replica = replica_of(engine, cache_size=0)
    judge(replica, "a", "a")
    judge(replica, "a")

    assert engine.batches == [["a"], ["a"]]


@pytest.mark.parametrize("text", ["nan", "long"])
def test_p3_an_error_or_a_cut_off_output_is_asked_for_again(engine: PretendEngine, text: str) -> None:
    replica = replica_of(engine)
    first, second = judge(replica, text), judge(replica, text)

    assert engine.batches == [[text], [text]]
    assert untimed(first) == untimed(second)


def test_p5_the_probe_hears_from_the_engine_itself(engine: PretendEngine) -> None:
    replica = replica_of(engine)
    judge(replica, "hello", "other")
    for _ in range(2):
        asyncio.run(replica.judge([PROBE]))

    assert engine.batches == [["hello", "other"], ["hello"], ["hello"]]
    engine.is_broken = True
    assert judge(replica, "hello", "other")[0].text == "about hello"
    with pytest.raises(GuardCallFailedError, match="RuntimeError"):
        asyncio.run(replica.judge([PROBE]))


def test_p5_a_broken_engine_blames_no_record_although_its_replica_remembers_answers(engine: PretendEngine) -> None:
    replica = replica_of(engine)
    judge(replica, "hello", "kept")
    engine.is_broken = True
    held = 0

    def mend_after_some() -> None:
        nonlocal held
        held += 1
        engine.is_broken = held < 5

    judging = judge_without_waits(replica, mend_after_some)
    judged = asyncio.run(judging.judge([request(text) for text in ("new", "kept", "hello", "newer")]))

    assert [isinstance(item.result, ItemError) for item in judged] == [False] * 4
    assert held >= 5


@pytest.mark.parametrize("cache_size", [0, 3, 1000])
@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_p6_bisection_finds_the_culprits_among_prompts_that_are_shared(
    engine: PretendEngine, cache_size: int, batch_size: int
) -> None:
    replica = replica_of(engine, cache_size=cache_size, batch_size=batch_size)
    random = Random(f"{cache_size} {batch_size}")
    chunks = [[random.choice(["lol", "gg", "hi", f"own {chunk}"]) for _ in range(16)] for chunk in range(6)]
    for chunk in (1, 4):
        chunks[chunk][random.randrange(16)] = "poison"

    async def main() -> list[list[Judged]]:
        judging = judge_without_waits(replica)
        return await asyncio.gather(*(judging.judge([request(text) for text in chunk]) for chunk in chunks))

    for chunk, judged in zip(chunks, asyncio.run(main()), strict=True):
        for text, item in zip(chunk, judged, strict=True):
            if text == "poison":
                assert isinstance(item.result, ItemError)
                assert item.result.reason is Reason.INFERENCE_FAILED
            else:
                assert isinstance(item.result, GuardAnswer)
                assert item.result.text == f"about {text}"


def test_p6_answers_of_a_batch_with_one_too_few_are_not_kept(engine: PretendEngine) -> None:
    replica = replica_of(engine)
    run, is_short = engine.run, True

    def short(prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        return run(prompts)[int(is_short) :]

    engine.run = short  # type: ignore[method-assign]
    with pytest.raises(GuardCallFailedError, match="ValueError"):
        judge(replica, "a", "b")
    is_short = False

    assert [answer.text for answer in judge(replica, "a", "b")] == ["about a", "about b"]


def test_p6_a_call_that_is_cancelled_leaves_others_their_answer(engine: PretendEngine) -> None:
    replica = replica_of(engine)

    async def main() -> GuardReply:
        first, second = (asyncio.create_task(replica.judge([request("a")])) for _ in range(2))
        await until_waiting(replica, 0)
        first.cancel()
        reply = await second
        assert first.cancelled()
        return reply

    assert asyncio.run(main()).answers[0].text == "about a"


def test_every_prompt_counts_once_as_a_hit_or_a_miss(engine: PretendEngine, measured: Measured) -> None:
    replica = replica_of(engine)
    judge(replica, "a", "b", "a", "refuse me")
    assert measured() == {"moderation.cache.hits": 1, "moderation.cache.misses": 2}
    with pytest.raises(GuardCallFailedError, match="RuntimeError"):
        judge(replica, "a", "c", "poison")
    assert measured() == {"moderation.cache.hits": 1, "moderation.cache.misses": 2}
    judge(replica, "a", "b", "c", "c")

    assert measured() == {"moderation.cache.hits": 4, "moderation.cache.misses": 3}


def test_p11_the_batch_links_every_message_that_rode_in_it_and_later_ones_link_to_it(
    engine: PretendEngine, spans: RecordedTracing
) -> None:
    replica = replica_of(engine)
    first = asyncio.run(replica.judge([request("a", sampled(1)), request("b"), request("a", sampled(2))]))
    again = asyncio.run(replica.judge([request("a", sampled(3))]))
    (span,) = spans.finished("chat ")

    assert [link.context.span_id for link in span.links] == [1, 2]
    assert dict(span.attributes or {})["moderation.batch.size"] == 2
    assert span.context is not None
    batch = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-"
    assert all(answer.carrier["traceparent"].startswith(batch) for answer in (*first.answers, *again.answers))


def test_p11_a_message_that_joins_an_equal_one_in_a_running_batch_has_waited_for_no_batch(
    engine: PretendEngine, spans: RecordedTracing
) -> None:
    replica = replica_of(engine)
    run, has_begun, gate = engine.run, threading.Event(), threading.Event()

    def gated(prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        has_begun.set()
        gate.wait(20)
        return run(prompts)

    engine.run = gated  # type: ignore[method-assign]

    async def main() -> None:
        first = asyncio.create_task(replica.judge([request("a", sampled(1))]))
        await asyncio.to_thread(has_begun.wait, 20)
        second = asyncio.create_task(replica.judge([request("a", sampled(2))]))
        await until_waiting(replica, 1)
        gate.set()
        await asyncio.gather(first, second)

    asyncio.run(main())
    assert [wait.parent.span_id for wait in spans.finished("queue") if wait.parent] == [1]


class CountedEngine(Engine):
    """The demo's model, which notes how many prompts it ran."""

    def __init__(self, engine: OnePassEngine) -> None:
        self._engine = engine
        self.ran = 0

    @property
    def identity(self) -> EngineIdentity:
        return self._engine.identity

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        return self._engine.prepare(conversation)

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        self.ran += len(prompts)
        return self._engine.run(prompts)


def test_p7_the_tiny_model_says_of_repeated_chat_what_it_says_without_a_cache() -> None:
    tiny = OnePassEngine.load("demo", device="cpu", dtype="float32", max_new_tokens=32, compiled=False)
    unlike = [GuardRequest(example.conversation, 1, {}) for example in examples(3, 12, "held_out")]
    random = Random(5)
    chunks = [random.choices(unlike, k=8) for _ in range(5)]
    asked = {str(item.conversation) for chunk in chunks for item in chunk}

    def judged(engine: CountedEngine, cache_size: int, in_turn: bool) -> list[list[GuardAnswer]]:
        replica = replica_of(engine, cache_size=cache_size)

        async def main() -> list[list[GuardAnswer]]:
            if in_turn:
                return [untimed((await replica.judge(chunk)).answers) for chunk in chunks]
            replies = await asyncio.gather(*(replica.judge(chunk) for chunk in chunks))
            return [untimed(reply.answers) for reply in replies]

        return asyncio.run(main())

    expected = judged(CountedEngine(tiny), 0, True)
    for in_turn in (True, False):
        engine = CountedEngine(tiny)

        assert judged(engine, 1000, in_turn) == expected
        assert engine.ran == len(asked)
    assert len({answer.text for answers in expected for answer in answers}) > 3
