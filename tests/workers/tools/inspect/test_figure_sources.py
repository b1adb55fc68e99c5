"""`weir top` without a collector asks the application itself, and says why if neither answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import workers.cli.top  # noqa: F401 - commands are imported when they are called, and its help shall name the true address
from pipelines.breaker.alarms import BreakerView, DeadLetterCounts
from schemas.errors import ModerationError
from tests.weir_result import Result
from workers.serving.backlog_policy import ARRIVALS, BACKLOG, COMPLETIONS, OLDEST_AGE
from workers.tools.inspect import figure_sources, replicas
from workers.tools.inspect.figure_sources import ApplicationFigures

NONE = DeadLetterCounts(0, 0, 0, {})
CLOSED = (
    "a",
    BreakerView(
        state="closed", cause=None, reason=None, open_s=None, warning=None, failures=NONE, input_errors=NONE, drift=None
    ),
)
OPEN = ("b", CLOSED[1]._replace(state="open", cause="drift", reason="r", open_s=1.0))
SAID = {
    "record_autoscaling_stats": [
        {BACKLOG: 100.0, OLDEST_AGE: 2.0, ARRIVALS: 5.0, COMPLETIONS: 10.0},
        {BACKLOG: 20.0, OLDEST_AGE: 7.0, COMPLETIONS: 5.0},
        {},
        RuntimeError("gone"),
    ],
    "breaker_view": [CLOSED, OPEN, RuntimeError("gone")],
}


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[Any]] | ModerationError], None]:
    """No collector; and an application that says this, or a cluster that cannot be joined."""
    monkeypatch.setattr(figure_sources, "COLLECTOR", "http://127.0.0.1:1/metrics")

    def answers(said: dict[str, list[Any]] | ModerationError) -> None:
        @contextmanager
        def join(_timeout_s: float) -> Iterator[Any]:
            if isinstance(said, ModerationError):
                raise said
            consumers = replicas.Consumers("Ray on this machine", 1.0)
            monkeypatch.setattr(consumers, "ask", lambda method: said[method])
            yield consumers

        monkeypatch.setattr(replicas, "joined_application", join)

    return answers


def test_the_application_says_backlog_rates_and_breakers(joined: Callable[..., None]) -> None:
    joined(SAID)
    figures = Result("top", "--once", "--json").json

    assert (figures["consumers"], figures["backlog"], figures["oldest_age_s"]) == (3, 120, 7)
    assert (figures["consumed_per_s"], figures["completed_per_s"], figures["drains_in_s"]) == (5, 15, 8)
    assert (figures["breaker"]["open"], figures["breaker"]["causes"]) == (1, ["drift"])
    assert figures["batches"]["per_s"] is None


def test_the_picture_names_where_it_is_from(joined: Callable[..., None]) -> None:
    joined(SAID)
    shown = Result("top", "--once")

    assert shown.out.startswith("weir top   Ray on this machine   ")
    assert "3 consumers, - guard replicas" in shown.out
    assert "OPEN in 1: drift" in shown.out


def test_neither_is_one_line_that_says_why_of_both(joined: Callable[..., None]) -> None:
    joined(ModerationError("Ray on this machine: none runs"))
    result = Result("top", "--once")

    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "weir: no collector (http://127.0.0.1:1/metrics: [Errno 111] Connection refused), and the application does not"
        " answer (Ray on this machine: none runs)\n"
    )


def test_an_application_that_falls_silent_later_keeps_its_own_error() -> None:
    source = ApplicationFigures("here", lambda _method: [RuntimeError("gone")])
    with pytest.raises(ModerationError, match=r"^here: no consumer answers$"):
        source.look()
