"""Judges records as live traffic is judged, and asks the guard once about equal conversations.

Reads and writes no files. Knows nothing of Ray or of the model.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.guard import GuardAnswer, GuardRequest, Judged
from pipelines.guard_family import QWEN3GUARD_GEN
from pipelines.isolation import PROBE
from pipelines.judging import Judge
from pipelines.lanes.batch import judge_batch
from pipelines.moderation import Admitted, Moderation, Outcome
from schemas.dead_letter import DeadLetter
from schemas.errors import ConfigurationError
from schemas.event import Task
from schemas.record import SourceRecord
from schemas.verdict import Provenance
from workers.audit.answer_cache import AnswerCache, key_of
from workers.audit.pace import Pace

_NO_TIME = "-"  # rows hold no time; asking the clock for each takes a tenth of the work
_FIXED_TOKENS = QWEN3GUARD_GEN.fixed_tokens(Task.PROMPT)  # a few less than for a response; only batches are cut by it


@dataclass(frozen=True)
class Lane:
    """What judges: the parts that live traffic is judged with, and how much of it at a time.

    `batch_tokens` and `batch_size` bound one call of the guard, `calls` those under way at a time; `gpus` are those of
    one actor.
    """

    moderation: Moderation
    judge: Judge
    batch_size: int
    batch_tokens: int
    calls: int
    gpus: float


class Spent(NamedTuple):
    """What the guard was asked: prompts, those answered without it, its seconds and tokens."""

    judged: int
    deduplicated: int
    guard_seconds: float
    prompt_tokens: int
    output_tokens: int


class BlockJudge:
    """Judges records of one run.

    Args:
        lane: what judges.
        cache: answers of this actor.
        pace: of the records of this actor.

    Attributes:
        provenance: of the model; None until `begin`.
    """

    def __init__(self, lane: Lane, cache: AnswerCache, pace: Pace) -> None:
        self._lane = lane
        self._cache = cache
        self._pace = pace
        self._calls = asyncio.Semaphore(lane.calls)
        self.provenance: Provenance | None = None

    async def begin(self, expected: Provenance | None) -> Provenance:
        """Ask the model what it is.

        Args:
            expected: what judged the run so far.

        Raises:
            ConfigurationError: it is another one; names the field.
        """
        (judged,) = await self._lane.judge.judge([PROBE])
        self.provenance = judged.provenance
        _refuse_other(expected, judged.provenance)
        return judged.provenance

    def admit(self, record: SourceRecord) -> Admitted | DeadLetter:
        """See `pipelines.moderation.Moderation.admit`."""
        return self._lane.moderation.admit(record, received_at=_NO_TIME)

    async def judge(self, admitted: Sequence[Admitted], rows: int) -> tuple[list[Outcome], Spent]:
        """The outcomes of some records, in order.

        Args:
            admitted: the records.
            rows: how many rows they stand for, with those that need no judgement; what the pace counts.

        Raises:
            ConfigurationError: the model is no longer the one that it was.
        """
        asked = _AskedOnce(self._lane, self._cache, self._pace, self._calls, self.provenance, rows)
        rulings = await judge_batch(admitted, self._lane.moderation, asked, judged_at=_NO_TIME)
        return [ruling.outcome for ruling in rulings], asked.spent()


class _AskedOnce:
    """The judge of one block: equal conversations are asked about once, and kept answers are not asked for.

    Args:
        lane, cache, pace: see `BlockJudge`.
        calls: bounds those of the guard that are under way.
        provenance: the model that has to answer.
        rows: that the requests stand for.
    """

    def __init__(
        self,
        lane: Lane,
        cache: AnswerCache,
        pace: Pace,
        calls: asyncio.Semaphore,
        provenance: Provenance | None,
        rows: int,
    ) -> None:
        self._lane = lane
        self._cache = cache
        self._pace = pace
        self._calls = calls
        self._provenance = provenance
        self._rows = rows
        self._requests = self._asked = self._prompt_tokens = self._output_tokens = 0
        self._guard_ms = 0.0

    async def judge(self, requests: Sequence[GuardRequest]) -> list[Judged]:
        """See `pipelines.judging.RequestJudge`."""
        keys = [key_of(request.conversation) for request in requests]
        answers: dict[bytes, Judged] = {}
        asked: dict[bytes, GuardRequest] = {}
        for request, key in zip(requests, keys, strict=True):
            if (kept := self._cache.find(key)) is not None:
                answers[key] = kept
            else:
                asked.setdefault(key, request)
        self._requests += len(requests)
        self._asked += len(asked)
        if not asked:
            await self._pace.take(self._rows)

        async def ask(batch: Sequence[tuple[bytes, GuardRequest]]) -> None:
            async with self._calls:
                await self._pace.take(self._rows * len(batch) / len(asked))
                judged = await self._lane.judge.judge([request for _, request in batch])
            self._count(judged)
            for (key, _), item in zip(batch, judged, strict=True):
                answers[key] = item
                self._cache.keep(key, item)

        await asyncio.gather(*map(ask, self._batches(asked.items())))
        return [answers[key] for key in keys]

    def spent(self) -> Spent:
        """All that was asked so far."""
        return Spent(
            judged=self._asked,
            deduplicated=self._requests - self._asked,
            guard_seconds=self._guard_ms / 1_000,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
        )

    def _count(self, judged: Sequence[Judged]) -> None:
        slowest = 0.0
        for item in judged:
            _refuse_other(self._provenance, item.provenance)
            if isinstance(item.result, GuardAnswer):
                slowest = max(slowest, item.result.guard_ms)
                self._prompt_tokens += item.result.prompt_tokens
                self._output_tokens += item.result.output_tokens
        self._guard_ms += slowest

    def _batches(self, asked: Iterable[tuple[bytes, GuardRequest]]) -> Iterator[list[tuple[bytes, GuardRequest]]]:
        """Requests in batches of like length, because the longest of a batch counts for all."""
        batch: list[tuple[bytes, GuardRequest]] = []
        for item in sorted(asked, key=lambda item: item[1].tokens):
            tokens = (len(batch) + 1) * (item[1].tokens + _FIXED_TOKENS)
            if batch and (len(batch) >= self._lane.batch_size or tokens > self._lane.batch_tokens):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch


def _refuse_other(expected: Provenance | None, found: Provenance) -> None:
    if expected is None or found is expected or found == expected:
        return
    for name in Provenance.model_fields:
        was, is_now = getattr(expected, name), getattr(found, name)
        if was != is_now:
            raise ConfigurationError(f"provenance.{name}: the run was begun with {was}, now it is {is_now}")
