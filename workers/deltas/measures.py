"""The metrics of a delta worker: figures that it keeps anyway, read at each collection."""

from collections.abc import Mapping, Sequence
from typing import get_args

from schemas.turns.frame import TurnRole
from schemas.turns.verdict import TurnEnd
from workers.deltas.open_turns import OpenTurns
from workers.telemetry.metrics import table
from workers.telemetry.metrics.instruments import Observed, observe, observe_value


def observe_deltas(turns: OpenTurns, calls: Mapping[str, int]) -> None:
    """Have the figures of one worker read at each collection.

    Args:
        turns: what is open.
        calls: of the stream guard by what became of them, as `pipelines.turns.asking.TurnAsker` counts.
    """
    counts = turns.counts
    observe_value(table.TURNS_OPEN, lambda: len(turns))
    observe_value(table.TURN_CHARACTERS, lambda: turns.characters)
    observe_value(table.TURN_REPLAYS, lambda: counts["replayed"])
    observe(table.TURN_FRAMES, _each(counts, "", "moderation.frame.result", table.FRAME_RESULTS))
    observe(table.TURNS_RAISED, _each(counts, "raised ", "moderation.turn.role", get_args(TurnRole)))
    observe(table.TURNS_ENDED, _each(counts, "ended ", "moderation.turn.end", get_args(TurnEnd)))
    failed = _each(calls, "", table.ERROR, table.GUARD_FAILURES)
    observe(table.TURN_CALLS, lambda: [(calls.get("answered", 0), {}), *failed()])


def _each(counts: Mapping[str, int], before: str, attribute: str, values: Sequence[str]) -> Observed:
    return lambda: [(counts.get(before + value, 0), {attribute: value}) for value in values]
