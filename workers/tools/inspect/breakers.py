"""Reaches the breakers of a running application from another process; every `StreamWorker` replica has its own.

Only the replicas keep state. Decides nothing.
"""

from typing import NamedTuple

from pipelines.breaker.alarms import BreakerView
from workers.tools.inspect.replicas import ask_consumers


class ReplicaBreaker(NamedTuple):
    """A replica's id, and its breaker as it was when asked; for a reset, as it was before that."""

    replica: str
    view: BreakerView


class Answers(NamedTuple):
    """What came back.

    Attributes:
        breakers: of the replicas that answered, by id.
        silent: replicas that run and did not answer.
        not_running: other replicas, by what Serve says of them.
    """

    breakers: list[ReplicaBreaker]
    silent: int
    not_running: dict[str, int]


def ask_breakers(timeout_s: float, *, reset: bool = False) -> Answers:
    """Look at every breaker; with `reset`, close it.

    Raises:
        ModerationError: there is no Ray, or the application is not on it; says where it looked.
    """
    replies, states = ask_consumers("reset_breaker" if reset else "breaker_view", timeout_s=timeout_s)
    breakers = sorted(ReplicaBreaker(*answer) for answer in replies if not isinstance(answer, BaseException))
    running = max(states.pop("RUNNING", 0), len(replies))
    return Answers(breakers, running - len(breakers), states)
