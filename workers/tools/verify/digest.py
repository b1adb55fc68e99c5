"""An outcome as the ledger compares it: which record it is of, and three digests of 64 bits.

Reads the whole verdict, not only the fields that are compared: a record that is not a verdict must be found (P3).
"""

import hashlib
from functools import lru_cache
from typing import NamedTuple

from schemas.dead_letter import DeadLetter
from schemas.reasons import Reason, Stage
from schemas.record import Partition
from schemas.verdict import Verdict

VERDICT, LETTER, UNPARSABLE, TOO_LARGE = 2, 4, 8, 128
_TIMING = b',"timing":'
_HALF = 32


class OutcomeDigest(NamedTuple):
    """One outcome.

    Attributes:
        partition: of the input record.
        offset: its offset.
        flags: `VERDICT`, or `LETTER` and what else the ledger asks of one.
        payload: of all that copies must have in common; never 0.
        identity: of the verdict id; 0 for a dead letter.
        judge: of the model's revision and prompt in the upper half, 0 where no model was asked; in the lower half
            of all else that decides a verdict.
    """

    partition: Partition
    offset: int
    flags: int
    payload: int
    identity: int
    judge: int

    @property
    def record_id(self) -> str:
        """Of the input record: `topic-partition-offset`."""
        return f"{self.partition.topic}-{self.partition.number}-{self.offset}"

    def is_of_one_judgement(self, identity: int, judge: int) -> bool:
        """Whether another outcome of the same record, told by two of its digests, had to be equal to this one."""
        if self.identity and identity:
            return self.identity == identity or self.judge == judge
        model, other = self.judge >> _HALF, judge >> _HALF
        # What fails before the model fails whatever the model is.
        return model == other or not model or not other


def digest_of_verdict(verdict: Verdict, value: bytes) -> OutcomeDigest:
    """A verdict, and the bytes that it was read from."""
    source, made_by, policy = verdict.source, verdict.provenance, verdict.policy.sha256
    head, timing, _ = value.rpartition(_TIMING)  # the last field, as Verdict declares it
    return OutcomeDigest(
        Partition(source.topic, source.partition),
        source.offset,
        VERDICT,
        _digest(head if timing else value),
        _digest(verdict.verdict_id.encode()),
        _half(made_by.revision, made_by.prompt_sha256) << _HALF
        | _half(made_by.model, made_by.engine, made_by.dtype, made_by.parser, policy),
    )


def digest_of_letter(letter: DeadLetter) -> OutcomeDigest:
    """A dead letter; its attempts, trace and times are the try's own, not the judgement's."""
    flags = LETTER | (UNPARSABLE if letter.stage is Stage.PARSE else 0)
    flags |= TOO_LARGE if letter.reason is Reason.VERDICT_TOO_LARGE else 0
    dropped = b"dropped" if letter.value_dropped else None
    revision = letter.model_revision
    return OutcomeDigest(
        Partition(letter.source.topic, letter.source.partition),
        letter.source.offset,
        flags,
        _digest(letter.reason.encode(), letter.key, letter.value, dropped, (revision or "").encode()),
        0,
        0 if revision is None else _half(revision, letter.prompt_sha256 or "") << _HALF,
    )


def _digest(*parts: bytes | None) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(b"-" if part is None else b"%d:" % len(part) + part)
    return int.from_bytes(digest.digest()) or 1


@lru_cache(1_024)  # few differ
def _half(*parts: str) -> int:
    return _digest(*map(str.encode, parts)) >> _HALF or 1
