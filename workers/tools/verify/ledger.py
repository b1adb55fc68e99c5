"""The ledger: what became of every input record, and which promises hold over it.

A `LedgerBook` takes the records of the topics in, counts what is wrong, and becomes the ledger. An input is known by
its partition and offset, so that two events of one id are two records, and one that a redrive put back is a new one.
Does not read Kafka; `workers.tools.verify.verify` does. Memory is bounded by `LedgerPages`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from schemas.dead_letter import read_dead_letter, redrive_count
from schemas.record import Partition, SourceRecord
from schemas.verdict import Verdict
from workers.tools.verify.digest import (
    LETTER,
    TOO_LARGE,
    UNPARSABLE,
    VERDICT,
    OutcomeDigest,
    digest_of_letter,
    digest_of_verdict,
)
from workers.tools.verify.pages import PAGE, RESIDENT, LedgerPages, Page, PageKey

Routes = Callable[[Verdict], Sequence[str]]
# Beside the flags of an outcome. WANTED: there is an input, or in an extra topic's lane, a verdict that it should have.
# SKIPPED: an input with nothing to judge.
_WANTED, _UNEQUAL, _CONFLICT, _SKIPPED = 1, 16, 32, 64
_BOTH = VERDICT | LETTER
_NOTED = ("duplicates", "rejudged")


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
        skipped: inputs with nothing to judge and without an outcome, as the records themselves say.
        redriven: inputs that `weir dlq redrive` put back; each has an outcome of its own, like any input.
        duplicates: further equal copies of an outcome on a topic.
        rejudged: further outcomes of one input by another model, prompt or policy.
        missing: inputs without an outcome although the group has committed past them.
        not_yet_judged: inputs without an outcome that the group has not committed.
        conflicting: inputs with a verdict and a dead letter of one judgement.
        unparsable_with_verdict: those of them whose dead letter says that the output did not parse.
        unknown: outcomes of an offset of the input topics where no record is.
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
    skipped: int
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


class _Inputs(NamedTuple):
    """One input partition: its number, first offset, the one after the last, and the committed one."""

    number: int
    start: int
    end: int
    committed: int


class LedgerBook:
    """Takes records in any order of topics, those of one partition in offset order. Close it in any case.

    Args:
        inputs: per input partition the first offset, and the one after the last.
        committed: committed offsets; inputs from there on may still be in flight. All is committed if None.
        limit: findings kept of each kind.
        once: copies and second judgements are violations.
        extra_topics: topics that a policy routes verdicts to.
        routes: those of them that a verdict has to be on.
        skips: tells of an input whether it needs no outcome.
        resident: pages held in memory.
    """

    def __init__(
        self,
        inputs: Mapping[Partition, tuple[int, int]],
        committed: Mapping[Partition, int] | None = None,
        *,
        limit: int = 20,
        once: bool = False,
        extra_topics: Sequence[str] = (),
        routes: Routes = lambda _verdict: (),
        skips: Callable[[SourceRecord], bool] = lambda _record: False,
        resident: int = RESIDENT,
    ) -> None:
        done = {partition: end for partition, (_, end) in inputs.items()} if committed is None else committed
        self._inputs = {
            partition: _Inputs(number, start, end, min(max(done.get(partition, start), start), end))
            for number, (partition, (start, end)) in enumerate(inputs.items())
        }
        self._topics = {topic for topic, _ in inputs}
        self._lanes = {topic: lane for lane, topic in enumerate(extra_topics, 1)}
        self._routes = routes
        self._skips = skips
        self._pages = LedgerPages(resident)
        self._limit = limit
        self._once = once
        self._counts: Counter[str] = Counter()
        self._findings: list[Finding] = []
        self._notes: list[Finding] = []
        self._newest: dict[tuple[str, int, Partition, int], int] = {}

    def add_input(self, record: SourceRecord) -> None:
        """Take an input record in."""
        number, index = divmod(record.offset, PAGE)
        inputs = self._inputs[record.topic_partition]
        self._pages.page(PageKey(0, inputs.number, 0, number)).flags[index] |= (
            _WANTED | _SKIPPED if self._skips(record) else _WANTED
        )
        if record.headers and redrive_count(record):
            self._counts["redriven"] += 1

    def add_verdict(self, record: SourceRecord) -> None:
        """Take a record of the verdict topic, or of an extra one, in."""
        value = record.value or b""
        try:
            verdict = Verdict.model_validate_json(value)
        except ValidationError as error:
            self._find("unreadable", record.record_id, f"not a verdict: {error.error_count()} faults")
            return
        outcome = digest_of_verdict(verdict, value)
        lane = self._lanes.get(record.topic, 0)
        if self._add(record, outcome, lane) and self._lanes and not lane:
            for topic in self._routes(verdict):
                number, index = divmod(outcome.offset, PAGE)
                key = PageKey(self._lanes[topic], self._inputs[outcome.partition].number, 0, number)
                self._pages.page(key).flags[index] |= _WANTED

    def add_dead_letter(self, record: SourceRecord) -> None:
        """Take a record of the dead-letter topic in."""
        try:
            letter = read_dead_letter(record)
        except ValueError:
            self._counts["foreign"] += 1
            return
        self._add(record, digest_of_letter(letter), 0)

    def forget_before(self, first: Mapping[Partition, int]) -> None:
        """Leave inputs out that retention has removed since the ranges were asked for."""
        for partition, offset in first.items():
            inputs = self._inputs[partition]
            if offset <= inputs.start:
                continue
            start = min(offset, inputs.end)
            for page, _, *gone in self._first_pages(0, inputs._replace(end=start)):
                self._counts["outside"] += gone[1] - gone[0] - page.flags.count(0, *gone)
            self._inputs[partition] = inputs._replace(start=start, committed=max(start, inputs.committed))

    def close(self, *, tail_allowed: bool = False, removed: int = 0) -> Ledger:
        """Count, list what is wrong, and free what is held. `removed` is only passed on."""
        tally: Counter[int] = Counter()
        for partition in self._inputs:
            self._close_partition(partition, tally)
            for topic in self._lanes:
                self._close_copies(topic, partition)
        self.free()

        def having(*wanted: int) -> int:
            return sum(count for value, count in tally.items() if all(value & flag for flag in wanted))

        counted = (
            "redriven", "duplicates", "rejudged", "missing", "not_yet_judged", "conflicting", "unknown", "unreadable",
            "missing_copies", "unmatched_copies", "out_of_order", "foreign", "outside",
        )  # fmt: skip
        return Ledger(
            inputs=having(_WANTED),
            skipped=sum(count for value, count in tally.items() if value & _SKIPPED and not value & _BOTH),
            verdicts=having(_WANTED, VERDICT),
            dead_letters=having(_WANTED, LETTER),
            unparsable_with_verdict=having(_CONFLICT, VERDICT, UNPARSABLE),
            unequal_duplicates=having(_UNEQUAL) + self._counts["unequal_copies"],
            removed=removed,
            tail_allowed=tail_allowed,
            once=self._once,
            findings=tuple(self._findings),
            notes=tuple(self._notes),
            **{name: self._counts[name] for name in counted},
        )

    def free(self) -> None:
        """Free what is held; for one who does not get as far as `close`."""
        self._pages.close()

    def _add(self, record: SourceRecord, outcome: OutcomeDigest, lane: int) -> bool:
        """Take an outcome in; false where it is none of ours, or outside of what is looked at."""
        inputs = self._inputs.get(outcome.partition)
        if inputs is None:
            if outcome.partition.topic in self._topics:
                self._find(
                    "unknown",
                    outcome.record_id,
                    f"no such partition, says {record.record_id}",
                )
            else:
                self._counts["foreign"] += 1
            return False
        if not inputs.start <= outcome.offset < inputs.end:
            self._counts["outside"] += 1
            return False
        number, index = divmod(outcome.offset, PAGE)
        key = PageKey(lane, inputs.number, 0, number)
        flags = self._compare(record, outcome, key, index)
        self._pages.page(key).flags[index] |= flags  # the page may have been put away meanwhile
        return True

    def _compare(self, record: SourceRecord, outcome: OutcomeDigest, key: PageKey, index: int) -> int:
        """Find the record's slot of this very outcome, or fill a new one; returns the flags that it adds."""
        page = self._pages.page(key)
        flags, known, nth = outcome.flags, page.flags[index], 0
        while (payload := page.payloads[index]) != 0:
            identity, judge = page.identities[index], page.judges[index]
            if payload == outcome.payload and bool(identity) == bool(outcome.identity):
                self._find("duplicates", outcome.record_id, f"again in {record.record_id}")
                return flags
            if outcome.is_of_one_judgement(identity, judge):
                flags |= _UNEQUAL if bool(identity) == bool(outcome.identity) else _CONFLICT
            nth += 1
            page = self._pages.page(key._replace(nth=nth))
        page.payloads[index], page.identities[index] = outcome.payload, outcome.identity
        page.judges[index] = outcome.judge
        self._check_order(record, outcome, nth)
        if flags & _UNEQUAL and not known & _UNEQUAL:
            self._find("unequal_duplicates", outcome.record_id, f"differs in {record.record_id}")
        if nth and not flags & (_UNEQUAL | _CONFLICT):
            self._find(
                "rejudged",
                outcome.record_id,
                f"again in {record.record_id}, by another model or policy",
            )
        return flags

    def _check_order(self, record: SourceRecord, outcome: OutcomeDigest, nth: int) -> None:
        output = (record.topic, record.partition, outcome.partition, nth)
        newest = self._newest.get(output, -1)
        if outcome.offset < newest:
            self._find("out_of_order", outcome.record_id, f"in {record.record_id}, behind {newest}")
        self._newest[output] = max(newest, outcome.offset)

    def _close_partition(self, partition: Partition, tally: Counter[int]) -> None:
        """Count the flags of one input partition, and list what is wrong there."""
        inputs = self._inputs[partition]
        for page, first, start, end in self._first_pages(0, inputs):
            here = Counter(page.flags[start:end])
            tally.update(here)
            split = min(max(start, inputs.committed - first), end)
            for value in sorted(here):
                if not value & (_BOTH | _SKIPPED) and value & _WANTED:
                    self._list("missing", partition, first, page.flags, value, start, split)
                    self._list("not_yet_judged", partition, first, page.flags, value, split, end)
                if value & _CONFLICT:
                    self._list("conflicting", partition, first, page.flags, value, start, end)
                if value & _BOTH and not value & _WANTED:
                    self._list("unknown", partition, first, page.flags, value, start, end)

    def _close_copies(self, topic: str, partition: Partition) -> None:
        """Look for each copy on an extra topic on the verdict topic; only what is committed must be on both."""
        inputs, lane = self._inputs[partition], self._lanes[topic]
        for page, first, start, end in self._first_pages(lane, inputs):
            flags = page.flags[start : min(end, inputs.committed - first)] if inputs.committed > first else b""
            for index, value in enumerate(flags, start):
                record_id = _record_id(partition, first + index)
                if not value & VERDICT:
                    if value & _WANTED:
                        self._find("missing_copies", record_id, f"not on {topic}, where the policy routes it")
                    continue
                self._counts["unequal_copies"] += value & _UNEQUAL == _UNEQUAL
                key = PageKey(0, inputs.number, 0, first // PAGE)
                main = self._pages.find(key)
                # A verdict that its own topic refused as too large became a dead letter; its copies may stand already.
                if main is not None and main.flags[index] & TOO_LARGE:
                    continue
                if self._payloads(key._replace(lane=lane), index) - self._payloads(key, index):
                    self._find("unmatched_copies", record_id, f"on {topic}, and not like this on the verdict topic")

    def _payloads(self, key: PageKey, index: int) -> set[int]:
        found = set()
        while (page := self._pages.find(key)) is not None and (payload := page.payloads[index]) != 0:
            found.add(payload)
            key = key._replace(nth=key.nth + 1)
        return found

    def _first_pages(self, lane: int, inputs: _Inputs) -> Iterator[tuple[Page, int, int, int]]:
        """Pages of first outcomes: each with its first offset, and where in it the inputs start and end."""
        for number in self._pages.numbers(lane, inputs.number):
            page = self._pages.find(PageKey(lane, inputs.number, 0, number))
            first = number * PAGE
            start, end = max(0, inputs.start - first), min(PAGE, inputs.end - first)
            if page is not None and start < end:
                yield page, first, start, end

    def _list(
        self, kind: str, partition: Partition, first: int, flags: bytearray, value: int, start: int, end: int
    ) -> None:
        found = flags.count(value, start, end)
        listed = min(found, max(0, self._limit - self._counts[kind]))
        self._counts[kind] += found
        index = start - 1
        for _ in range(listed):
            index = flags.find(value, index + 1, end)
            self._findings.append(Finding(kind, _record_id(partition, first + index), _outcomes(value)))

    def _find(self, kind: str, record_id: str, detail: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= self._limit:
            kept = self._notes if kind in _NOTED and not self._once else self._findings
            kept.append(Finding(kind, record_id, detail))


def _record_id(partition: Partition, offset: int) -> str:
    return f"{partition.topic}-{partition.number}-{offset}"


def _outcomes(value: int) -> str:
    letter = "a dead letter for unparsable output" if value & UNPARSABLE else "a dead letter"
    names = {VERDICT: "a verdict", LETTER: letter}
    found = " and ".join(name for flag, name in names.items() if value & flag) or "no outcome"
    return found if value & _WANTED else f"{found}, and no input record"
