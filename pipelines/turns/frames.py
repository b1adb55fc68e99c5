"""The frames of one turn, put in order: a repeated one changes nothing, a missing one holds those behind it.

Keeps the text as far as it is known, for whoever has to have it judged again. Knows nothing of a guard.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from pipelines.policy import Policy, load_policy
from schemas.errors import FrameRefusedError
from schemas.event import Message
from schemas.turns.frame import PIECE_CHARACTERS, DeltaFrame, TurnRole, characters_of
from schemas.turns.verdict import TurnEnd

Taken = Literal["new", "held", "repeated", "ignored"]
_NUMBER_CHARACTERS: Final = 8


@dataclass(frozen=True, slots=True)
class TurnRules:
    """Bounds on one turn, and what is done about what is said of it.

    Attributes:
        characters: of its text, 64 more counted for each frame; a longer turn ends, and is marked.
        held: frames that wait for one before them.
        attempts: tries of a push that breaks its call, or its replica.
        policy: from a label to an action; the built-in one if not given.
    """

    characters: int = 1_048_576
    held: int = 256
    attempts: int = 3
    policy: Policy = field(default_factory=lambda: load_policy(None))


class Frames:
    """What is known of one turn.

    Attributes:
        role: whose turn it is, as the first frame says.
        messages: the turns before it, as the first frame brings them.
        text: of the turn, without frames that wait for one before them.
        is_whole: nothing more will come.
        closing: why not: "final" as the turn's writer said, or another word where something else ended it.
        refused: frames that waited and turned out to be wrong, by number; whoever reads them clears them.
    """

    def __init__(self, rules: TurnRules) -> None:
        self._rules = rules
        self._taken = 0
        self._ends: list[int] = []  # by seq, the characters up to the frame's end
        self._held: dict[int, DeltaFrame] = {}
        self._before = 0  # characters of the messages
        self._is_forgotten = False
        self.role: TurnRole = "assistant"
        self.messages: tuple[Message, ...] | None = None
        self.text = ""
        self.is_whole = False
        self.closing: TurnEnd = "final"
        self.refused: list[tuple[int, FrameRefusedError]] = []

    @property
    def next_seq(self) -> int:
        """Number of the frame that is to come next."""
        return self._taken

    @property
    def characters(self) -> int:
        """Characters of the turn so far, without frames that wait."""
        return self._ends[-1] if self._ends else 0

    @property
    def held(self) -> int:
        """Frames that wait for one before them."""
        return len(self._held)

    @property
    def size(self) -> int:
        """About how many characters are kept, numbers of frames and the messages before the turn included."""
        waiting = sum(len(frame.delta) + PIECE_CHARACTERS for frame in self._held.values())
        return len(self.text) + waiting + self._before + _NUMBER_CHARACTERS * len(self._ends)

    @property
    def is_marked(self) -> bool:
        """The turn ended otherwise than its writer said; what still comes of it is not looked at."""
        return self.is_whole and self.closing != "final"

    def take(self, frame: DeltaFrame) -> Taken:
        """Take a frame in: "new", "held" for one before it, "repeated", or "ignored" as what comes behind a marked end.

        Raises:
            FrameRefusedError: it contradicts a frame before it; the turn is as it was.
        """
        if frame.seq < self.next_seq:
            self._compare(frame)
            return "repeated"
        if self.is_marked:
            return "ignored"
        if self.is_whole:
            raise self._behind_final(frame.seq)
        if frame.seq > self.next_seq:
            return self._hold(frame)
        self._append(frame)
        while not self.is_whole and (behind := self._held.pop(self.next_seq, None)) is not None:
            try:
                self._append(behind)
            except FrameRefusedError as error:
                self.refused.append((behind.seq, error))
        if self.is_whole:
            self.refused += [(seq, self._behind_final(seq)) for seq in self._held if not self.is_marked]
            self._held.clear()
        return "new"

    def unseen(self, offset: int, text: str) -> str:
        """What of a text that begins at a place of the turn, not beyond its end, comes behind that end.

        Raises:
            FrameRefusedError: the rest is not what the turn has there. One that was forgotten has nothing to compare.
        """
        known = self.text[offset:]
        if not self._is_forgotten and not (known.startswith(text) or text.startswith(known)):
            raise FrameRefusedError("offset_conflict", f"delta: from offset {offset} on the turn has another text")
        return text[self.characters - offset :]

    def close(self, end: TurnEnd) -> None:
        """Nothing more will come, and not because its writer said so.

        Frames that wait for a missing one are not known; why it ends is "gap" then.
        """
        if not self.is_whole:
            self.is_whole, self.closing = True, "gap" if self._held else end
            self._held.clear()

    def forget(self, end: TurnEnd) -> None:
        """Keep nothing but numbers of a turn that has ended."""
        self.is_whole, self.closing, self._is_forgotten = True, end, True
        self.text, self.messages, self._before, self._ends = "", (), 0, self._ends[-1:]
        self._held.clear()

    def _hold(self, frame: DeltaFrame) -> Taken:
        known = self._held.get(frame.seq)
        if known is not None:
            if known != frame:
                raise _contradicts(frame.seq)
            return "repeated"
        if len(self._held) >= self._rules.held:
            raise FrameRefusedError("too_many_held", f"seq: {len(self._held)} frames wait for seq {self.next_seq}")
        self._held[frame.seq] = frame
        return "held"

    def _compare(self, frame: DeltaFrame) -> None:
        if self._is_forgotten:
            return
        start = self._ends[frame.seq - 1] if frame.seq else 0
        is_last = self.is_whole and frame.seq == self.next_seq - 1
        same = (
            frame.delta == self.text[start : self._ends[frame.seq]]
            and frame.final == (is_last and self.closing == "final")
            and frame.offset in (None, start)
            and (frame.seq > 0 or (frame.messages == self.messages and frame.role == self.role))
        )
        if not same:
            raise _contradicts(frame.seq)

    def _append(self, frame: DeltaFrame) -> None:
        if frame.offset not in (None, self.characters):
            detail = f"offset: {frame.offset}, the turn has {self.characters} characters"
            raise FrameRefusedError("offset_conflict", detail)
        if frame.seq == 0:
            if frame.messages is None and frame.role == "assistant":
                raise FrameRefusedError("messages_missing", "messages: the first frame of an answer needs them")
            self.role, self.messages = frame.role, frame.messages
            self._before = characters_of(frame.messages or ())
        elif frame.role != self.role:
            raise FrameRefusedError("role_conflict", f"role: {frame.role!r}, the turn began as {self.role!r}")
        if self.characters + len(frame.delta) + PIECE_CHARACTERS * self.next_seq > self._rules.characters:
            self.is_whole, self.closing = True, "too_long"
            return
        self.text += frame.delta
        self._ends.append(len(self.text))
        self._taken += 1
        self.is_whole = frame.final

    def _behind_final(self, seq: int) -> FrameRefusedError:
        detail = f"seq: {seq} comes behind the final frame, seq {self.next_seq - 1}"
        return FrameRefusedError("delta_after_final", detail)


def _contradicts(seq: int) -> FrameRefusedError:
    return FrameRefusedError("seq_conflict", f"seq: {seq} came before and said something else")
