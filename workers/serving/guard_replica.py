"""One replica of `GuardDeployment`: prepares prompts, batches them, runs the engine, and answers item by item.

Equal prompts are judged once. A plain class, of which `workers.serving.app` makes the deployment. Does not parse what
the model wrote.
"""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, redirect_stderr
from dataclasses import dataclass
from itertools import chain
from math import inf
from operator import attrgetter
from secrets import token_bytes
from time import perf_counter

from pipelines.guard import GuardAnswer, GuardReply, GuardRequest
from pipelines.isolation import PROBE
from schemas.errors import (
    BatchHangsError,
    GuardCallFailedError,
    GuardCrashError,
    GuardUnavailableError,
    ModerationError,
    ReplicaLateError,
)
from workers.guard.lane import Lane
from workers.serving.answers import answer_of
from workers.serving.backlog_policy import BUSY
from workers.serving.batching.batcher import Batched, Batcher
from workers.serving.busy_share import BusyShare
from workers.serving.engine.completion import BatchContext, Completion, Engine, PreparedPrompt
from workers.serving.engine_choice import load_engine, provenance_of
from workers.serving.guard_measures import GuardMeasures
from workers.serving.verdict_cache import KEY_BYTES, VerdictCache
from workers.settings.loading import Settings, otel_variables
from workers.telemetry.batch_span import BatchSpan, trace_wait
from workers.telemetry.export import start_metrics, start_tracing
from workers.telemetry.log import configure_logging, ids_of, log_event

log = logging.getLogger(__name__)
# More than the splitting of one poisonous chunk makes in a row.
MAX_FAILURES = 32
# A batch hangs that takes so many times as long as is usual for its tokens, and so many seconds (decision 0034).
HANGS_TIMES, HANGS_AFTER_S = 20.0, 30.0
# Background calls that a replica takes on; Serve gives it 512 calls at a time, which are for live ones.
MAX_BACKGROUND_CALLS = 16
# What a backend outside the replica ends with: it says nothing of the items, nor of the replica.
BACKEND_ERRORS = (GuardUnavailableError, GuardCrashError)
TELEMETRY_OFF = {"OTEL_SDK_DISABLED": "true"}


@dataclass(frozen=True, slots=True)
class _Asked:
    key: bytes
    prompt: PreparedPrompt
    carrier: Mapping[str, str]
    lane: Lane


@dataclass(frozen=True, slots=True)
class _Ran:
    completion: Completion
    batch_carrier: Mapping[str, str]
    batch_started_ns: int
    guard_ms: float


class GuardReplica:
    """Runs the model.

    Args:
        settings: all settings.
        engine: an engine to use in place of the one that the settings name.
        has_telemetry: spans and metrics go where the environment says.
    """

    _closing = ExitStack()  # of one that was not made: nothing

    def __init__(self, settings: Settings, engine: Engine | None = None, *, has_telemetry: bool = True) -> None:
        with redirect_stderr(sys.__stderr__):  # Serve's stand-in for it writes to a file that nobody collects
            configure_logging(settings.telemetry.log_level)
        otel = otel_variables() if has_telemetry else TELEMETRY_OFF
        self._tracing = start_tracing(settings.telemetry, "weir-guard", otel)
        self._metrics = start_metrics("weir-guard", otel)
        self._closing = ExitStack()
        self._closing.callback(self._metrics.flush)
        self._closing.callback(self._tracing.flush)
        started = perf_counter()
        self._engine = engine or load_engine(settings.guard)
        self._closing.callback(self._engine.close)
        self._provenance = provenance_of(self._engine)
        load_s = perf_counter() - started
        log.info(log_event("model_loaded", seconds=round(load_s, 2), **self._provenance.model_dump()))
        # These threads run the engine and others prepare, so that the next batch is ready when one ends.
        self._gpu = self._threads(self._engine.concurrency, "weir-engine")
        self._tokenisers = {  # of their own, so that live calls do not queue behind others
            Lane.ASK: self._threads(1, "weir-ask"),
            Lane.LIVE: self._threads(2, "weir-tokeniser"),
            Lane.BACKGROUND: self._threads(1, "weir-background"),
        }
        self._background_calls = 0
        self._batcher = Batcher[_Asked, _Ran](
            self._run,
            key=attrgetter("key"),
            batch_tokens=settings.guard.batch_tokens,
            batch_size=min(settings.guard.batch_size, self._engine.batch_size or settings.guard.batch_size),
            background_tokens=settings.guard.background_batch_tokens,
            background_share=settings.guard.background_share,
            ask_share=settings.guard.ask_share,
            concurrency=self._engine.concurrency,
            blameless=BACKEND_ERRORS,
            late=None if self._engine.identity.device == "remote" else ReplicaLateError,
        )
        self._measures = GuardMeasures(self._engine, load_s, self._batcher.waiting)
        self._cache = VerdictCache(settings.guard.cache_size)
        self._batch_timeout_s = settings.guard.batch_timeout_s
        self._failures = 0
        self._hangs_at: dict[object, float] = {}
        self._late_batch: object = None
        self._busy = BusyShare(slots=self._engine.concurrency)

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply | None:
        """Judge the conversations of one call; see `pipelines.guard.Guard`.

        Returns:
            The answers; None where they wait for a batch that takes far longer than is usual. Of an error Serve would
            write a traceback for each call, and count it.

        Raises:
            GuardCallFailedError: the engine raised; names the kind of its error, whose text may quote the input.
            GuardUnavailableError: the engine's server does not answer.
            GuardCrashError: its server died while it ran this.
        """
        return await self._judge(requests, Lane.LIVE)

    async def judge_ask(self, requests: Sequence[GuardRequest]) -> GuardReply | None:
        """The same for somebody who waits: first in each batch, within bounds that live items do not feel.

        Raises:
            GuardCallFailedError: see `judge`, and for the other two.
        """
        return await self._judge(requests, Lane.ASK)

    async def judge_background(self, requests: Sequence[GuardRequest]) -> GuardReply | None:
        """The same for background work: it has the engine only while no live item waits.

        Raises:
            GuardUnavailableError: as many such calls as a replica takes on are waiting already.
            GuardCallFailedError: see `judge`.
        """
        if self._background_calls >= MAX_BACKGROUND_CALLS:
            self._measures.refused()
            raise GuardUnavailableError(f"{MAX_BACKGROUND_CALLS} background calls wait already")
        self._background_calls += 1
        try:
            return await self._judge(requests, Lane.BACKGROUND)
        finally:
            self._background_calls -= 1

    async def _judge(self, requests: Sequence[GuardRequest], lane: Lane) -> GuardReply | None:
        try:
            return await self._answered(requests, lane)
        except ReplicaLateError:
            self._tell_late()
            return None
        except Exception as error:  # noqa: BLE001 - whatever the engine raised
            told = _told(error)
        # Not while that is handled: Ray and Serve write the whole chain of an error into their logs.
        raise told

    async def _answered(self, requests: Sequence[GuardRequest], lane: Lane) -> GuardReply:
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._tokenisers[lane], self._prepare, requests, lane)
        # Nothing is awaited from here to the queue, so an equal prompt that another call has under way is not missed.
        at_once = [self._at_once(item) for item in prepared]
        asked = [
            (item, len(item.prompt))
            for item, answer in zip(prepared, at_once, strict=True)
            if answer is None and isinstance(item, _Asked)
        ]
        batched = await self._batcher.submit(asked, lane=lane)
        if lane is Lane.LIVE:
            self._measures.waited([item.queue_ms for item in batched])
        for (item, _), waited in zip(asked, batched, strict=True):
            trace_wait(self._tracing, item.carrier, waited.queue_ms, waited.answer.batch_started_ns)
        misses = sum(not item.is_shared for item in batched)
        self._cache.count(hits=sum(isinstance(item, _Asked) for item in prepared) - misses, misses=misses)
        ran = iter(batched)
        answers = [self._answer(next(ran)) if answer is None else answer for answer in at_once]
        return GuardReply(answers, self._provenance)

    async def check_health(self) -> None:
        """Serve's health check.

        Raises:
            BatchHangsError: a batch does not end.
            RuntimeError: batch after batch has raised: the device or engine is broken.
        """
        if (overdue_s := perf_counter() - min(self._hangs_at.values(), default=inf)) > 0:
            raise BatchHangsError(f"a batch should have ended {overdue_s:.0f} s ago")
        if self._failures >= MAX_FAILURES:
            raise RuntimeError(f"the last {self._failures} batches raised")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Figures for `workers.serving.backlog_policy`; Serve asks every so often."""
        share = self._busy.share()
        return {} if share is None else {BUSY: share}

    async def spans_about(self, traces: Sequence[str]) -> list[str]:
        """Recent spans of these traces; see `workers.telemetry.export.RecentSpans`."""
        return await asyncio.to_thread(self._tracing.spans_about, traces)

    def close(self) -> None:
        """End its threads, which finish what they are at, and export the telemetry that is left."""
        self._closing.close()

    def __del__(self) -> None:
        """Serve calls it on a clean stop, and Python once more; the shadow lane's replica is called by Python alone."""
        self.close()

    def _threads(self, count: int, name: str) -> ThreadPoolExecutor:
        made = ThreadPoolExecutor(count, name)
        self._closing.callback(made.shutdown, wait=False)  # a batch that hangs shall not hold up a stop
        return made

    def _prepare(self, requests: Sequence[GuardRequest], lane: Lane) -> list[_Asked | Completion]:
        # Whoever asks whether the engine works must hear it from the engine (P5).
        is_probe = list(requests) == [PROBE]
        asked: list[_Asked | Completion] = []
        prepared = self._engine.prepare_all([request.conversation for request in requests])
        for request, prompt in zip(requests, prepared, strict=True):
            if isinstance(prompt, PreparedPrompt):
                key = token_bytes(KEY_BYTES) if is_probe else self._cache.key_of(prompt)
                asked.append(_Asked(key, prompt, request.carrier, lane))
            else:
                asked.append(prompt)
        return asked

    def _at_once(self, item: _Asked | Completion) -> GuardAnswer | None:
        if isinstance(item, Completion):
            return answer_of(item, {})
        kept = self._cache.find(item.key)
        return None if kept is None else answer_of(kept.completion, kept.batch_carrier)

    @staticmethod
    def _answer(batched: Batched[_Ran]) -> GuardAnswer:
        ran = batched.answer
        return answer_of(ran.completion, ran.batch_carrier, queue_ms=batched.queue_ms, guard_ms=ran.guard_ms)

    async def _run(self, batch: Sequence[Sequence[_Asked]]) -> list[_Ran]:
        """Run one batch in the engine's thread, one prompt of each group, under one span that links every message."""
        prompts = [group[0].prompt for group in batch]
        background = sum(group[0].lane is Lane.BACKGROUND for group in batch)
        span = BatchSpan(
            self._tracing,
            self._provenance.model,
            (asked.carrier for asked in chain.from_iterable(batch)),
            {"moderation.batch.size": len(batch), "moderation.batch.tokens": sum(len(prompt) for prompt in prompts)},
        )
        error: str | None = None
        started = perf_counter()
        self._hangs_at[span] = started + self._longest_s(prompts)
        is_live = background < len(batch)
        if is_live:  # work that gives way is no reason for another replica
            self._busy.begin()
        try:
            completions = await asyncio.get_running_loop().run_in_executor(
                self._gpu, self._engine.run_for, prompts, BatchContext(span.carrier, is_live)
            )
            if len(completions) != len(prompts):
                raise ValueError(f"{len(completions)} answers to a batch of {len(prompts)}")  # noqa: TRY301 - as above
        except Exception as raised:
            self._failures += not isinstance(raised, BACKEND_ERRORS)
            error = type(raised).__name__
            self._measures.ran(prompts, None, perf_counter() - started, background=background)
            log.error(log_event("batch_failed", size=len(batch), error=error, **ids_of(span.carrier)))
            raise
        finally:
            del self._hangs_at[span]
            if is_live:
                self._busy.end()
            span.end(error)
        self._failures = 0
        seconds = perf_counter() - started
        guard_ms = seconds * 1000
        self._measures.ran(prompts, completions, seconds, background=background)
        for group, completion in zip(batch, completions, strict=True):
            self._cache.keep(group[0].key, completion, span.carrier)
        return [_Ran(completion, span.carrier, span.started_ns, guard_ms) for completion in completions]

    def _tell_late(self) -> None:
        """Once for each batch."""
        under_way = next(iter(self._hangs_at), None)
        if under_way is not self._late_batch:
            self._late_batch = under_way
            log.warning(log_event("batch_late"))

    def _longest_s(self, prompts: Sequence[PreparedPrompt]) -> float:
        """For how long a batch may run."""
        if self._engine.identity.device == "remote":  # its server works for others, too; its calls have a time-out
            return self._batch_timeout_s
        usual_s = self._batcher.usual_s(sum(map(len, prompts)))
        return min(self._batch_timeout_s, max(HANGS_AFTER_S, HANGS_TIMES * usual_s))


def _told(error: Exception) -> ModerationError:
    """What a caller is told of an error: of the engine's own, whose text may quote the input, the kind alone."""
    return type(error)(str(error)) if isinstance(error, BACKEND_ERRORS) else GuardCallFailedError(type(error).__name__)


class DeployedGuardReplica(GuardReplica):
    """The replica of a process of its own, which ends with a batch that hangs.

    Serve would let the batch go on, for `delivery.drain_timeout_s`, and all calls that wait for it.
    """

    def __init__(self, settings: Settings, engine: Engine | None = None) -> None:
        super().__init__(settings, engine)
        keep_collections_short()

    async def check_health(self) -> None:
        """See `GuardReplica`."""
        try:
            await super().check_health()
        except BatchHangsError as error:
            log.critical(log_event("batch_hangs", detail=str(error)))
            os._exit(1)  # the engine's thread cannot be ended


def keep_collections_short() -> None:
    """Keep what a process has loaded out of garbage collections: one of them delayed a sender of calls by 150 ms."""
    gc.collect()
    gc.freeze()
