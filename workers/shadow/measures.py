"""The metrics of a shadow lane: figures that it keeps anyway, read at each collection.

Changes nothing in the lane.
"""

from workers.shadow.lane import ShadowLane
from workers.telemetry.metrics import table
from workers.telemetry.metrics.instruments import Attributes, observe, observe_value


def observe_shadow(lane: ShadowLane) -> None:
    """Have a lane's figures read at each collection; does nothing where there is no exporter."""
    counts, totals = lane.counts, lane.totals

    def read_records() -> list[tuple[float, Attributes]]:
        by_result = {
            "agreed": totals.agreed,
            "disagreed": totals.disagreed,
            "dropped": counts.dropped,
            "unanswered": counts.unanswered,
        }
        return [(count, {"moderation.shadow.result": result}) for result, count in by_result.items()]

    def read_pairs() -> list[tuple[float, Attributes]]:
        return [
            (pair.count, {"moderation.shadow.live": pair.live, "moderation.shadow.candidate": pair.candidate})
            for pair in totals.pairs
        ]

    def read_differences() -> list[tuple[float, Attributes]]:
        return [
            (count, {"moderation.shadow.difference": difference})
            for difference, count in list(totals.differences.items())
        ]

    observe(table.SHADOW_RECORDS, read_records)
    observe(table.SHADOW_PAIRS, read_pairs)
    observe(table.SHADOW_DIFFERENCES, read_differences)
    observe_value(table.SHADOW_UNPUBLISHED, lambda: lane.unpublished)
