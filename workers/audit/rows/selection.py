"""Which rows of a run are judged: a sample by a keyed digest of their event ids, and what no earlier run has judged.

Both give the same answer for a row each time. Reads no input files.
"""

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from hashlib import blake2b
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import ConfigurationError
from schemas.verdict import Provenance
from workers.audit.manifest import PolicyUsed, SampleTaken

Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]
MOST_STRATA = 10_000
_WHOLE = 2**64
_BINS = 1_024
_OF_BIN = _WHOLE // _BINS
_AMOUNT = re.compile(r"([0-9]+)|([0-9]+(?:\.[0-9]+)?)%")
_ROW = ("event_id", "tenant", "task", "conversation_sha256")
_COLUMNS = [*_ROW, *Provenance.model_fields, "policy_sha256"]
JudgedRow = tuple[str, str, str, str]
"""Event id, tenant, task, and the digest of all turns: with model and policy all that a verdict follows from."""


def number_of(event_id: str, key: bytes) -> int:
    """The 64-bit number by which samples are taken, so that a larger one with a key holds all of a smaller one."""
    digest = blake2b(event_id.encode("utf-8", "surrogatepass"), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "big")


def sample_of(
    asked: str, stratified_by: str | None, members: Callable[[], Iterable[tuple[str, str]]], key: str
) -> SampleTaken:
    """The sample that `--sample` asks for.

    A number is exact, and so is a percentage of each stratum; a percentage without strata takes every row with that
    chance. Rows that share an event id are taken or left together.

    Args:
        asked: `1000`, or `2.5%`.
        stratified_by: column whose values each keep their share of the sample, to the row, and have one row at least.
        members: event id and stratum of every row; read twice, but not for a percentage without strata.
        key: hex digits, that nobody knows who writes events.

    Raises:
        ConfigurationError: `asked` has neither form, or is nothing or more than all; the column has too many values.
    """
    form = _AMOUNT.fullmatch(asked)
    if form is None:
        raise ConfigurationError(f"sample {asked!r}: neither a number of rows nor a percentage")
    share = None if form[2] is None else Fraction(form[2]) / 100
    if share is not None and not 0 < share <= 1:
        raise ConfigurationError(f"sample {asked!r}: not above 0 % and up to 100 %")
    if share is not None and stratified_by is None:
        return SampleTaken(key=key, asked=asked, stratified_by=None, bounds={"": ceil(share * _WHOLE)})
    if share is None and not int(form[1]):
        raise ConfigurationError(f"sample {asked!r}: no rows")

    secret = bytes.fromhex(key)

    def numbers() -> Iterator[tuple[int, str]]:
        return ((number_of(event_id, secret), stratum if stratified_by else "") for event_id, stratum in members())

    bins = _bins(numbers(), stratified_by)
    sizes = {stratum: int(counts.sum()) for stratum, counts in bins.items()}
    if share is None:
        quotas = _shares(sizes, int(form[1]))
    else:
        quotas = {stratum: max(1, round(share * size)) for stratum, size in sizes.items()}
    bounds = _bounds(numbers(), bins, quotas)
    return SampleTaken(key=key, asked=asked, stratified_by=stratified_by, bounds=dict(sorted(bounds.items())))


def _bins(numbers: Iterable[tuple[int, str]], stratified_by: str | None) -> dict[str, Counts]:
    """Rows of each stratum by the first bits of their numbers."""
    bins: dict[str, Counts] = {}
    for number, stratum in numbers:
        counts = bins.get(stratum)
        if counts is None:
            if len(bins) == MOST_STRATA:
                raise ConfigurationError(f"--stratify {stratified_by}: more than {MOST_STRATA:,} values; no strata")
            counts = bins[stratum] = np.zeros(_BINS, np.int64)
        counts[number // _OF_BIN] += 1
    return bins


def _bounds(
    numbers: Iterable[tuple[int, str]], bins: Mapping[str, Counts], quotas: Mapping[str, int]
) -> dict[str, int]:
    """The bound below which each stratum has its quota of rows; keeps the numbers of one bin a stratum in memory."""
    last = {stratum: int(np.searchsorted(counts.cumsum(), quotas[stratum])) for stratum, counts in bins.items()}
    within: dict[str, Counter[int]] = {stratum: Counter() for stratum in bins}
    for number, stratum in numbers:
        if number // _OF_BIN == last[stratum]:
            within[stratum][number] += 1
    bounds = {}
    for stratum, counted in within.items():
        left = quotas[stratum] - int(bins[stratum][: last[stratum]].sum())
        for number in sorted(counted):
            bounds[stratum] = number + 1
            left -= counted[number]
            if left <= 0:
                break
    return bounds


def _shares(sizes: Mapping[str, int], wanted: int) -> dict[str, int]:
    """Rows of each stratum: its share, the largest remainders first; one at least, if need be at the others' cost."""
    total = sum(sizes.values())
    if wanted >= total:
        return dict(sizes)
    quotas = {stratum: max(1, wanted * size // total) for stratum, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda stratum: (quotas[stratum] * total - wanted * sizes[stratum], stratum))
    for stratum in by_remainder[: max(0, wanted - sum(quotas.values()))]:
        quotas[stratum] += 1
    excess = sum(quotas.values()) - wanted
    above = [(wanted * sizes[stratum] - quota * total, stratum) for stratum, quota in quotas.items() if quota > 1]
    heapq.heapify(above)
    while excess > 0 and above:  # with more strata than rows all have one, and there is nothing to take
        surplus, stratum = above[0]
        quotas[stratum] -= 1
        excess -= 1
        if quotas[stratum] > 1:
            heapq.heapreplace(above, (surplus + total, stratum))
        else:
            heapq.heappop(above)
    return quotas


def is_sampled(sample: SampleTaken | None, event_id: str, stratum: str) -> bool:
    """Whether a row belongs to the sample."""
    if sample is None:
        return True
    return number_of(event_id, bytes.fromhex(sample.key)) < sample.bounds.get(
        stratum if sample.stratified_by else "", 0
    )


class AlreadyJudged:
    """The verdicts of an earlier run that would come out the same.

    A row is one of them if its `JudgedRow`, the model with all of its provenance, the policy and the length policy are
    those of a verdict there.

    Args:
        keys: from `keys_of_run`.
        provenance: what judges now.
        policy: of now.
    """

    def __init__(self, keys: Keys, provenance: Provenance, policy: PolicyUsed) -> None:
        self._keys = keys
        self._base = _base(provenance.model_dump().values(), policy.sha256, policy.length)

    def __contains__(self, row: JudgedRow) -> bool:
        key = _key(self._base, row)
        index = int(np.searchsorted(self._keys, np.uint64(key)))
        return index < len(self._keys) and int(self._keys[index]) == key


def keys_of_run(tables: Iterable[Any], length: str) -> Keys:
    """One number for each verdict of a run, sorted: 8 bytes a row.

    Args:
        tables: of its verdicts, with `KEY_COLUMNS`.
        length: signature of its length policy.

    Raises:
        ConfigurationError: its verdicts do not say what they were made of.
    """
    found: list[Keys] = []
    for table in tables:
        if missing := set(_COLUMNS) - set(table.schema.names):
            raise ConfigurationError(f"--since-run: its verdicts have no {min(missing)}: an older version wrote them")
        columns = [table.column(name).to_pylist() for name in _COLUMNS]
        bases: dict[tuple[str, ...], Any] = {}
        keys = []
        for values in zip(*columns, strict=True):
            row, rest = values[: len(_ROW)], values[len(_ROW) :]
            *provenance, policy = rest
            base = bases.get(rest)
            if base is None:
                base = bases[rest] = _base(provenance, policy, length)
            keys.append(_key(base, row))
        found.append(np.array(keys, np.uint64))
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)


KEY_COLUMNS = list(_COLUMNS)


def _base(provenance: Iterable[str], policy_sha256: str, length: str) -> "blake2b":
    return blake2b("\x1f".join((*provenance, policy_sha256, length)).encode(), digest_size=8)


def _key(base: "blake2b", row: JudgedRow) -> int:
    digest = base.copy()
    # With their lengths, so that no two rows are written alike.
    digest.update("".join(f"\x1e{len(part)}\x1f{part}" for part in row).encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest(), "big")
