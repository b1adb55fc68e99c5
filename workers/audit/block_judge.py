"""Judges records as live traffic is judged, and asks the guard once about equal conversations.

Reads and writes no files. Knows nothing of Ray or of the model.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.guard import GuardAnswer, GuardRequest, Judged
from pipelines.judging import PROBE, Judge
from pipelines.moderation import Admitted, Moderation
from schemas.dead_letter import DeadLetter
from schemas.errors import ConfigurationError
from schemas.record import SourceRecord
from schemas.verdict import Provenance
from schemas.verdict_writer import VerdictText
from workers.audit.answer_cache import AnswerCache, key_of
from workers.audit.pace import Pace

_NO_TIME = "-"  # rows hold no time; asking the clock for each takes a tenth of the work
_TEMPLATE_TOKENS = 320  # of Qwen3Guard's prompt around a conversation, more or less


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

    async def judge(self, admitted: Sequence[Admitted], rows: int) -> tuple[list[VerdictText | DeadLetter], Spent]:
        """The outcomes of some records, in order.

        Args:
            admitted: the records.
            rows: how many rows they stand for, with those that need no judgement; what the pace counts.

        Raises:
            ConfigurationError: the model is no longer the one that it was.
        """
        keys = [[key_of(request.conversation) for request in item.requests] for item in admitted]
        answers: dict[bytes, Judged] = {}
        asked: dict[bytes, GuardRequest] = {}
        for item, own in zip(admitted, keys, strict=True):
            for request, key in zip(item.requests, own, strict=True):
                kept = self._cache.find(key)
                if kept is not None:
                    answers[key] = kept
                elif key not in asked:
                    asked[key] = request
        spent = [0.0, 0, 0]
        if not asked:
            await self._pace.take(rows)

        async def ask(batch: Sequence[tuple[bytes, GuardRequest]]) -> None:
            async with self._calls:
                await self._pace.take(rows * len(batch) / len(asked))
                judged = await self._ask([request for _, request in batch], spent)
            for (key, _), item in zip(batch, judged, strict=True):
                answers[key] = item
                self._cache.keep(key, item)

        await asyncio.gather(*map(ask, self._batches(asked.items())))
        decide = self._lane.moderation.decide
        outcomes = [
            decide(item, [answers[key] for key in own], judged_at=_NO_TIME).outcome
            for item, own in zip(admitted, keys, strict=True)
        ]
        prompts = sum(map(len, keys))
        return outcomes, Spent(len(asked), prompts - len(asked), spent[0], int(spent[1]), int(spent[2]))

    async def _ask(self, requests: Sequence[GuardRequest], spent: list[float]) -> list[Judged]:
        judged = await self._lane.judge.judge(requests)
        slowest = 0.0
        for item in judged:
            _refuse_other(self.provenance, item.provenance)
            if isinstance(item.result, GuardAnswer):
                slowest = max(slowest, item.result.guard_ms)
                spent[1] += item.result.prompt_tokens
                spent[2] += item.result.output_tokens
        spent[0] += slowest / 1_000
        return judged

    def _batches(self, asked: Iterable[tuple[bytes, GuardRequest]]) -> Iterator[list[tuple[bytes, GuardRequest]]]:
        """Requests in batches of like length, because the longest of a batch counts for all."""
        batch: list[tuple[bytes, GuardRequest]] = []
        for item in sorted(asked, key=lambda item: item[1].tokens):
            tokens = (len(batch) + 1) * (item[1].tokens + _TEMPLATE_TOKENS)
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
