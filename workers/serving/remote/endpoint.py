"""One server: what state it is in, how many calls it may have, and what it has proved to be.

Does not decide which server gets a call.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from pipelines.backoff import Backoff
from schemas.errors import Fault, RemoteCallError
from workers.serving.remote.connection import Connection, Waits
from workers.serving.remote.written import ANOTHER_FORM

DECREASE = 0.7  # of the calls under way, when a server says that it has too many


class State(StrEnum):
    """Whether it gets calls.

    `ready`; `waiting`: it asked to be left alone for a while; `down`: it does not answer; `refused`: it is not what it
    should be, or not asked as it should be. The last two get none before they have proved themselves again.
    """

    READY = "ready"
    WAITING = "waiting"
    DOWN = "down"
    REFUSED = "refused"


class Proof(NamedTuple):
    """What a server has shown of itself.

    Attributes:
        model: name that it serves the model by.
        max_tokens: longest prompt and answer; None where it does not say.
        fingerprint: what its answers carried; None where they carry none.
        behaviour_sha256: digest of what it wrote about the canaries.
    """

    model: str
    max_tokens: int | None
    fingerprint: str | None
    behaviour_sha256: str


class Endpoint:
    """One server. Used on one event loop; its figures may be read from any thread.

    Args:
        url: its address.
        connection: to it.
        most_calls: calls under way at most.
        waits: how long it waits for what.
    """

    def __init__(self, url: str, connection: Connection, most_calls: int, waits: Waits) -> None:
        self.url = url
        self.connection = connection
        self.proof: Proof | None = None
        self.why = "not asked yet"
        self.calls: set[asyncio.Task[Any]] = set()
        self.faults: Counter[Fault] = Counter()
        self.limit = float(most_calls)
        self.lost = asyncio.Event()
        self.backoff = Backoff(waits.backoff_initial_s, waits.backoff_max_s)
        self._loop = asyncio.get_running_loop()
        self._most_calls = most_calls
        self._waits = waits
        self.is_tried = False
        self._is_up = False
        self._is_refused = False
        self._not_before = self._changed = self._last_until = 0.0
        self._reported = 0  # prompts that wait in it, as it says

    @property
    def state(self) -> State:
        """See `State`."""
        if self._is_refused:
            return State.REFUSED
        if not self._is_up:
            return State.DOWN
        return State.WAITING if self.left_alone_s else State.READY

    @property
    def is_up(self) -> bool:
        """It has proved itself, whether or not it takes anything on now."""
        return self._is_up

    @property
    def left_alone_s(self) -> float:
        """Seconds for which it asked to be left alone, from now."""
        return max(0.0, self._not_before - self._loop.time())

    @property
    def has_room(self) -> bool:
        """It may have one more call."""
        return len(self.calls) < int(self.limit)

    @property
    def load(self) -> tuple[bool, float, int]:
        """What is compared to find the least busy one."""
        return self._loop.time() < self._last_until, len(self.calls) / self.limit, self._reported

    def admit(self, proof: Proof) -> None:
        """It has proved itself."""
        self.proof, self.why = proof, ""
        self._is_up, self._is_refused = True, False
        self._not_before = 0.0
        self.backoff.reset()
        self.lost.clear()

    def fell(self, error: RemoteCallError) -> None:
        """Note what a call of it ended with; calls of one that is lost are given up."""
        self.faults[error.fault] += 1
        self.why = error.what
        if error.fault == "busy":
            now = self._loop.time()
            self._not_before = max(
                self._not_before, now + (error.retry_after_s or self._waits.first_busy_s * self._jitter())
            )
            self.slow_down()
        elif error.fault in ("gone", "crashed", "mismatched"):
            self._is_up = False
            self._is_refused = error.fault == "mismatched"
            self.lost.set()
            if error.fault != "gone":
                self.give_up_calls()

    def give_up_calls(self) -> None:
        """Cancel what is under way; whoever waits for it asks another server."""
        for call in self.calls:
            call.cancel()

    def succeeded(self, headers: Mapping[str, str]) -> None:
        """Note a call that was answered: one more may be under way after each second without trouble."""
        now = self._loop.time()
        self._reported, running = _load_in(headers)
        if running is not None and self._reported > running:
            self.slow_down()
        elif now - self._changed >= self._waits.clean_s and self.limit < self._most_calls:
            self.limit = min(float(self._most_calls), self.limit + 1)
            self._changed = now

    def outrun(self) -> None:
        """Another server answered a call of it first: it is asked last for a while, and not again at once."""
        self._last_until = self._loop.time() + self._waits.first_busy_s

    def slow_down(self) -> None:
        """Have fewer calls under way; once a second, as those under way are all told the same."""
        now = self._loop.time()
        if now - self._changed >= self._waits.clean_s or self.limit == self._most_calls:
            self.limit = max(1.0, self.limit * DECREASE)
            self._changed = now

    def _jitter(self) -> float:
        return self.backoff.rng.uniform(0.5, 1.0)


def _load_in(headers: Mapping[str, str]) -> tuple[int, int | None]:
    """Prompts that wait and run in the server, as vLLM says with each answer; 0 and None where it does not."""
    kind, _, text = headers.get("endpoint-load-metrics", "").partition(" ")
    if kind != "JSON":
        return 0, None
    try:
        named = json.loads(text)["named_metrics"]
        running = named.get("num_requests_running")
        return int(named["num_requests_waiting"]), None if running is None else int(running)
    except ANOTHER_FORM:
        return 0, None
