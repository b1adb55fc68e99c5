"""What became of the letters that a redrive looked at: counted by cause and source, and those left named one by one."""

from dataclasses import dataclass, field
from enum import StrEnum

from workers.tools.dead_letters.redrive.letters import Family, RedriveLetter
from workers.tools.dead_letters.redrive.sender import Outgoing

MAX_LEFT_LISTED = 20


class Fate(StrEnum):
    """What becomes of a letter."""

    PUT_BACK = "put_back"
    PARKED = "parked"
    LEFT = "left"
    EARLIER = "earlier"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Handled:
    """A letter, its fate, what is produced for it, and why it is left."""

    letter: RedriveLetter
    fate: Fate
    outgoing: Outgoing | None = None
    why: str = ""

    @property
    def refusal(self) -> str | None:
        """Why it could not be written; known once that was tried."""
        return None if self.outgoing is None else self.outgoing.refusal

    @property
    def ends_as(self) -> Fate:
        """Its fate, once it was tried to write what there was to write."""
        return self.fate if self.refusal is None else Fate.LEFT


@dataclass(frozen=True, slots=True)
class Cause:
    """What letters are counted by; all but the family are empty where nobody says so."""

    family: Family
    reason: str
    stage: str
    topic: str


@dataclass(frozen=True, slots=True)
class LeftLetter:
    """One that stays where it is, at `PARTITION:OFFSET` of its topic."""

    place: str
    why: str


@dataclass(slots=True)
class RedriveReport:
    """Counts of a run; of a dry one, what would have been.

    `skipped` are those that the filters do not ask for, `earlier` those that a run before has seen to, and
    `not_remembered` those left that the next run will not look at again.
    """

    topic: str
    group: str
    is_dry: bool = False
    is_complete: bool = False
    put_back: int = 0
    parked: int = 0
    left: int = 0
    earlier: int = 0
    skipped: int = 0
    not_remembered: int = 0
    by_cause: dict[Cause, dict[Fate, int]] = field(default_factory=dict)
    by_target: dict[str, int] = field(default_factory=dict)
    why_left: dict[str, int] = field(default_factory=dict)
    left_letters: list[LeftLetter] = field(default_factory=list)

    @property
    def touched(self) -> int:
        """Letters that were produced somewhere."""
        return self.put_back + self.parked

    def add(self, handled: Handled) -> None:
        """Count one."""
        letter, outgoing, fate, why = handled.letter, handled.outgoing, handled.ends_as, handled.refusal or handled.why
        setattr(self, fate, getattr(self, fate) + 1)
        if fate is Fate.SKIPPED:
            return
        source = "" if letter.original is None else letter.original.topic
        counts = self.by_cause.setdefault(Cause(letter.family, *letter.cause, source), {})
        counts[fate] = counts.get(fate, 0) + 1
        if fate is Fate.LEFT:
            self.why_left[why] = self.why_left.get(why, 0) + 1
            if len(self.left_letters) < MAX_LEFT_LISTED:
                record = letter.record
                self.left_letters.append(LeftLetter(f"{record.partition}:{record.offset}", why))
        elif outgoing is not None:
            self.by_target[outgoing.topic] = self.by_target.get(outgoing.topic, 0) + 1
