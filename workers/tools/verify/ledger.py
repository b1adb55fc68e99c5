"""The ledger: what became of every input record, and which promises hold over it.

Does not count; `workers.tools.verify.ledger_book` does.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing seen: its kind, the record it is about, and what was seen."""

    kind: str
    record_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was counted. `verdicts` and `dead_letters` count input records that have one, not copies.

    Attributes:
        redriven: inputs that `weir dlq redrive` put back; each has an outcome of its own, like any input.
        duplicates: further equal copies of an outcome on a topic.
        rejudged: further outcomes of one input by another model, prompt or policy.
        missing: inputs without an outcome although the group has committed past them.
        not_yet_judged: inputs without an outcome that the group has not committed.
        conflicting: inputs with a verdict and a dead letter of one judgement.
        unparsable_with_verdict: those of them whose dead letter says that the output did not parse.
        unknown: outcomes of a place of the input topics where no record is.
        unreadable: records of the verdict topic, or of an extra one, that are no verdict.
        unequal_duplicates: inputs whose copies differ in more than `timing`.
        missing_copies: verdicts that the policy routes to an extra topic and that are not there.
        unmatched_copies: verdicts on an extra topic that are not on the verdict topic.
        out_of_order: outcomes that first appear behind one of a later offset of their input partition.
        foreign: records that are not ours: dead letters without our headers, outcomes of other topics' records.
        outside: outcomes of records before or after the inputs that were read.
        removed: offsets that retention or a purge took from the outcome topics; what stood there counts as missing.
        tail_allowed: `not_yet_judged` refutes nothing.
        once: `duplicates` and `rejudged` refute.
        findings: the first violations of each kind.
        notes: the first of what is allowed: duplicates and rejudged ones.
    """

    inputs: int
    redriven: int
    verdicts: int
    dead_letters: int
    duplicates: int
    rejudged: int
    missing: int
    not_yet_judged: int
    conflicting: int
    unparsable_with_verdict: int
    unknown: int
    unreadable: int
    unequal_duplicates: int
    missing_copies: int
    unmatched_copies: int
    out_of_order: int
    foreign: int
    outside: int
    removed: int
    tail_allowed: bool
    once: bool
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    @property
    def promises(self) -> dict[str, bool]:
        """Which promises hold over what was read; `once` only where it was asked for."""
        faults = self.missing + self.conflicting + self.unknown + self.unreadable + self.missing_copies
        held = {
            "P1": faults == 0 and (self.tail_allowed or self.not_yet_judged == 0),
            "P3": self.unparsable_with_verdict == 0 and self.unreadable == 0,
            "P7": self.unequal_duplicates == 0 and self.unmatched_copies == 0,
            "P8": self.out_of_order == 0,
        }
        return {**held, "once": self.duplicates == 0 and self.rejudged == 0} if self.once else held

    @property
    def is_closed(self) -> bool:
        """True where every input has exactly one verdict or one dead letter (P1)."""
        return self.promises["P1"]

    @property
    def is_proven(self) -> bool:
        """True where all promises hold."""
        return all(self.promises.values())
