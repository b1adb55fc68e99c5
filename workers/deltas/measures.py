"""The metrics of a delta worker: figures that it keeps anyway, read at each collection."""

from workers.deltas.open_turns import OpenTurns


def observe_deltas(turns: OpenTurns) -> None:
    """Have the figures of one worker read at each collection."""
