"""The two ends of a Serve handle as they are in the product, and how much CPU time their processes take.

The guard replica has a real tokenizer's work to do and an engine that answers at once. The worker's replica runs a
stream worker over the events of a topic. Does not start Serve.
"""

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from schemas.errors import ModerationError
from workers.bench.engine.tokenising import MadeUpTokenizer
from workers.bench.host.cpu_parts import CpuParts, thread_seconds
from workers.bench.serving.measured_replicas import ServeBatcher
from workers.bench.stream.workload import bench_settings
from workers.guard.client import GuardClient
from workers.kafka.consumer import Consumer
from workers.serving.engine.completion import Completion, Conversation, Engine, EngineIdentity, PreparedPrompt
from workers.serving.guard_replica import TELEMETRY_OFF, GuardReplica, keep_collections_short
from workers.serving.process_tuning import tune_process
from workers.settings.loading import Settings
from workers.stream.build import stream_worker
from workers.stream.decisions import Decisions, GuardCalls
from workers.telemetry.export import start_tracing
from workers.telemetry.log import configure_logging
from workers.telemetry.metrics.process import resident_bytes

POLL_S = 0.05
DEADLINE_S = 600.0
STOP_S = 30.0
_SAFE = "Safety: Safe\nCategories: None"
_VERDICT_TOKENS = 8
_MIB = 2**20


class Used(NamedTuple):
    """What a process has used since its start, or between two moments: CPU seconds by part, and memory now."""

    process: int
    seconds: dict[str, float]
    resident_mib: float


class WorkerRun(NamedTuple):
    """One run of a stream worker: what its process used for `messages` of the events, in how many seconds."""

    messages: int
    wall_s: float
    used: Used


class InstantEngine(Engine):
    """Renders and tokenises with a made-up tokenizer of the real sizes, and answers Safe without a model."""

    def __init__(self, tokenizer: MadeUpTokenizer) -> None:
        self._prompts = tokenizer.builder()

    @property
    def identity(self) -> EngineIdentity:
        return EngineIdentity("instant", "none", self._prompts.sha256, "instant", "none", "cpu")

    @property
    def template_text(self) -> tuple[str, ...]:
        return self._prompts.template_text()

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
        engine = InstantEngine(MadeUpTokenizer(ranks))
        # The tokenizer's own threads have no name; they begin with the first batch.
        before = thread_seconds()
        engine.prepare_all([[{"role": "user", "content": "a b c"}]] * 64)
        tokenising = thread_seconds().keys() - before.keys()
        super().__init__(settings, engine, has_telemetry=False)
        self._cpu = CpuParts({"weir-tokeniser": "prepare", "weir-engine": "batch"}, rest="handle")
        self._cpu.claim(tokenising, "prepare")
        keep_collections_short()

    async def used(self) -> Used:
        """What this process has used by now."""
        self._cpu.claim([threading.get_native_id()], "batch")  # the loop that runs `judge`, which has a thread
        return Used(os.getpid(), self._cpu.seconds(), (resident_bytes() or 0.0) / _MIB)


class ServeBatchHostGuard(HostGuard):
    """The same, batched by `@serve.batch` alone."""

    def __init__(self, settings: Settings, ranks: int) -> None:
        super().__init__(settings, ranks)
        self._batcher = ServeBatcher(self._run, settings.guard.batch_size)


class HostWorker:
    """Runs stream workers in a Serve replica, each with Serve's handle of a guard.

    Args:
        settings: all settings.
        guards: Serve handles of the sides, by name.
    """

    def __init__(self, settings: Settings, guards: dict[str, Any]) -> None:
        configure_logging(settings.telemetry.log_level)
        tune_process()
        self._guards = guards
        threads = {"weir-stream": "release", "weir-publisher": "publish", "kafka-io": "client"}
        self._cpu = CpuParts(threads, rest="handle")
        for owner, method, part in (
            (Consumer, "poll", "client"),
            (Decisions, "admit", "decode"),
            (GuardCalls, "ask", "handle"),
            (Decisions, "decide", "parse"),
        ):
            self._cpu.time_calls(owner, method, part)

    async def run(self, side: str, sections: dict[str, Any], names: list[str], events: int) -> WorkerRun:
        """Have all events of a topic judged by one worker of a group of its own.

        Args:
            side: whose guard judges.
            sections: of the settings.
            names: topics of events, verdicts and dead letters.
            events: of the event topic.

        Raises:
            ModerationError: the worker failed, or was not done in time.
        """
        settings = bench_settings(sections, names)
        loop = asyncio.get_running_loop()
        tracing = start_tracing(settings.telemetry, "weir-stream", TELEMETRY_OFF)
        guard = GuardClient(self._guards[side], settings.delivery.call_timeout_s)
        worker = stream_worker(settings, guard, loop, tracing)
        worker.start()
        deadline = time.monotonic() + DEADLINE_S

        async def completed(enough: int) -> tuple[int, float, dict[str, float]]:
            while (done := worker.progress.completed) < enough:
                if worker.failure is not None or time.monotonic() > deadline:
                    raise ModerationError(f"the worker of {side} failed, or took {DEADLINE_S:.0f} s")
                await asyncio.sleep(POLL_S)
            return done, time.perf_counter(), self._cpu.seconds()

        try:
            first, started, before = await completed(1)
            last, ended, after = await completed(events)
        finally:
            await asyncio.to_thread(worker.stop, STOP_S)
        spent = {part: seconds - before.get(part, 0.0) for part, seconds in after.items()}
        return WorkerRun(last - first, ended - started, Used(os.getpid(), spent, (resident_bytes() or 0.0) / _MIB))
