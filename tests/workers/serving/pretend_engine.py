"""An engine that only pretends, and a guard replica over it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.guard import GuardRequest
from workers.serving.engine.completion import (
    Completion,
    Conversation,
    DraftCounts,
    Engine,
    EngineIdentity,
    PreparedPrompt,
)
from workers.serving.guard_replica import GuardReplica
from workers.settings.loading import load_settings

REFUSED = {"refuse me": "context_overflow", "half a pair": "invalid_text"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


class PretendEngine(Engine):
    """Writes what it was asked; refuses two texts, answers one with an error, raises for "poison"."""

    identity = EngineIdentity("pretend", "r7", "p7", "pretend", "float32", "cpu")
    draft_counts = DraftCounts(drafted=10, accepted=9)

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.is_broken = False

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        text = str(conversation[-1]["content"])
        if text in REFUSED:
            return Completion.failed(REFUSED[text])  # type: ignore[arg-type]
        return PreparedPrompt(np.array([ord(letter) for letter in text], dtype=np.int64), "prompt")

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        texts = ["".join(map(chr, prompt.token_ids)) for prompt in prompts]
        self.batches.append(texts)
        if self.is_broken or "poison" in texts:
            raise RuntimeError("CUDA error near: private words")
        return [
            Completion.failed("non_finite_logits", prompt_tokens=len(text))
            if text == "nan"
            else Completion(f"about {text}", None, None, len(text), 3, "length" if text == "long" else "stop")
            for text in texts
        ]

    def judge(self, conversations: Sequence[Conversation]) -> list[Completion]:
        raise NotImplementedError


replicas: list[GuardReplica] = []  # to be closed; those of `tests/workers/serving` are after each test


def replica_of(engine: Engine, kind: type[GuardReplica] = GuardReplica, **guard: Any) -> GuardReplica:
    replicas.append(kind(load_settings(guard={"model": "demo", **guard}), engine))
    return replicas[-1]


def request(text: str, carrier: dict[str, str] | None = None) -> GuardRequest:
    return GuardRequest(({"role": "user", "content": text},), 1, carrier or {})


def sampled(number: int) -> dict[str, str]:
    return {"traceparent": f"00-{TRACE}-{number:016x}-01"}
