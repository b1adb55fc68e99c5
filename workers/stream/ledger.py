"""The ledger: every input record against its outcomes, kept in nine bytes per input offset.

Proves or refutes P1, P3, P7 and P8 over what it is fed. The identity of a record is its place, so that two
events of one id are two records. Does not read Kafka; `workers.stream.verify` does.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.dead_letter import read_dead_letter
from schemas.reasons import Stage
from schemas.record import SourceRecord
from schemas.verdict import Verdict

Partition = tuple[str, int]
_INPUT, _VERDICT, _LETTER, _UNPARSABLE, _UNEQUAL = 1, 2, 4, 8, 16
_BOTH = _VERDICT | _LETTER
_TIMING = b',"timing":'


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation: its kind, the record it is about, and what was seen."""

    kind: str
    record_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was counted. `verdicts` and `dead_letters` count input records that have one, not copies.

    Attributes:
        duplicates: further copies of an outcome.
        missing: inputs without an outcome although the group has committed past them.
        not_yet_judged: inputs without an outcome that the group has not committed.
        conflicting: inputs with a verdict and a dead letter.
        unparsable_with_verdict: those of them whose dead letter says that the output did not parse.
        unknown: outcomes of a place of the input topics where no record is.
        unreadable: records of the verdict topic that are no verdict.
        unequal_duplicates: inputs whose copies differ in more than `timing`.
        out_of_order: outcomes that first appear behind one of a later offset of their input partition.
        foreign: records that are not ours: dead letters without our headers, outcomes of other topics' records.
        outside: outcomes of records before or after the inputs that were read.
        findings: the first violations of each kind.
    """

    inputs: int
    verdicts: int
    dead_letters: int
    duplicates: int
    missing: int
    not_yet_judged: int
    tail_allowed: bool
    conflicting: int
    unparsable_with_verdict: int
    unknown: int
    unreadable: int
    unequal_duplicates: int
    out_of_order: int
    foreign: int
    outside: int
    findings: tuple[Finding, ...]

    @property
    def promises(self) -> dict[str, bool]:
        """Which promises hold over what was read."""
        faults = self.missing + self.conflicting + self.unknown + self.unreadable
        return {
            "P1": faults == 0 and (self.tail_allowed or self.not_yet_judged == 0),
            "P3": self.unparsable_with_verdict == 0 and self.unreadable == 0,
            "P7": self.unequal_duplicates == 0,
            "P8": self.out_of_order == 0,
        }

    @property
    def is_closed(self) -> bool:
        """True where every input has exactly one verdict or one dead letter (P1)."""
        return self.promises["P1"]

    @property
    def is_proven(self) -> bool:
        """True where all promises hold."""
        return all(self.promises.values())


class _Page:
    """Inputs of one partition: a byte of flags and the first outcome's digest per offset."""

    def __init__(self, start: int, end: int, committed: int) -> None:
        self.start = start
        self.end = end
        self.committed = min(max(committed, start), end)
        self.flags = bytearray(end - start)
        self.digests = array("Q", [0]) * (end - start)


class LedgerBook:
    """Takes records in any order of topics, those of one partition in offset order.

    Args:
        inputs: per input partition the first offset, and the one after the last.
        committed: committed offsets; inputs from there on may still be in flight. All is committed if None.
        limit: findings kept of each kind.
    """

    def __init__(
        self,
        inputs: Mapping[Partition, tuple[int, int]],
        committed: Mapping[Partition, int] | None = None,
        *,
        limit: int = 20,
    ) -> None:
        done = {place: end for place, (_, end) in inputs.items()} if committed is None else committed
        self._pages = {place: _Page(start, end, done.get(place, start)) for place, (start, end) in inputs.items()}
        self._topics = {topic for topic, _ in inputs}
        self._limit = limit
        self._counts: Counter[str] = Counter()
        self._findings: list[Finding] = []
        self._newest: dict[tuple[str, int, Partition], int] = {}

    def add_input(self, record: SourceRecord) -> None:
        """Take an input record in."""
        page = self._pages[record.topic, record.partition]
        page.flags[record.offset - page.start] |= _INPUT

    def add_verdict(self, record: SourceRecord) -> None:
        """Take a record of the verdict topic in."""
        value = record.value or b""
        try:
            source = Verdict.model_validate_json(value).source
        except ValidationError as error:
            self._find("unreadable", record.record_id, f"not a verdict: {error.error_count()} faults")
            return
        head, timing, _ = value.rpartition(_TIMING)  # the last field, as Verdict declares it
        digest = _digest(head if timing else value)
        self._add(record, (source.topic, source.partition), source.offset, _VERDICT, digest)

    def add_dead_letter(self, record: SourceRecord) -> None:
        """Take a record of the dead-letter topic in."""
        try:
            letter = read_dead_letter(record)
        except ValueError:
            self._counts["foreign"] += 1
            return
        # Attempts, trace and times are the try's own, not the judgement's.
        parts = (letter.reason.encode(), letter.key, letter.value, b"dropped" if letter.value_dropped else None)
        flags = _LETTER | (_UNPARSABLE if letter.stage is Stage.PARSE else 0)
        source = letter.source
        self._add(record, (source.topic, source.partition), source.offset, flags, _digest(*parts))

    def forget_before(self, first: Mapping[Partition, int]) -> None:
        """Leave inputs out that retention has removed since the ranges were asked for."""
        for place, offset in first.items():
            page = self._pages[place]
            gone = min(max(offset, page.start), page.end) - page.start
            self._counts["outside"] += gone - page.flags.count(0, 0, gone)
            page.flags[:gone] = bytes(gone)

    def close(self, *, tail_allowed: bool = False) -> Ledger:
        """Count, and list what is wrong."""
        tally: Counter[int] = Counter()
        for (topic, partition), page in self._pages.items():
            for value in range(32):
                tally[value] += page.flags.count(value)
            split = page.committed - page.start
            self._list("missing", topic, partition, page, _INPUT, 0, split)
            self._list("not_yet_judged", topic, partition, page, _INPUT, split, len(page.flags))
            for value in range(32):
                if value & _BOTH == _BOTH:
                    self._list("conflicting", topic, partition, page, value, 0, len(page.flags))
                if value & _BOTH and not value & _INPUT:
                    self._list("unknown", topic, partition, page, value, 0, len(page.flags))

        def having(*wanted: int) -> int:
            return sum(count for value, count in tally.items() if all(value & flag for flag in wanted))

        counts = self._counts
        return Ledger(
            inputs=having(_INPUT),
            verdicts=having(_INPUT, _VERDICT),
            dead_letters=having(_INPUT, _LETTER),
            duplicates=counts["duplicates"],
            missing=counts["missing"],
            not_yet_judged=counts["not_yet_judged"],
            tail_allowed=tail_allowed,
            conflicting=counts["conflicting"],
            unparsable_with_verdict=having(_VERDICT, _UNPARSABLE),
            unknown=counts["unknown"],
            unreadable=counts["unreadable"],
            unequal_duplicates=having(_UNEQUAL),
            out_of_order=counts["out_of_order"],
            foreign=counts["foreign"],
            outside=counts["outside"],
            findings=tuple(self._findings),
        )

    def _add(self, record: SourceRecord, place: Partition, offset: int, flags: int, digest: int) -> None:
        page = self._pages.get(place)
        record_id = f"{place[0]}-{place[1]}-{offset}"
        if page is None:
            if place[0] in self._topics:
                self._find("unknown", record_id, f"no such partition, says {record.record_id}")
            else:
                self._counts["foreign"] += 1
            return
        if not page.start <= offset < page.end:
            self._counts["outside"] += 1
            return
        index = offset - page.start
        seen = page.flags[index]
        if not seen & flags & _BOTH:
            self._check_order(record, place, offset)
            if not seen & _BOTH:
                page.digests[index] = digest
        else:
            self._counts["duplicates"] += 1
            # With both kinds there, the digest belongs to one of them; such a record is a conflict anyway.
            if seen & _BOTH != _BOTH and page.digests[index] != digest:
                if not seen & _UNEQUAL:
                    self._find("unequal_duplicates", record_id, f"differs in {record.record_id}")
                flags |= _UNEQUAL
        page.flags[index] = seen | flags

    def _check_order(self, record: SourceRecord, place: Partition, offset: int) -> None:
        output = (record.topic, record.partition, place)
        newest = self._newest.get(output, -1)
        if offset < newest:
            self._find("out_of_order", f"{place[0]}-{place[1]}-{offset}", f"in {record.record_id}, behind {newest}")
        self._newest[output] = max(newest, offset)

    def _list(self, kind: str, topic: str, partition: int, page: _Page, value: int, start: int, end: int) -> None:
        found = page.flags.count(value, start, end)
        listed = min(found, max(0, self._limit - self._counts[kind]))
        self._counts[kind] += found
        index = start - 1
        for _ in range(listed):
            index = page.flags.find(value, index + 1, end)
            self._findings.append(Finding(kind, f"{topic}-{partition}-{page.start + index}", _outcomes(value)))

    def _find(self, kind: str, record_id: str, detail: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= self._limit:
            self._findings.append(Finding(kind, record_id, detail))


def _outcomes(value: int) -> str:
    names = {_VERDICT: "a verdict", _UNPARSABLE: "a dead letter for unparsable output", _LETTER: "a dead letter"}
    if value & _UNPARSABLE:
        del names[_LETTER]
    found = " and ".join(name for flag, name in names.items() if value & flag) or "no outcome"
    return found if value & _INPUT else f"{found}, and no input record"


def _digest(*parts: bytes | None) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(b"-" if part is None else b"%d:" % len(part) + part)
    return int.from_bytes(digest.digest())
