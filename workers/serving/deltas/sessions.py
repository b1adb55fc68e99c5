"""The sessions of one stream guard by turn, and the pushes of many callers made into steps.

A turn's session is found again by its key and by how much of its text it has. Where there is none, or it stands
elsewhere, whoever asks is told so and gives the whole text. What is short goes first: a long text goes in pieces, a
piece at a time between the deltas of others, and long conversations are opened one at a time. Bounds are kept by
tenant: whoever has most gives up first. Knows nothing of Ray.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Final

from pipelines.turns.port import SESSION_UNKNOWN, JudgedToken, PushAnswer, PushError, PushReply, TurnKey, TurnPush
from schemas.turns.frame import characters_of
from schemas.turns.verdict import StreamProvenance
from workers.serving.engine.streaming.verdicts import SessionRefusedError, TokenVerdict
from workers.telemetry.batch_span import BatchSpan
from workers.telemetry.export import Tracing
from workers.telemetry.log import ids_of, log_event

if TYPE_CHECKING:  # torch takes seconds, which the driver that builds the application must not pay
    from workers.serving.engine.stream_guard import StreamGuard
    from workers.serving.engine.streaming.session import Session

log = logging.getLogger(__name__)
PIECE: Final = 1_024  # characters of one push that go into one round
ROUND: Final = 4_096  # characters of a round, of all pushes together
FULL, ENOUGH = 0.9, 0.8  # shares of all pages: from where on pages are given up, and down to where


@dataclass(slots=True, eq=False)
class _Open:
    """A turn's session, and how many characters of the turn it has."""

    session: "Session"
    at: int = 0


@dataclass(slots=True, eq=False)
class _Job:
    """A push on its way: what is left of its text, and what was said so far.

    `opening` are the characters of the messages that its session is opened with.
    """

    push: TurnPush
    answer: "asyncio.Future[PushAnswer]"
    left: str
    opening: int
    open: _Open | None = None
    tokens: list[TokenVerdict] = field(default_factory=list)
    error: PushError | None = None
    is_done: bool = False
    since: float = field(default_factory=perf_counter)

    @property
    def characters(self) -> int:
        """What it adds to its next round."""
        return min(len(self.left), PIECE) + (self.opening if self.open is None else 0)


class TurnSessions:
    """Judges pushes with a guard that nobody else uses. Make it, and call `push`, on one event loop.

    Args:
        guard: loaded; its own bound on sessions is above `max_sessions`.
        max_sessions: open at most; of the tenant that has most, the one that was pushed longest ago is closed.
        tracing: of this process; each round is a span that links to the traces of its pushes.
        took: called with the seconds from each push to its answer, and with the answer's error.

    Attributes:
        failures: rounds in a row that raised.
        running_since: when the round that runs began, by `perf_counter`; None between rounds.
        counts: sessions `opened`, `unknown`, `closed_for_room` and `evicted`.
    """

    def __init__(
        self,
        guard: "StreamGuard",
        max_sessions: int,
        tracing: Tracing,
        took: Callable[[float, PushError | None], None] = lambda *_: None,
    ) -> None:
        self._guard = guard
        self._max_sessions = max_sessions
        self._tracing = tracing
        identity = guard.identity
        self.provenance = StreamProvenance(
            model=identity.model,
            revision=identity.revision,
            prompt_sha256=identity.prompt_sha256,
            engine=identity.engine,
            dtype=identity.dtype,
            debounce=guard.debounce,
        )
        # Those that were pushed longest ago first.
        self._open: dict[TurnKey, _Open] = {}
        self._jobs: list[_Job] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "weir-stream-guard")
        self.failures = 0
        self.running_since: float | None = None
        self.counts: Counter[str] = Counter()
        self._took = took
        self._pages = 0

    async def push(self, pushes: Sequence[TurnPush]) -> PushReply:
        """See `pipelines.turns.port.TurnJudge`."""
        loop = asyncio.get_running_loop()
        jobs = [_Job(push, loop.create_future(), push.text, characters_of(push.messages or ())) for push in pushes]
        self._jobs += jobs
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        try:
            answers = await asyncio.gather(*(job.answer for job in jobs))
        finally:
            for job in jobs:  # a caller that is cancelled leaves nothing behind in the queue
                job.answer.cancel()
        return PushReply(answers, self.provenance)

    @property
    def sessions(self) -> int:
        """Sessions that are open."""
        return len(self._open)

    @property
    def pages(self) -> int:
        """Pages that they hold, after the last round."""
        return self._pages

    @property
    def max_pages(self) -> int:
        """Pages that they may hold."""
        return self._guard.max_pages

    @property
    def waiting(self) -> int:
        """Pushes that have no answer yet."""
        return len(self._jobs)

    def close(self) -> None:
        """End the thread, which finishes the round that it is at."""
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while jobs := self._next_round():
                self.running_since = perf_counter()
                busy = {job.push.key for job in self._jobs if job.open is not None}
                carriers = (job.push.carrier for job in jobs)
                span = BatchSpan(self._tracing, self.provenance.model, carriers, {"moderation.batch.size": len(jobs)})
                error: str | None = "CancelledError"
                try:
                    error = await loop.run_in_executor(self._thread, self._run, jobs, busy, span.carrier)
                finally:
                    self.running_since = None
                    span.end(error)
                self._settle(jobs)
        except BaseException:  # only where the loop or the thread ends; no caller may hang then
            for job in self._jobs:
                job.answer.cancel()
            raise
        finally:
            self._worker = None

    def _next_round(self) -> list[_Job]:
        """Pushes of different turns: the one that came first, and those with least left, up to so many characters."""
        self._jobs = [job for job in self._jobs if not job.answer.done()]
        if not self._jobs or self._jobs[0].push.alone:
            return self._jobs[:1]
        first = {job.push.key: job for job in reversed(self._jobs)}  # of each turn, the one that came first
        chosen = [self._jobs[0]]
        others = [job for job in first.values() if job is not chosen[0] and not job.push.alone]
        characters = min(chosen[0].characters, PIECE)
        for job in sorted(others, key=lambda job: (job.characters, len(job.left))):
            characters += job.characters
            if characters > ROUND or len(chosen) == self._max_sessions:
                break
            chosen.append(job)
        return chosen

    def _settle(self, jobs: Sequence[_Job]) -> None:
        now = perf_counter()
        for job in jobs:
            if job.is_done and not job.answer.done():
                self._took(now - job.since, job.error)
                job.answer.set_result(PushAnswer(_said(job), job.error))
        self._jobs = [job for job in self._jobs if not job.is_done]

    # -- the guard's thread ------------------------------------------------------------------------------------------

    def _run(self, jobs: Sequence[_Job], busy: Set[TurnKey], carrier: Mapping[str, str]) -> str | None:
        """One round; what it raises is told to its jobs, whose sessions are gone then, and its kind is returned."""
        try:
            own = {job.push.key for job in jobs}
            ready = [job for job in jobs if self._begin(job, own, busy)]
            pieces = [job.left[:PIECE] for job in ready]
            lists = self._guard.push(
                [
                    (job.open.session, piece, job.push.final and len(piece) == len(job.left))
                    for job, piece in zip(ready, pieces, strict=True)
                    if job.open is not None
                ]
            )
            for job, piece, verdicts in zip(ready, pieces, lists, strict=True):
                self._take(job, piece, verdicts, verdicts.error)
        except Exception as error:  # noqa: BLE001 - whatever the engine raised
            self.failures += 1
            kind = type(error).__name__
            log.error(log_event("batch_failed", size=len(jobs), error=kind, **ids_of(carrier)))
            for job in jobs:
                self._close(job.push.key)
                job.error, job.is_done = "inference_failed", True
                job.tokens.clear()
            return kind
        self.failures = 0
        self._give_pages_up()
        return None

    def _begin(self, job: _Job, own: Set[TurnKey], busy: Set[TurnKey]) -> bool:
        """Find or open a push's session; False where there is none, which its answer says then."""
        push = job.push
        if job.open is not None:
            if self._open.get(push.key) is job.open:
                return True
            # Closed between two pieces, for want of room.
        elif push.messages is not None:
            self._close(push.key)
            self._make_room(own, busy)
            try:
                job.open = self._open[push.key] = _Open(self._guard.open(push.messages))
            except SessionRefusedError as refused:
                job.error, job.is_done = _error_of(refused.reason), True
                return False
            self.counts["opened"] += 1
            return True
        else:
            known = self._open.get(push.key)
            if known is not None and known.at == push.at:
                self._open[push.key] = self._open.pop(push.key)
                job.open = known
                return True
            self._close(push.key)
        job.error, job.is_done = SESSION_UNKNOWN, True
        job.tokens.clear()
        self.counts["unknown"] += 1
        return False

    def _take(self, job: _Job, piece: str, verdicts: Sequence[TokenVerdict], error: str | None) -> None:
        assert job.open is not None
        job.open.at += len(piece)
        job.left = job.left[len(piece) :]
        job.tokens = [token for token in job.tokens if not token.provisional]
        job.tokens += verdicts
        if error is not None:
            job.error = _error_of(error)
        job.is_done = not job.left or error is not None
        if job.is_done and (job.push.final or error is not None):
            self._close(job.push.key)

    def _close(self, key: TurnKey) -> None:
        if (known := self._open.pop(key, None)) is not None:
            self._guard.close(known.session)

    def _make_room(self, own: Set[TurnKey], busy: Set[TurnKey]) -> None:
        """Close a session of the tenant that has most: none of this round, nor, if it can be, of a text on its way."""
        if len(self._open) < self._max_sessions:
            return
        others = [key for key in self._open if key not in own]
        others = [key for key in others if key not in busy] or others
        [(most, _)] = Counter(key.tenant for key in others).most_common(1)
        self._close(next(key for key in others if key.tenant == most))
        self.counts["closed_for_room"] += 1

    def _give_pages_up(self) -> None:
        """Evict sessions of the tenants that hold most, so that one tenant's flood costs the others nothing."""
        live = self._pages = self._guard.live_pages
        if live <= FULL * self._guard.max_pages:
            return
        by_tenant: Counter[str] = Counter()
        for key, known in self._open.items():
            by_tenant[key.tenant] += len(known.session.pages)
        while live > ENOUGH * self._guard.max_pages:
            [(most, _)] = by_tenant.most_common(1)
            known = next(known for key, known in self._open.items() if key.tenant == most and known.session.pages)
            freed = self._guard.evict(known.session)
            by_tenant[most] -= freed
            live -= freed
            self.counts["evicted"] += 1
        self._pages = live


def _said(job: _Job) -> list[JudgedToken]:
    """What of a push's tokens was not said before."""
    return [
        JudgedToken(
            token.index,
            token.offset,
            token.role,
            token.risk,
            token.category,
            token.probabilities,
            token.provisional,
            token.raised,
        )
        for token in job.tokens
        if (0 if token.role == "user" else token.index + 1) >= job.push.said
    ]


_AS_UNKNOWN = frozenset({"session_closed", "too_many_sessions", "delta_after_final", "delta_too_large"})


def _error_of(reason: str) -> PushError:
    """The engine's reason as a caller is told; what a caller can only mend by giving the text again is one."""
    return SESSION_UNKNOWN if reason in _AS_UNKNOWN else reason  # type: ignore[return-value]
