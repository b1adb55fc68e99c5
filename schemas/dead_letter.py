"""The dead letter: the original record, and why no verdict exists for it.

Headers of the broker's own family (`__dlq.errors.*`, KIP-1191) make it readable for other tools;
`moderation.dlq.*` says what they have no name for. Header values are UTF-8 strings.
"""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from schemas.cut_value import CutValue
from schemas.errors import TerminalError
from schemas.reasons import STAGE_OF, Reason, Stage
from schemas.record import Headers, SourceRecord
from schemas.verdict import Provenance, Source

BROKER = "__dlq.errors."
OWN = "moderation.dlq."
TRACE_HEADERS = ("traceparent", "tracestate")
REDRIVE_COUNT = OWN + "redrive_count"
MAX_DETAIL = 256
_MAX_DIGITS = 19  # of a 64-bit number; Python refuses to read thousands of digits


class DeadLetter(BaseModel):
    """One record that got no verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    key: bytes | None
    value: bytes | None
    headers: SkipValidation[Headers] = Field(description="headers of the original record")  # a name may know its bytes
    reason: Reason
    stage: Stage
    detail: str = Field(max_length=MAX_DETAIL, description="names field and rule, never message text")
    attempts: int = Field(ge=1, description="times the record was tried")
    group: str = Field(description="consumer group that gave up on it")
    first_failed_at: str = Field(description="RFC 3339, UTC")
    model_revision: str | None = None
    prompt_sha256: str | None = None
    raw_output_sha256: str | None = Field(None, description="digest of the unparsable output")
    redrive_count: int = Field(0, ge=0)
    value_dropped: bool = Field(False, description="true where the original was too large to be copied")

    @property
    def record_headers(self) -> list[tuple[str, bytes]]:
        """Original headers without earlier error headers, then ours, as the producer takes them.

        A null header value becomes an empty one (kafka-python cannot send null), and `null_headers` has its index
        among the original headers, counted from 0: names may repeat and hold any character.
        """
        kept = [(name, value) for name, value in self.headers if not name.startswith((BROKER, OWN))]
        null_headers = ",".join(str(index) for index, (_, value) in enumerate(kept) if value is None)
        ours: list[tuple[str, str | int | None]] = [
            (BROKER + "topic", self.source.topic),
            (BROKER + "partition", self.source.partition),
            (BROKER + "offset", self.source.offset),
            (BROKER + "group", self.group),
            (BROKER + "delivery.count", self.attempts),
            (BROKER + "message", self.detail),
            (OWN + "reason", self.reason),
            (OWN + "stage", self.stage),
            (OWN + "attempts", self.attempts),
            (OWN + "first_failed_at", self.first_failed_at),
            (OWN + "model_revision", self.model_revision),
            (OWN + "prompt_sha256", self.prompt_sha256),
            (OWN + "raw_output_sha256", self.raw_output_sha256),
            (REDRIVE_COUNT, self.redrive_count),
            (OWN + "null_headers", null_headers or None),
            (OWN + "null_value", "true" if self.value is None else None),
            (OWN + "value_dropped", "true" if self.value_dropped else None),
        ]
        headers = [(name, value if value is not None else b"") for name, value in kept]
        return headers + [(name, str(value).encode()) for name, value in ours if value is not None]


def dead_letter(
    record: SourceRecord,
    error: TerminalError,
    *,
    group: str,
    attempts: int = 1,
    provenance: Provenance | None = None,
    raw_output_sha256: str | None = None,
) -> DeadLetter:
    """The dead letter of a record for an error, stamped with the present time."""
    is_cut = isinstance(record.value, CutValue)
    return DeadLetter(
        source=Source(topic=record.topic, partition=record.partition, offset=record.offset),
        key=record.key,
        value=b"" if is_cut else record.value,
        headers=record.headers,
        reason=error.reason,
        stage=error.stage,
        detail=error.detail[:MAX_DETAIL],
        attempts=attempts,
        group=group,
        first_failed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        model_revision=provenance.revision if provenance else None,
        prompt_sha256=provenance.prompt_sha256 if provenance else None,
        raw_output_sha256=raw_output_sha256,
        redrive_count=redrive_count(record),
        value_dropped=is_cut,
    )


def redrive_count(record: SourceRecord) -> int:
    """How often `weir dlq redrive` has put a record back: its header says so, and nonsense there counts as never."""
    count = record.header(REDRIVE_COUNT) or b"0"
    return int(count) if count.isdigit() and len(count) <= _MAX_DIGITS else 0


def read_dead_letter(record: SourceRecord) -> DeadLetter:
    """Read a record of a dead-letter topic back.

    Raises:
        ValueError: where a header is missing or wrong; names the header, not its value.
    """
    own = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    for name in (BROKER + "topic", BROKER + "partition", BROKER + "offset", OWN + "reason"):
        if name not in own:
            raise ValueError(f"header {name}: missing")
    if own[OWN + "reason"] not in set(Reason):
        raise ValueError(f"header {OWN}reason: not a known reason")
    reason = Reason(own[OWN + "reason"])
    null_indices = own.get(OWN + "null_headers", "").split(",")
    kept = [(name, value) for name, value in record.headers if not name.startswith((BROKER, OWN))]
    null_value = record.value is None or own.get(OWN + "null_value") == "true"
    return DeadLetter(
        source=Source(
            topic=own[BROKER + "topic"],
            partition=_count(own, BROKER + "partition"),
            offset=_count(own, BROKER + "offset"),
        ),
        key=record.key,
        value=None if null_value else record.value,
        headers=tuple(
            (name, value or None if str(index) in null_indices else value) for index, (name, value) in enumerate(kept)
        ),
        reason=reason,
        stage=STAGE_OF[reason],
        detail=own.get(BROKER + "message", "")[:MAX_DETAIL],
        attempts=max(1, _count(own, OWN + "attempts")),
        group=own.get(BROKER + "group", ""),
        first_failed_at=own.get(OWN + "first_failed_at", ""),
        model_revision=own.get(OWN + "model_revision"),
        prompt_sha256=own.get(OWN + "prompt_sha256"),
        raw_output_sha256=own.get(OWN + "raw_output_sha256"),
        redrive_count=_count(own, REDRIVE_COUNT),
        value_dropped=own.get(OWN + "value_dropped") == "true",
    )


def _count(headers: dict[str, str], name: str) -> int:
    """A whole number of a header, 0 where there is none."""
    text = headers.get(name, "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        raise ValueError(f"header {name}: not a whole number of at most {_MAX_DIGITS} digits")
    return int(text)
