"""Judges a batch from one end to the other: records in, one ruling for each out, in order.

The stream worker and the shadow lane take the same steps on two threads.
"""

from collections.abc import Sequence

from pipelines.judging import RequestJudge, ask_batch
from pipelines.moderation import Admitted, Moderation, Ruling, timestamp
from schemas.dead_letter import DeadLetter
from schemas.record import SourceRecord


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
