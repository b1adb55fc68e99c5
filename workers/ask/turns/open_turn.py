"""One turn as its sender sees it: what was said of it and is not acknowledged, and one task that asks the guard.

Settled tokens have numbers: 0 for the user's turn before an answer, or for a user's turn alone, then 1 for an answer's
first token, and so on. Knows nothing of HTTP.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pipelines.turns.asking import TurnAsker
from pipelines.turns.frames import TurnRules
from pipelines.turns.port import SESSION_UNKNOWN, JudgedToken, TurnKey
from pipelines.turns.turn import News, Turn
from schemas.turns.verdict import StreamVerdict
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)
ROUTE: Final = "/v1/stream"
_TOKEN_BYTES: Final = 2_048
_NOT_JUDGED = frozenset({SESSION_UNKNOWN, "inference_failed", "replica_crash"})


class OpenTurn:
    """A turn with its latest news.

    Args:
        key: of the turn.
        rules: its bounds and policy.
        asker: asks the guard.
        after: settled tokens that its sender has already.
        clock: seconds, monotonic.

    Attributes:
        turn: its state; whoever gives it frames calls `go_on` then.
        said: settled tokens so far.
        delivered: settled tokens that an answer has held.
        last_used: when it was asked about last.
        raised: verdicts of texts that were flagged, at most two of each model that judged it.
        ended: the last verdict; None while it goes on.
    """

    def __init__(
        self,
        key: TurnKey,
        rules: TurnRules,
        asker: TurnAsker,
        after: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.turn: Final = Turn(key, rules)
        self._asker = asker
        self._clock = clock
        self._kept: list[JudgedToken] = []
        self._from = after
        self._provisional: Sequence[JudgedToken] = ()
        self._judged = 0  # frames
        self._asking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._fault: str | None = None
        self.said = self.delivered = 0
        self.last_used = clock()
        self.raised: list[StreamVerdict] = []
        self.ended: StreamVerdict | None = None

    @property
    def is_busy(self) -> bool:
        """The guard is being asked about it."""
        return self._asking is not None

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 4 * self.turn.frames.size + _TOKEN_BYTES * (1 + len(self._kept) + len(self._provisional))

    def expected(self) -> dict[str, int]:
        """What is to come next, and the settled tokens so far."""
        return {"seq": self.turn.frames.next_seq, "offset": self.turn.frames.characters, "after": self.said}

    def acknowledge(self, after: int) -> None:
        """Its sender has so many settled tokens."""
        if after > self._from:
            self._kept = self._kept[after - self._from :]
            self._from = after

    async def say_again(self, after: int) -> None:
        """Have tokens again that were acknowledged, where the turn's text is."""
        while self._asking is not None:
            await self._next_news()
        if self.turn.end is None and after < self._from:
            self.turn.say_again(after)
            self._kept, self._from, self.said = [], after, after
            self._judged = 0

    def is_kept(self, after: int) -> bool:
        """Whether tokens from that number on need not be judged again."""
        return after >= self._from or self.turn.end is not None

    def go_on(self, carrier: Mapping[str, str]) -> None:
        """Ask the guard about what has come, unless that is under way."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(carrier))

    async def judged(self, seq: int) -> None:
        """Wait until the guard has answered about a frame, or there is nothing to ask it yet.

        Raises:
            RuntimeError: a fault of ours; names its kind.
        """
        while self._asking is not None and self._judged <= seq:
            await self._next_news()
        if self._fault is not None:
            raise RuntimeError(self._fault)

    def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    def answer(self, after: int | None) -> dict[str, Any]:
        """What is known of the turn.

        Args:
            after: settled tokens from this number on; None: all that are kept.
        """
        start = self._from if after is None else max(after, self._from)
        tokens = [*self._kept[start - self._from :], *self._provisional]
        self.delivered = max(self.delivered, self.said)
        key, frames, provenance = self.turn.key, self.turn.frames, self.turn.provenance
        flagged = {str(verdict.role) for verdict in self.raised}
        verdicts = [*self.raised, *([self.ended] if self.ended else [])]
        return {
            "conversation_id": key.conversation_id,
            "tenant": key.tenant,
            "turn": key.turn,
            "seq": frames.next_seq,
            "offset": frames.characters,
            "after": self.said,
            "raised": frames.role in flagged,
            "user_raised": "user" in flagged,
            "raised_so_far": any(token.raised and token.role == frames.role for token in self._provisional),
            "end": self.turn.end,
            "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts],
            "tokens": [_token(token) for token in tokens],
            "provenance": None if provenance is None else provenance.model_dump(mode="json"),
        }

    async def _ask(self, carrier: Mapping[str, str]) -> None:
        try:
            while True:
                frames = self.turn.frames.next_seq
                push = self.turn.next_push(carrier)
                if push is None:
                    return
                [(answer, by)] = await self._asker.ask([push])
                news = self.turn.answered(answer, by)
                if news.is_begun_again:
                    self._kept, self.said = [], 0
                    continue
                if answer.error in _NOT_JUDGED and news.end is None:
                    continue  # the same is asked again
                self._take(news)
                self._judged = frames
                self._tell()
        except Exception as error:  # noqa: BLE001 - told to whoever waits; its text may quote the turn
            self._fault = type(error).__name__
            log.error(log_event("internal_error", error=self._fault, route=ROUTE, request_id=""))
        finally:
            self._asking = None
            self._tell()

    def _take(self, news: News) -> None:
        for token in news.tokens:
            number = 0 if token.role == "user" else token.index + 1
            if token.provisional or number < self.said:
                continue
            self.said = number + 1
            if number >= self._from:
                self._kept.append(token)
        self._provisional = [token for token in news.tokens if token.provisional]
        self.raised += [self.turn.raised_verdict(token) for token in news.raises]
        if news.end is not None:
            self.ended = self.turn.end_verdict()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _next_news(self) -> None:
        await self._news.wait()


def _token(token: JudgedToken) -> dict[str, Any]:
    return {
        "index": token.index,
        "offset": token.offset,
        "role": token.role,
        "risk": token.risk,
        "category": token.category,
        "probabilities": {head: dict(shares) for head, shares in token.probabilities.items()},
        "provisional": token.provisional,
        "raised": token.raised,
    }
