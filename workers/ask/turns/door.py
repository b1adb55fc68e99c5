"""Frames in, what is known of their turns out, by a deadline: the one core behind HTTP and WebSocket.

Checks, bounds and takes a frame without waiting, so that frames are taken in the order in which they come. Knows
nothing of HTTP.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from pipelines.fitting.length import estimate_tokens
from pipelines.turns.port import PushReply, TurnJudge, TurnKey, TurnPush
from schemas.errors import AskRefusedError, FrameRefusedError
from schemas.turns.frame import DeltaFrame
from workers.ask.admission import Admission, Watch
from workers.ask.exchange import STATUS
from workers.ask.turns.asked import AskedFrame
from workers.ask.turns.open_turn import OpenTurn
from workers.ask.turns.open_turns import OpenTurns

TILE: Final = 16  # tokens that the smallest delta costs
CANARY: Final = TurnPush(
    TurnKey("weir", "canary", 0), ({"role": "user", "content": "hello"},), 0, "Hello!", True, 0, False, {}
)
Spend = Callable[[int], None]


class WatchedTurns(Watch):
    """A judge of turns, and whether it answers.

    Args:
        judge: the port.
        clock: seconds, monotonic.
    """

    def __init__(self, judge: TurnJudge, clock: Callable[[], float] | None = None) -> None:
        super().__init__(*([clock] if clock else []))
        self._judge = judge

    async def push(self, pushes: Sequence[TurnPush]) -> PushReply:
        """See `pipelines.turns.port.TurnJudge`."""
        with self.watched():
            return await self._judge.push(pushes)


class Taken(NamedTuple):
    """A frame that was taken in.

    Attributes:
        turn: its turn.
        seq: its number.
        tokens: estimated, that the guard is asked about for it; 0 for one that came before.
    """

    turn: OpenTurn
    seq: int
    tokens: int


class TurnDoor:
    """Takes frames and answers them.

    Args:
        turns: those that are known.
        admission: says whether there is time for a frame.
        watched: the judge.

    Attributes:
        is_draining: nothing new is taken on.
    """

    def __init__(self, turns: OpenTurns, admission: Admission, watched: WatchedTurns) -> None:
        self.turns = turns
        self.watched = watched
        self._admission = admission
        self.is_draining = False

    async def answer(
        self, asked: AskedFrame, deadline: float, carrier: Mapping[str, str], spend: Spend = lambda _: None
    ) -> dict[str, Any]:
        """Take a frame and wait for what is said of it.

        Args:
            asked: the frame.
            deadline: time of the running loop's clock.
            carrier: W3C trace context that rides along to the step.
            spend: told the estimated tokens before the frame is taken; may raise.

        Raises:
            AskRefusedError: it was not taken; or it was, and the guard did not answer in time: it may come again.
        """
        taken = None if self.lacks(asked) else self.take(asked, deadline, spend)
        return (await self.judged(asked, taken, deadline, carrier, spend)).turn.answer(asked.after)

    def lacks(self, asked: AskedFrame) -> bool:
        """Whether tokens that the sender does not have are not kept, and have to be judged again."""
        known = self.turns.known(asked.key)
        return known is not None and asked.after is not None and not known.is_kept(asked.after)

    def take(self, asked: AskedFrame, deadline: float, spend: Spend) -> Taken:
        """Take a frame without waiting for anything.

        Raises:
            AskRefusedError: it does not fit its turn, or there is no time or room for it.
        """
        self.refuse_draining()
        known = self.turns.known(asked.key)
        if known is None:
            return self._begin(asked, deadline, spend)
        frames = known.turn.frames
        with _refusals(known):
            frame = _placed(asked, known)
            if frame is None or frame.seq != frames.next_seq or frames.is_whole:
                if frame is not None:
                    frames.take(frame)  # compares
                if asked.after is not None:
                    known.acknowledge(asked.after)
                return Taken(known, frames.next_seq - 1 if frame is None else frame.seq, 0)
            tokens = self._afford(frame.delta, deadline, spend)
            frames.take(frame)
        known.acknowledge(known.delivered if asked.after is None else asked.after)
        self.turns.measure(known)
        return Taken(known, frame.seq, tokens)

    def refuse_draining(self) -> None:
        """Refuse what comes while the server stops.

        Raises:
            AskRefusedError: it does.
        """
        if self.is_draining:
            raise AskRefusedError("draining", "this server is stopping", retry_after_s=1.0)

    def _begin(self, asked: AskedFrame, deadline: float, spend: Spend) -> Taken:
        frame = asked.frame
        if frame.seq if asked.is_numbered else frame.offset:
            detail = "seq: this turn is not known here; begin it again with its messages and the text so far"
            raise AskRefusedError("unknown_turn", detail, expected={"seq": 0, "offset": 0})
        tokens = self._afford("\n".join((*frame.message_texts, frame.delta)), deadline, spend)
        turn = self.turns.new(asked.key, asked.after or 0)
        try:
            with _refusals(turn):
                turn.turn.frames.take(frame)
        except AskRefusedError:
            self.turns.forget(turn)
            raise
        self.turns.measure(turn)
        return Taken(turn, 0, tokens)

    def _afford(self, text: str, deadline: float, spend: Spend) -> int:
        """Estimated tokens of a text, for which there is time and its key has enough left."""
        tokens = max(TILE, estimate_tokens(text))
        self._admission.refuse_late(deadline, tokens, 1)
        spend(tokens)
        return tokens

    async def judged(
        self,
        asked: AskedFrame,
        taken: Taken | None,
        deadline: float,
        carrier: Mapping[str, str],
        spend: Spend = lambda _: None,
    ) -> Taken:
        """Have a frame judged.

        Args:
            asked: the frame.
            taken: what `take` gave; None where its turn `lacks` tokens: it is taken once they are there.
            deadline: see `answer`, as for the others.
            carrier: of a trace.
            spend: may raise.

        Raises:
            AskRefusedError: see `take`; not by the deadline: it may come again.
        """
        loop = asyncio.get_running_loop()
        if taken is None:
            known = self.turns.known(asked.key)
            if known is not None and asked.after is not None:
                self._afford(known.turn.frames.text, deadline, spend)
                await self._in_time(known.say_again(asked.after), deadline)
            taken = self.take(asked, deadline, spend)
        with self._admission.admitted(taken.tokens, int(taken.tokens > 0), deadline) as seat:
            started = loop.time()
            taken.turn.go_on(carrier)
            await self._in_time(taken.turn.judged(taken.seq), deadline)
            seat.engine_s = loop.time() - started
        self.turns.measure(taken.turn)
        return taken

    def state(self, key: TurnKey, after: int | None) -> dict[str, Any]:
        """What is known of a turn.

        Raises:
            AskRefusedError: nothing is.
        """
        known = self.turns.known(key)
        if known is None:
            raise AskRefusedError("not_found", "no such turn is known")
        return known.answer(after)

    async def ask_canary(self) -> None:
        """Have a known turn judged."""
        await self.watched.push([CANARY])

    @property
    def tokens(self) -> int:
        """Estimated tokens of frames that wait for the guard."""
        return self._admission.tokens

    def stop(self) -> None:
        """Know no turn any more, and ask nothing."""
        self.turns.stop()

    async def _in_time(self, waiting: Awaitable[None], deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await waiting
        except TimeoutError:
            raise AskRefusedError("unavailable", "the guard did not answer in time", retry_after_s=1.0) from None


def _placed(asked: AskedFrame, known: OpenTurn) -> DeltaFrame | None:
    """The frame with its number; None where it is placed by its offset alone and all of it has come before.

    Raises:
        AskRefusedError: something before it has not come.
        FrameRefusedError: it contradicts what has come.
    """
    frame, frames = asked.frame, known.turn.frames
    offset = frame.offset or 0
    ahead = frame.seq > frames.next_seq if asked.is_numbered else offset > frames.characters
    if ahead and not frames.is_marked:
        name, seen = ("seq", frame.seq) if asked.is_numbered else ("offset", offset)
        raise AskRefusedError("gap", f"{name}: {seen} is ahead of what has come", expected=known.expected())
    if asked.is_numbered or known.turn.end not in (None, "final"):
        return frame if asked.is_numbered else None
    if frame.messages is not None and known.turn.end is None and frame.messages != frames.messages:
        raise FrameRefusedError("offset_conflict", "messages: the turn began with others")
    unseen = frames.unseen(offset, frame.delta)
    if not unseen and (not frame.final or frames.is_whole):
        return None
    update = {"seq": frames.next_seq, "offset": frames.characters, "delta": unseen, "messages": None}
    return frame.model_copy(update=update)


@contextmanager
def _refusals(turn: OpenTurn) -> Iterator[None]:
    """Frames that contradict a turn, as refusals that say what is expected."""
    try:
        yield
    except FrameRefusedError as error:
        code = error.code if error.code in STATUS else "invalid_request"
        raise AskRefusedError(
            code, error.detail, param=error.detail.partition(":")[0], expected=turn.expected()
        ) from None
