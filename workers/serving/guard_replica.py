"""One replica of `GuardDeployment`: prepares, batches and runs the engine, and answers per item.

A plain class; `workers.serving.app` makes the deployment of it. Does not parse what the model wrote.
"""

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from dataclasses import dataclass
from time import perf_counter

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from pipelines.guard import GuardAnswer, GuardReply, GuardRequest
from workers.log import configure_logging, event
from workers.serving.answers import answer_of
from workers.serving.batcher import Batcher
from workers.serving.engine.judgement import Engine, Judgement, PreparedPrompt
from workers.serving.engine_choice import load_engine, provenance_of
from workers.settings import Settings, otel_variables
from workers.telemetry import start_tracing

log = logging.getLogger(__name__)
MAX_LINKS = 128
# More than the splitting of one poisonous chunk makes in a row.
MAX_FAILURES = 32


@dataclass(frozen=True, slots=True)
class _Asked:
    prompt: PreparedPrompt
    carrier: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Ran:
    judgement: Judgement
    batch_carrier: Mapping[str, str]
    guard_ms: float


class GuardReplica:
    """Runs the model.

    Args:
        settings: all settings.
        engine: an engine to use in place of the one that the settings name.
    """

    def __init__(self, settings: Settings, engine: Engine | None = None) -> None:
        with redirect_stderr(sys.__stderr__):  # Serve's stand-in for it writes to a file that nobody collects
            configure_logging(settings.telemetry.log_level)
        self._tracing = start_tracing(settings.telemetry, "weir-guard", otel_variables())
        self._tracer = trace.get_tracer(__name__)
        started = perf_counter()
        self._engine = engine or load_engine(settings.guard)
        self._provenance = provenance_of(self._engine)
        log.info(event("model_loaded", seconds=round(perf_counter() - started, 2), **self._provenance.model_dump()))
        # One thread runs the engine and others prepare, so that the next batch is ready when this one ends.
        self._gpu = ThreadPoolExecutor(1, "weir-engine")
        self._tokenisers = ThreadPoolExecutor(2, "weir-tokeniser")
        self._batcher = Batcher[_Asked, _Ran](
            self._run, batch_tokens=settings.guard.batch_tokens, batch_size=settings.guard.batch_size
        )
        self._batch_timeout_s = settings.guard.batch_timeout_s
        self._failures = 0
        self._running_since: float | None = None

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        """Judge the conversations of one call; see `pipelines.guard.Guard`."""
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._tokenisers, self._prepare, requests)
        asked = [
            (_Asked(prompt, request.carrier), len(prompt))
            for request, prompt in zip(requests, prepared, strict=True)
            if isinstance(prompt, PreparedPrompt)
        ]
        ran = iter(await self._batcher.submit(asked))
        answers = [
            answer_of(prompt, {}) if isinstance(prompt, Judgement) else self._answer(*next(ran)) for prompt in prepared
        ]
        return GuardReply(answers, self._provenance)

    async def check_health(self) -> None:
        """Serve's health check.

        Raises:
            RuntimeError: batch after batch has raised, or one does not end: the device or engine is broken.
        """
        running_s = 0.0 if self._running_since is None else perf_counter() - self._running_since
        if running_s > self._batch_timeout_s:
            raise RuntimeError(f"a batch has been running for {running_s:.0f} s")
        if self._failures >= MAX_FAILURES:
            raise RuntimeError(f"the last {self._failures} batches raised")

    async def __del__(self) -> None:
        self._tracing.flush()

    def _prepare(self, requests: Sequence[GuardRequest]) -> list[PreparedPrompt | Judgement]:
        return [self._engine.prepare(request.conversation) for request in requests]

    @staticmethod
    def _answer(ran: _Ran, queue_ms: float) -> GuardAnswer:
        return answer_of(ran.judgement, ran.batch_carrier, queue_ms=queue_ms, guard_ms=ran.guard_ms)

    async def _run(self, batch: Sequence[_Asked]) -> list[_Ran]:
        """Run one batch in the engine's thread, under one span that links every sampled message."""
        contexts = [
            trace.get_current_span(extract(asked.carrier, Context())).get_span_context()
            for asked in batch
            if asked.carrier
        ]
        carrier: dict[str, str] = {}
        span: trace.Span = trace.INVALID_SPAN
        if contexts and self._tracing.enabled:
            span = self._tracer.start_span(
                f"chat {self._provenance.model}",
                Context(),
                SpanKind.INTERNAL,
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "weir",
                    "gen_ai.request.model": self._provenance.model,
                    "moderation.batch.size": len(batch),
                    "moderation.batch.tokens": sum(len(asked.prompt) for asked in batch),
                },
                [Link(context) for context in contexts[:MAX_LINKS]],
            )
            inject(carrier, trace.set_span_in_context(span))
        started = self._running_since = perf_counter()
        try:
            prompts = [asked.prompt for asked in batch]
            judgements = await asyncio.get_running_loop().run_in_executor(self._gpu, self._engine.run, prompts)
        except Exception as error:
            self._failures += 1
            log.error(event("batch_failed", size=len(batch), error=type(error).__name__))
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            self._running_since = None
            span.end()
        self._failures = 0
        guard_ms = (perf_counter() - started) * 1000
        return [_Ran(judgement, carrier, guard_ms) for judgement in judgements]
