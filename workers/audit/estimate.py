"""Estimates a run without making it: rows, tokens, time and GPU hours, from some of its rows.

Loads no model: tokens come from `pipelines.fitting.length`, times from `pipelines.capacity.capacity`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.capacity.capacity import plan as plan_capacity
from pipelines.capacity.figures import MEASURED
from pipelines.capacity.load import Assumptions, Workload
from pipelines.evaluation.reported import size_of
from pipelines.moderation import Admitted
from schemas.event import Task
from schemas.record import SourceRecord
from workers.audit.answer_cache import key_of
from workers.audit.lane import topic_range
from workers.audit.manifest import SampleTaken
from workers.audit.rows.block_rows import BlockRows
from workers.audit.rows.blocks import Block, Plan
from workers.audit.rows.columns import Columns
from workers.audit.rows.event_rows import EventRows
from workers.audit.rows.selection import is_sampled
from workers.guard.setup import moderation_of
from workers.settings.loading import Settings

_LOOKED_AT = 20_000  # rows
_TARGET_MS = 60_000.0  # nobody waits: batches as large as they go


def _records(
    settings: Settings, blocks: Sequence[Block], columns: Columns | None
) -> Iterator[tuple[SourceRecord, str, str | None]]:
    """The records of blocks, each with its stratum and what it is sampled by; without columns, of a topic."""
    if columns is not None:
        events = EventRows(columns)
        rows = BlockRows(columns.wanted, events.lookback)
        for block in blocks:
            for item in events.records(block, *rows.read(block)):
                yield item.record, item.stratum, item.row_id
        return
    with topic_range(settings) as read_topic:
        for block in blocks:
            for record in read_topic(block.name, block.partition, block.start, block.start + block.rows):
                yield record, "", None


def estimate(
    settings: Settings,
    plan: Plan,
    columns: Columns | None,
    sample: SampleTaken | None,
    actors: int,
    rate: float | None,
    gpu: str,
) -> dict[str, Any]:
    """What the run would be; `seconds` and `gpu_hours` are None for a model without a known size."""
    moderation = moderation_of(settings)
    blocks = plan.blocks[:: max(1, len(plan.blocks) * plan.blocks[0].rows // _LOOKED_AT)]
    seen: Counter[str] = Counter()
    prompts: set[bytes] = set()
    for record, stratum, row_id in _records(settings, blocks, columns):
        seen["events"] += 1
        admitted = moderation.admit(record)
        if not isinstance(admitted, Admitted) or not is_sampled(sample, row_id or admitted.event_id, stratum):
            continue
        seen["admitted"] += 1
        seen[admitted.task] += 1
        for request in admitted.requests:
            seen["prompts"] += 1
            seen["tokens"] += request.tokens
            prompts.add(key_of(request.conversation))
    seen["rows"] = seen["events"] if columns is None else sum(block.rows for block in blocks)
    scale = plan.rows / seen["rows"] if seen["rows"] else 0.0
    share = len(prompts) / seen["prompts"] if seen["prompts"] else 0.0
    judged = round(seen["prompts"] * share * scale)
    estimated: dict[str, Any] = {
        "rows": plan.rows,
        "rows_looked_at": seen["rows"],
        "rows_judged": round(seen["admitted"] * scale),
        "prompts": round(seen["prompts"] * scale),
        "prompts_after_deduplication": judged,
        "text_tokens": round(seen["tokens"] * scale),
        "gpu": gpu,
        "actors": actors,
        "prompts_per_second_per_actor": None,
        "seconds": None,
        "gpu_hours": None,
        "source": "the model's name says no size, so no time is known",
    }
    size = size_of(settings.guard.model)
    if size is not None and judged:
        task = max((Task.PROMPT, Task.RESPONSE), key=lambda task: seen[task])
        load = Workload(1.0, max(1.0, seen["tokens"] / seen["prompts"]), _TARGET_MS, task)
        planned = plan_capacity(load, size, gpu, MEASURED, Assumptions())
        busy = judged / planned.messages_per_second_per_replica
        paced = 0.0 if rate is None else estimated["rows_judged"] / rate
        estimated |= {
            "prompts_per_second_per_actor": planned.messages_per_second_per_replica,
            "seconds": max(busy / actors, paced),
            "gpu_hours": busy / 3_600,
            "source": planned.source,
        }
    return estimated
