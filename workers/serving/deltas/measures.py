"""The metrics of a stream guard replica: one measurement a push, and figures that are read at each collection."""

from collections.abc import Callable

from workers.serving.deltas.sessions import TurnSessions
from workers.telemetry.metrics import table
from workers.telemetry.metrics.instruments import histogram, observe, observe_value


def pushes_measured() -> Callable[[float, str | None], None]:
    """Takes the seconds of each push, and its error."""
    durations = histogram(table.PUSH_DURATION)
    return lambda seconds, error: durations.record(seconds, None if error is None else {table.ERROR: error})


def observe_sessions(sessions: TurnSessions) -> None:
    """Have the figures of one replica read at each collection."""
    counts = sessions.counts
    observe_value(table.SESSIONS, lambda: sessions.sessions)
    observe_value(table.SESSION_PAGES, lambda: sessions.pages)
    observe_value(table.SESSION_PAGES_LIMIT, lambda: sessions.max_pages)
    observe_value(table.SESSION_QUEUE, lambda: sessions.waiting)
    observe(
        table.SESSION_EVENTS,
        lambda: [(counts[event], {"moderation.session.event": event}) for event in table.SESSION_EVENTS_SEEN],
    )
