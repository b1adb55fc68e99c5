"""The turns that one server knows, within bounds: those that nobody asks about are forgotten, and so is a flood's.

A turn that is forgotten costs its sender the text once more, and nothing else.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from pipelines.turns.asking import TurnAsker
from pipelines.turns.frames import TurnRules
from pipelines.turns.port import TurnKey
from schemas.errors import AskRefusedError
from workers.ask.turns.open_turn import OpenTurn

MOST_BYTES: Final = 512 << 20


class OpenTurns:
    """Finds turns by their keys.

    Args:
        asker: asks the guard.
        rules: of each turn.
        most: turns at a time.
        idle_s: a turn that nobody has asked about for so long is forgotten.
        clock: seconds, monotonic.
        most_bytes: about as many, of all turns.

    Attributes:
        ends: turns by how they ended, or that were forgotten before.
    """

    def __init__(
        self,
        asker: TurnAsker,
        rules: TurnRules,
        most: int,
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._asker = asker
        self._rules = rules
        self._most = most
        self._most_bytes = most_bytes
        self._idle_s = idle_s
        self._clock = clock
        # Those that were asked about longest ago first.
        self._open: dict[TurnKey, OpenTurn] = {}
        self._sizes: dict[TurnKey, int] = {}
        self._bytes = 0
        self.ends: Counter[str] = Counter()

    def __len__(self) -> int:
        """Turns that are known."""
        return len(self._open)

    def known(self, key: TurnKey) -> OpenTurn | None:
        """The turn, which counts as asked about; None where it is not known."""
        self._forget_idle()
        found = self._open.get(key)
        if found is not None:
            found.last_used = self._clock()
            self._open[key] = self._open.pop(key)
        return found

    def new(self, key: TurnKey, after: int) -> OpenTurn:
        """Begin a turn; give it its first frame, then `measure` it.

        Raises:
            AskRefusedError: all turns that could be forgotten for it are being judged.
        """
        self._make_room()
        turn = self._open[key] = OpenTurn(key, self._rules, self._asker, after, self._clock)
        self._sizes[key] = 0
        return turn

    def measure(self, turn: OpenTurn) -> None:
        """Note how much a turn takes by now, and forget others where that is too much."""
        key = turn.turn.key
        if key in self._sizes:
            self._bytes += turn.size - self._sizes[key]
            self._sizes[key] = turn.size
        while self._bytes > self._most_bytes and self._forget_one(self._sizes, turn):
            pass

    def forget(self, turn: OpenTurn) -> None:
        """Know a turn no longer."""
        key = turn.turn.key
        if self._open.get(key) is turn:
            del self._open[key]
            self._bytes -= self._sizes.pop(key)
            self.ends[turn.turn.end or "forgotten"] += 1
            turn.stop()

    def stop(self) -> None:
        """Forget all."""
        for turn in list(self._open.values()):
            self.forget(turn)

    def _forget_idle(self) -> None:
        before = self._clock() - self._idle_s
        for turn in list(self._open.values()):
            if turn.last_used > before:
                return
            if not turn.is_busy:
                self.forget(turn)

    def _make_room(self) -> None:
        self._forget_idle()
        while len(self._open) >= self._most:
            if not self._forget_one(dict.fromkeys(self._open, 1)):
                raise AskRefusedError("overloaded", "too many turns are open", retry_after_s=1.0, sheds=True)

    def _forget_one(self, weights: Mapping[TurnKey, int], spared: OpenTurn | None = None) -> bool:
        """Forget a turn of the tenant that has most, the one that was asked about longest ago; False if none can be."""
        of_tenants: Counter[str] = Counter()
        for key, weight in weights.items():
            of_tenants[key.tenant] += weight
        for most, _ in of_tenants.most_common():
            for key, turn in self._open.items():
                if key.tenant == most and turn is not spared and not turn.is_busy:
                    self.forget(turn)
                    return True
        return False
