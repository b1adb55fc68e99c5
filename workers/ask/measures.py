"""The metrics of an HTTP server: how long requests take, what becomes of items, what is under way."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Sized

from schemas.dead_letter import DeadLetter
from workers.ask.asking import Answer
from workers.telemetry.metrics import table
from workers.telemetry.metrics.instruments import histogram, observe, observe_value


class AskMeasures:
    """Figures of one server.

    Args:
        under_way: tells the estimated tokens that wait for the guard.
    """

    def __init__(self, under_way: Callable[[], int]) -> None:
        self._durations = histogram(table.ASK_DURATION)
        self._items = Counter[str]({"verdict": 0, "skipped": 0, "failed": 0})
        observe(
            table.ASK_ITEMS,
            lambda: [(count, {"moderation.ask.result": result}) for result, count in self._items.items()],
        )
        observe_value(table.ASK_TOKENS, under_way)

    def watch_turns(self, turns: Sized, ends: Mapping[str, int], sockets: Sized, under_way: Callable[[], int]) -> None:
        """Tell of turns that are judged while they are written.

        Args:
            turns: that are known.
            ends: of those that are known no more, by how.
            sockets: that are open.
            under_way: tells the estimated tokens that wait for the stream guard.
        """
        observe_value(table.ASK_TURNS, lambda: len(turns))
        observe(table.ASK_TURN_ENDS, lambda: [(n, {"moderation.turn.end": end}) for end, n in list(ends.items())])
        observe_value(table.ASK_SOCKETS, lambda: len(sockets))
        observe_value(table.ASK_TURN_TOKENS, under_way)

    def ended(self, route: str, refusal: str | None, seconds: float) -> None:
        """A request was answered, or refused by a code."""
        self._durations.record(seconds, {"http.route": route, **({} if refusal is None else {"error.type": refusal})})

    def answered(self, answers: Sequence[Answer]) -> None:
        """Its items have their ends."""
        for answer in answers:
            failed = "skipped" if answer.is_skipped else "failed"
            self._items[failed if isinstance(answer.outcome, DeadLetter) else "verdict"] += 1
