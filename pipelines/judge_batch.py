"""Judges a batch, the same in every lane: records in, one ruling for each out, in order.

The stream worker and the shadow lane take the same steps on two threads, and ask with `ask_batch`.
Knows nothing of where records come from or what becomes of rulings.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from pipelines.guard import GuardRequest, Judged
from pipelines.moderation import Admitted, Moderation, Ruling, is_mixed, timestamp
from schemas.dead_letter import DeadLetter
from schemas.record import SourceRecord


class RequestJudge(Protocol):
    """Gets every request a result: `pipelines.judging.Judge`, or what asks one about fewer of them."""

    async def judge(self, requests: Sequence[GuardRequest]) -> list[Judged]:
        """One result per request, in their order."""
        ...


async def judge_batch(
    batch: Sequence[SourceRecord | Admitted | DeadLetter],
    moderation: Moderation,
    judge: RequestJudge,
    judged_at: str | None = None,
) -> list[Ruling]:
    """Take a batch to its outcomes.

    Args:
        batch: records, or what `Moderation.admit` made of them.
        moderation: what is done before and after the model.
        judge: gets answers from the guard; asked once about the whole batch.
        judged_at: RFC 3339 time of the answers; their arrival if not given.

    Returns:
        One ruling each, in order. Nothing that a record holds and nothing that the model says about it raises.
    """
    items = [moderation.admit(item) if isinstance(item, SourceRecord) else item for item in batch]
    answers = iter(await ask_batch([item for item in items if isinstance(item, Admitted)], judge))
    judged_at = judged_at or timestamp()
    return [
        moderation.decide(item, next(answers), judged_at) if isinstance(item, Admitted) else Ruling(item)
        for item in items
    ]


async def ask_batch(batch: Sequence[Admitted], judge: RequestJudge) -> list[list[Judged]]:
    """The results of each record's requests. A record whose windows two models judged is asked about again."""
    answers = await _ask(batch, judge)
    while mixed := [index for index, judged in enumerate(answers) if is_mixed(judged)]:
        again = await _ask([batch[index] for index in mixed], judge)
        for index, judged in zip(mixed, again, strict=True):
            answers[index] = judged
    return answers


async def _ask(batch: Sequence[Admitted], judge: RequestJudge) -> list[list[Judged]]:
    judged = iter(await judge.judge([request for item in batch for request in item.requests]))
    return [list(islice(judged, len(item.requests))) for item in batch]
