"""What must hold of the topics after every phase: the closed ledger, order, equal copies, and nothing lost.

Reads with another client than the workers use and compares with what was produced; `weir verify`'s own ledger is
asked as well, so that each checks the other.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schemas.dead_letter import read_dead_letter
from schemas.record import SourceRecord
from tests.chaos.load import Event, Place

SHOWN = 5
VERDICT = "verdict"


@dataclass(frozen=True)
class Outcome:
    """One record of the verdict or dead-letter topic.

    Attributes:
        source: partition and offset of the input record that it is about.
        kind: `verdict`, or the reason of a dead letter.
        verdict_id: empty for a dead letter.
        payload: what has to be equal in copies.
        where: topic, partition and offset of this record.
    """

    source: Place
    kind: str
    verdict_id: str
    payload: str
    where: tuple[str, int, int]


@dataclass(frozen=True)
class Account:
    """The outcomes of one scenario, and what is wrong with them."""

    inputs: int
    verdicts: int
    letters: int
    skipped: int
    duplicates: int
    faults: tuple[str, ...]


def read_verdict(record: SourceRecord) -> Outcome:
    """A record of the verdict topic. Raises ValueError or KeyError where it is none."""
    verdict = json.loads(record.value or b"")
    del verdict["timing"]
    source = verdict["source"]
    return Outcome(
        (source["partition"], source["offset"]),
        VERDICT,
        verdict["verdict_id"],
        json.dumps(verdict),
        (record.topic, record.partition, record.offset),
    )


def read_letter(record: SourceRecord) -> Outcome:
    """A record of the dead-letter topic. Raises ValueError where it is none of ours."""
    letter = read_dead_letter(record)
    own = letter.model_dump(mode="json", exclude={"attempts", "first_failed_at", "headers", "key", "value"})
    payload = json.dumps([own, repr(letter.key), repr(letter.value)])
    place = letter.source.partition, letter.source.offset
    return Outcome(place, letter.reason, "", payload, (record.topic, record.partition, record.offset))


def account(sent: Mapping[Place, Event], outcomes: Iterable[Outcome], *, allow_missing: bool = False) -> Account:
    """Compare outcomes with the input; those of one output partition in offset order.

    Args:
        sent: the input.
        outcomes: all outcomes.
        allow_missing: some of the input may not have been judged yet.
    """
    by_source: dict[Place, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_source[outcome.source].append(outcome)
    faults: list[str] = []
    for place, event in sent.items():
        faults += _judge(place, event, by_source.get(place, []), allow_missing=allow_missing)
    faults += [f"unknown: outcome of {place}, which nobody produced" for place in by_source.keys() - sent.keys()]
    faults += _out_of_order(sent, by_source)
    kinds = Counter(copies[0].kind == VERDICT for place, copies in by_source.items() if place in sent)
    duplicates = sum(len(copies) - 1 for copies in by_source.values())
    skipped = sum(event.is_skipped and place not in by_source for place, event in sent.items())
    return Account(len(sent), kinds[True], kinds[False], skipped, duplicates, tuple(faults))


def _out_of_order(sent: Mapping[Place, Event], by_source: Mapping[Place, list[Outcome]]) -> Iterable[str]:
    """Order of first copies: of one input partition, and of one key, within one output partition.

    Nobody can tell which copy came first where they lie in several output partitions, and a key that has moved to
    another input partition has no order.
    """
    partitions: dict[bytes | None, set[int]] = defaultdict(set)
    for place, event in sent.items():
        partitions[event.key].add(place[0])
    newest: dict[tuple[object, ...], int] = {}
    position = {place: index for index, place in enumerate(sent)}
    firsts = [copies[0] for copies in by_source.values() if len({copy.where[:2] for copy in copies}) == 1]
    for first in sorted(firsts, key=lambda outcome: outcome.where):
        if first.source not in sent:
            continue
        key, index = sent[first.source].key, position[first.source]
        orders: dict[tuple[object, ...], int] = {(*first.where[:2], "partition", first.source[0]): first.source[1]}
        if key is not None and len(partitions[key]) == 1:
            orders[*first.where[:2], "key", key] = index
        for order, value in orders.items():
            if value < newest.get(order, -1):
                yield f"out of order by {order[2]}: {first.source} at {first.where}"
            newest[order] = max(newest.get(order, -1), value)


def _judge(place: Place, event: Event, copies: list[Outcome], *, allow_missing: bool) -> Iterable[str]:
    if event.is_skipped:
        if copies:
            yield f"wrong: {place} became {sorted({copy.kind for copy in copies})}, and holds nothing to judge"
        return
    wanted = VERDICT if event.expected is None else str(event.expected)
    if not copies:
        if not allow_missing:
            yield f"lost: {place}, which should have become {wanted}"
        return
    if (kinds := {copy.kind for copy in copies}) != {wanted}:
        yield f"wrong: {place} became {sorted(kinds)}, not {wanted}"
    elif len({copy.verdict_id for copy in copies}) > 1:
        yield f"unequal copies: {place} has several verdict ids"
    elif len({copy.payload for copy in copies}) > 1:
        yield f"unequal copies: {place} has {len(copies)} that differ"
