"""The replica that the latency benchmark measures: the real one, whose batches are counted as the engine gets them."""

import asyncio
from collections.abc import Sequence

import pytest

from pipelines.guard import GuardReply
from workers.bench.serving.measured_replicas import CountingEngine, FixedPassEngine, MeasuredReplica
from workers.bench.serving.open_load import chat_messages
from workers.serving import guard_replica
from workers.serving.engine.completion import Completion, PreparedPrompt
from workers.settings.loading import load_settings


@pytest.fixture(autouse=True)
def _log_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_replica, "configure_logging", lambda _: None)


def chat(amount: int) -> list[dict[str, str]]:
    return [request.conversation[-1] for request in chat_messages(amount, "a")]


def test_the_stand_in_answers_each_message_by_its_own_digest() -> None:
    engine = FixedPassEngine(0)
    together = engine.judge([[message] for message in chat(20)])
    alone = [engine.judge([[message]])[0] for message in chat(20)]

    assert together == alone
    assert len({completion.text for completion in together}) == 20


def test_every_batch_that_the_engine_gets_is_counted_once() -> None:
    replica = MeasuredReplica(load_settings(guard={"batch_size": 4, "cache_size": 0}), pass_ms=0)

    async def ask() -> tuple[GuardReply, list[int], list[int]]:
        reply = await replica.judge(chat_messages(10, "a"))
        return reply, await replica.take_batch_sizes(), await replica.take_batch_sizes()

    reply, sizes, afterwards = asyncio.run(ask())
    replica.close()
    assert len(reply.answers) == 10
    assert sizes == [4, 4, 2]
    assert afterwards == []


def test_counting_changes_neither_answers_nor_errors() -> None:
    class Broken(FixedPassEngine):
        def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
            raise RuntimeError(f"broken for {len(prompts)}")

    plain, counting = FixedPassEngine(0), CountingEngine(FixedPassEngine(0))
    conversations = [[message] for message in chat(3)]

    assert counting.judge(conversations) == plain.judge(conversations)
    assert counting.identity == plain.identity
    broken = CountingEngine(Broken(0))
    with pytest.raises(RuntimeError, match="broken for 3"):
        broken.judge(conversations)
    assert broken.sizes == [3]
