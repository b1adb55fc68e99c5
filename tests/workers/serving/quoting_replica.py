"""A guard replica whose engine quotes its input in its errors."""

from __future__ import annotations

from collections.abc import Sequence

from tests.workers.serving.pretend_engine import PretendEngine
from workers.serving.engine.completion import Completion, Conversation, PreparedPrompt
from workers.serving.guard_replica import GuardReplica
from workers.settings.loading import Settings


class QuotingEngine(PretendEngine):
    """Raises with the text, while it prepares it or while it runs it, as the text's first word says."""

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        text = str(conversation[-1]["content"])
        if text.startswith("prepare"):
            raise ValueError(f"cannot prepare {text}") from KeyError(text)
        return super().prepare(conversation)

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        raise ValueError(f"cannot run {''.join(map(chr, prompts[0].token_ids))}")


class QuotingReplica(GuardReplica):
    """The replica on that engine."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, QuotingEngine())
