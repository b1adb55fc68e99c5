"""A guard replica in this process over an engine that says what the text asks for, for tests of telemetry."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.guard import GuardReply, GuardRequest
from schemas.errors import GuardCallFailedError, ModerationError
from tests.guards.scripted_guard import SAFE
from tests.site import Site
from tests.workers.telemetry.recorded_tracing import RecordedTracing
from workers.kafka.producer import producer
from workers.serving import guard_replica
from workers.serving.engine import completion
from workers.serving.engine.completion import Completion, Conversation, DraftCounts, EngineIdentity, PreparedPrompt
from workers.serving.guard_replica import GuardReplica

CANARY = "kookaburra"


class Engine(completion.Engine):
    """Answers Safe or Unsafe, writes the canary off the grammar, or raises with it, as the text says."""

    identity = EngineIdentity("pretend", "r7", "p7", "pretend", "float32", "cpu")
    draft_counts = DraftCounts(drafted=10, accepted=9)

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        """A token for each letter."""
        return PreparedPrompt(np.array([ord(c) for c in str(conversation[-1]["content"])], dtype=np.int64), "prompt")

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        """Judge a batch."""
        texts = ["".join(map(chr, prompt.token_ids)) for prompt in prompts]
        if any("raise" in text for text in texts):
            raise ValueError(f"could not multiply {CANARY}")
        return [Completion(_answer(text), None, None, 1, 3, "stop") for text in texts]

    def judge(self, conversations: Sequence[Conversation]) -> list[Completion]:
        """Not asked for here."""
        raise NotImplementedError


def _answer(text: str) -> str:
    if "mumble" in text:
        return CANARY
    return "Safety: Unsafe\nCategories: Violent" if "threat" in text else SAFE


class ReplicaGuard:
    """A replica in this process, its errors as a Serve handle's client sorts them."""

    def __init__(self, replica: GuardReplica) -> None:
        self._replica = replica

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """See `pipelines.guard.Guard`."""
        try:
            return await self._replica.judge(requests)
        except ModerationError:
            raise
        except Exception as error:  # noqa: BLE001 - an engine raises anything
            raise GuardCallFailedError(type(error).__name__) from None


def recorded(monkeypatch: pytest.MonkeyPatch) -> RecordedTracing:
    """What replicas that are made in a test trace; a worker takes it as an argument."""
    made = RecordedTracing()
    monkeypatch.setattr(guard_replica, "start_tracing", lambda *_: made)
    monkeypatch.setattr(guard_replica, "configure_logging", lambda _: None)
    return made


def replica_guard(site: Site) -> ReplicaGuard:
    """A guard for the workers of a site."""
    replica = GuardReplica(site.settings, Engine())
    site.closing.callback(replica.close)
    return ReplicaGuard(replica)


def send(site: Site, records: Sequence[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]) -> None:
    """Write records to a site's events."""
    sender = producer(site.settings.kafka)
    sent = [sender.send(site.names[0], value, key, headers) for key, value, headers in records]
    sender.close()
    assert all(future.succeeded() for future in sent)
