"""The guard replica of the product with a real tokenizer's work to do and an engine that answers at once.

Does not start Serve.
"""

import threading
from collections.abc import Sequence
from random import Random

from workers.bench.host.cpu_parts import CpuParts, Used, thread_seconds
from workers.bench.serving.measured_replicas import ServeBatcher
from workers.serving.engine.completion import Completion, Conversation, Engine, EngineIdentity, PreparedPrompt
from workers.serving.guard_replica import GuardReplica, keep_collections_short
from workers.settings.loading import Settings

RANKS = 151_643  # entries of Qwen3's BPE
MEAN_TOKENS = 10
_SAFE = "Safety: Safe\nCategories: None"
_VERDICT_TOKENS = 8


class InstantEngine(Engine):
    """Renders and tokenises with a made-up tokenizer of the real sizes, and answers Safe without a model."""

    def __init__(self, ranks: int) -> None:
        from workers.bench.engine.tokenising import MadeUpTokenizer  # torch, which only a replica has to load

        self._made_up = MadeUpTokenizer(ranks)
        self._prompts = self._made_up.builder()

    @property
    def identity(self) -> EngineIdentity:
        return EngineIdentity("instant", "none", self._prompts.sha256, "instant", "none", "cpu")

    @property
    def template_text(self) -> tuple[str, ...]:
        return self._prompts.template_text()

    def texts(self, lengths: Sequence[int]) -> list[str]:
        """Chat messages of so many tokens each."""
        return [str(chat[0]["content"]) for chat in self._made_up.conversations("prompt", lengths)]

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        return self._prompts.prepare(conversation)

    def prepare_all(self, conversations: Sequence[Conversation]) -> list[PreparedPrompt | Completion]:
        return self._prompts.prepare_all(conversations)

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        return [Completion(_SAFE, None, None, len(prompt), _VERDICT_TOKENS, "stop") for prompt in prompts]


class HostGuard(GuardReplica):
    """A guard replica that tells what its process has used.

    Args:
        settings: all settings.
        ranks: entries of the tokenizer.
    """

    def __init__(self, settings: Settings, ranks: int) -> None:
        self._instant = engine = InstantEngine(ranks)
        # The tokenizer's own threads have no name; they begin with the first batch.
        before = thread_seconds()
        engine.prepare_all([[{"role": "user", "content": "a b c"}]] * 64)
        tokenising = thread_seconds().keys() - before.keys()
        super().__init__(settings, engine, has_telemetry=False)
        self._cpu = CpuParts({"weir-tokeniser": "prepare", "weir-engine": "batch"}, rest="handle")
        self._cpu.claim(tokenising, "prepare")
        keep_collections_short()

    async def texts(self, count: int) -> list[str]:
        """Chat messages of `MEAN_TOKENS` tokens on average: most are shorter, a few are long."""
        chooser = Random(7)
        return self._instant.texts([1 + int(chooser.expovariate(1 / (MEAN_TOKENS - 0.5))) for _ in range(count)])

    async def used(self) -> Used:
        """What this process has used by now."""
        self._cpu.claim([threading.get_native_id()], "batch")  # the loop that runs `judge`, which has a thread
        return self._cpu.used()


class ServeBatchHostGuard(HostGuard):
    """The same, batched by `@serve.batch` alone."""

    def __init__(self, settings: Settings, ranks: int) -> None:
        super().__init__(settings, ranks)
        self._batcher = ServeBatcher(self._run, settings.guard.batch_size)
