"""Which rows of a run are judged: a sample by the digest of their event ids, and what an earlier run has not judged.

Both say the same of a row each time they are asked. Reads no input files.
"""

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import ConfigurationError
from schemas.verdict import Provenance
from workers.audit.manifest import PolicyUsed, SampleTaken

Keys = npt.NDArray[np.uint64]
_WHOLE = 2**64
_AMOUNT = re.compile(r"([0-9]+)|([0-9]+(?:\.[0-9]+)?)%")
_COLUMNS = ["event_id", "text_sha256", *Provenance.model_fields, "policy_sha256"]


def place_of(event_id: str) -> int:
    """A number of 64 bits, by which samples are taken: a larger sample holds all of a smaller one."""
    return int.from_bytes(blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def sample_of(asked: str, stratified_by: str | None, members: Callable[[], Iterable[tuple[str, str]]]) -> SampleTaken:
    """The sample that `--sample` asks for.

    Args:
        asked: `1000`, or `2.5%`.
        stratified_by: column whose values keep their shares in a sample of so many rows, each having one row at least;
            the shares of a percentage follow from the digests.
        members: event id and stratum of every row; read for a number only, once or twice.

    Raises:
        ConfigurationError: `asked` has neither form, or is nothing or more than all.
    """
    form = _AMOUNT.fullmatch(asked)
    if form is None:
        raise ConfigurationError(f"sample {asked!r}: neither a number of rows nor a percentage")
    if form[2] is not None:
        share = float(form[2]) / 100
        if not 0 < share <= 1:
            raise ConfigurationError(f"sample {asked!r}: not above 0 % and up to 100 %")
        return SampleTaken(asked=asked, stratified_by=None, bounds={"": ceil(share * _WHOLE)})
    wanted = int(form[1])
    if not wanted:
        raise ConfigurationError(f"sample {asked!r}: no rows")

    def places() -> Iterable[tuple[str, str]]:
        return ((event_id, stratum if stratified_by else "") for event_id, stratum in members())

    sizes = Counter(stratum for _, stratum in places())
    quotas = _shares(sizes, wanted)
    # The smallest places of each stratum, negated because a heap gives the smallest away.
    smallest: dict[str, list[int]] = {stratum: [] for stratum in sizes}
    for event_id, stratum in places():
        heap, place = smallest[stratum], -place_of(event_id)
        if len(heap) < quotas[stratum]:
            heapq.heappush(heap, place)
        elif place > heap[0]:
            heapq.heapreplace(heap, place)
    bounds = {stratum: -heap[0] + 1 if heap else 0 for stratum, heap in sorted(smallest.items())}
    return SampleTaken(asked=asked, stratified_by=stratified_by, bounds=bounds)


def _shares(sizes: Counter[str], wanted: int) -> dict[str, int]:
    """Rows of each stratum: one at least, the others by its share, the largest remainders first."""
    total = sum(sizes.values())
    if wanted >= total:
        return dict(sizes)
    exact = {stratum: wanted * size / total for stratum, size in sizes.items()}
    quotas = {stratum: min(sizes[stratum], max(1, int(share))) for stratum, share in exact.items()}
    by_remainder = sorted(exact, key=lambda stratum: (int(exact[stratum]) - exact[stratum], stratum))
    for stratum in by_remainder:
        if sum(quotas.values()) >= wanted:
            break
        quotas[stratum] = min(sizes[stratum], quotas[stratum] + 1)
    return quotas


def is_sampled(sample: SampleTaken | None, event_id: str, stratum: str) -> bool:
    """Whether a row belongs to the sample."""
    if sample is None:
        return True
    return place_of(event_id) < sample.bounds.get(stratum if sample.stratified_by else "", 0)


class AlreadyJudged:
    """The verdicts of an earlier run that would come out the same.

    A row is one of them if its event id, its text, the model with all of its provenance, the policy and the length
    policy are those of a verdict there.

    Args:
        keys: from `keys_of_run`.
        provenance: what judges now.
        policy: of now.
    """

    def __init__(self, keys: Keys, provenance: Provenance, policy: PolicyUsed) -> None:
        self._keys = keys
        self._base = _base(provenance.model_dump().values(), policy.sha256, policy.length)

    def __contains__(self, row: tuple[str, str]) -> bool:
        key = _key(self._base, *row)
        place = int(np.searchsorted(self._keys, np.uint64(key)))
        return place < len(self._keys) and int(self._keys[place]) == key


def keys_of_run(tables: Iterable[Any], length: str) -> Keys:
    """One number for each verdict of a run, sorted: 8 bytes a row.

    Args:
        tables: of its verdicts, with `KEY_COLUMNS`.
        length: signature of its length policy.
    """
    found: list[Keys] = []
    for table in tables:
        columns = [table.column(name).to_pylist() for name in _COLUMNS]
        bases: dict[tuple[str, ...], Any] = {}
        keys = []
        for event_id, text, *rest in zip(*columns, strict=True):
            *provenance, policy = rest
            base = bases.get(tuple(rest))
            if base is None:
                base = bases[tuple(rest)] = _base(provenance, policy, length)
            keys.append(_key(base, event_id, text))
        found.append(np.array(keys, np.uint64))
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)


KEY_COLUMNS = list(_COLUMNS)


def _base(provenance: Iterable[str], policy_sha256: str, length: str) -> "blake2b":
    return blake2b("\x1f".join((*provenance, policy_sha256, length)).encode(), digest_size=8)


def _key(base: "blake2b", event_id: str, text_sha256: str) -> int:
    digest = base.copy()
    digest.update(f"\x1e{event_id}\x1f{text_sha256}".encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest(), "big")
