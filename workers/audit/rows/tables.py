"""The columns of a run's Parquet files, and verdicts and dead letters as their rows.

They hold no time of judging, so an interrupted run ends with the same rows.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic_core import from_json

from schemas.dead_letter import DeadLetter
from schemas.verdict import Provenance, Verdict
from schemas.verdict_writer import VerdictText

SCHEMA_VERSION = "1.1"
_METADATA = {b"weir.schema_version": SCHEMA_VERSION.encode()}
UNKNOWN_DATE = "unknown"
MOST_DATES = 31
"""Folders that one block's verdicts lie in, beside that of unknown dates."""
_DAY, _MONTH, _YEAR, _CENTURY = 10, 7, 4, 2
_NO_TIMING = {"received_at": "", "judged_at": "", "queue_ms": 0.0, "guard_ms": 0.0}
_TIME = pa.timestamp("us", tz="UTC")
_SCORES = pa.map_(pa.string(), pa.float64())


def _field(name: str, kind: Any, *, null: bool = False) -> Any:
    return pa.field(name, kind, nullable=null)


VERDICT_SCHEMA = pa.schema(
    [
        _field("verdict_id", pa.string()),
        _field("event_id", pa.string()),
        _field("conversation_id", pa.string(), null=True),
        _field("tenant", pa.string()),
        _field("task", pa.string()),
        _field("occurred_at", _TIME, null=True),
        _field("language", pa.string(), null=True),
        _field("severity", pa.string()),
        _field("categories", pa.list_(pa.string())),
        _field("refusal", pa.bool_(), null=True),
        _field("action", pa.string()),
        _field("treated_as", pa.string()),
        _field("policy_name", pa.string()),
        _field("policy_version", pa.string()),
        _field("policy_sha256", pa.string()),
        _field("source_topic", pa.string()),
        _field("source_partition", pa.int32()),
        _field("source_offset", pa.int64()),
        _field("model", pa.string()),
        _field("revision", pa.string()),
        _field("prompt_sha256", pa.string()),
        _field("engine", pa.string()),
        _field("dtype", pa.string()),
        _field("parser", pa.string()),
        _field("severity_scores", _SCORES, null=True),
        _field("category_scores", _SCORES, null=True),
        _field("refusal_score", pa.float64(), null=True),
        _field("prompt_tokens", pa.int64()),
        _field("output_tokens", pa.int64()),
        _field("windows", pa.int32()),
        _field("length_policy", pa.string()),
        _field("characters_dropped", pa.int64()),
        _field("text_sha256", pa.string()),
        _field("conversation_sha256", pa.string()),
        _field("text", pa.string(), null=True),
    ],
    metadata=_METADATA,
)
DEAD_LETTER_SCHEMA = pa.schema(
    [
        _field("event_id", pa.string(), null=True),
        _field("tenant", pa.string(), null=True),
        _field("occurred_at", _TIME, null=True),
        _field("source_topic", pa.string()),
        _field("source_partition", pa.int32()),
        _field("source_offset", pa.int64()),
        _field("reason", pa.string()),
        _field("detail", pa.string()),
        _field("model", pa.string(), null=True),
        _field("revision", pa.string(), null=True),
        _field("raw_output", pa.string(), null=True),
        _field("text_sha256", pa.string(), null=True),
    ],
    metadata=_METADATA,
)


class RowFacts(NamedTuple):
    """What a row's table says beside its outcome. `text` is the judged message's, where it is to be kept.

    `conversation_sha256` is of all turns, so that it differs where the judged message stands in another context.
    """

    event_id: str | None
    tenant: str | None
    occurred_at: datetime | None
    language: str | None
    text_sha256: str | None
    conversation_sha256: str | None
    text: str | None


def verdict_row(outcome: VerdictText, facts: RowFacts) -> dict[str, Any]:
    """One row of `VERDICT_SCHEMA`."""
    said: dict[str, Any] = from_json(outcome.value, cache_strings="all")
    scores: dict[str, Any] = said["scores"] or {}
    policy, source, usage = said["policy"], said["source"], said["usage"]
    return {
        "verdict_id": said["verdict_id"],
        "event_id": said["event_id"],
        "conversation_id": said["conversation_id"],
        "tenant": said["tenant"],
        "task": said["task"],
        "occurred_at": facts.occurred_at,
        "language": facts.language,
        "severity": said["severity"],
        "categories": said["categories"],
        "refusal": said["refusal"],
        "action": said["action"],
        "treated_as": policy["treated_as"],
        "policy_name": policy["name"],
        "policy_version": policy["version"],
        "policy_sha256": policy["sha256"],
        "source_topic": source["topic"],
        "source_partition": source["partition"],
        "source_offset": source["offset"],
        **said["provenance"],
        "severity_scores": (scores and list(scores["severity"].items())) or None,
        "category_scores": (scores and list(scores["categories"].items())) or None,
        "refusal_score": scores.get("refusal"),
        "prompt_tokens": usage["prompt_tokens"],
        "output_tokens": usage["output_tokens"],
        "windows": usage["windows"],
        "length_policy": usage["length_policy"],
        "characters_dropped": usage["characters_dropped"],
        "text_sha256": facts.text_sha256,
        "conversation_sha256": facts.conversation_sha256,
        "text": facts.text,
    }


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """The verdict of a row, as pyarrow gives rows; its timing is empty, because rows have none."""
    severity_scores = row["severity_scores"]
    scores = severity_scores and {
        "severity": dict(severity_scores),
        "categories": dict(row["category_scores"]),
        "refusal": row["refusal_score"],
    }
    own = ("verdict_id", "event_id", "conversation_id", "tenant", "task", "severity", "categories", "refusal", "action")
    usage = ("prompt_tokens", "output_tokens", "windows", "length_policy", "characters_dropped")
    return Verdict.model_validate(
        {
            **{name: row[name] for name in own},
            "scores": scores or None,
            "policy": {
                **{name: row[f"policy_{name}"] for name in ("name", "version", "sha256")},
                "treated_as": row["treated_as"],
            },
            "source": {name: row[f"source_{name}"] for name in ("topic", "partition", "offset")},
            "provenance": {name: row[name] for name in Provenance.model_fields},
            "usage": {name: row[name] for name in usage},
            "timing": _NO_TIMING,
        }
    )


def dead_letter_row(outcome: DeadLetter, facts: RowFacts, provenance: Provenance | None) -> dict[str, Any]:
    """One row of `DEAD_LETTER_SCHEMA`; `provenance` is that of the model that was asked, if it was."""
    asked = provenance if outcome.model_revision is not None else None
    return {
        "event_id": facts.event_id,
        "tenant": facts.tenant,
        "occurred_at": facts.occurred_at,
        "source_topic": outcome.source.topic,
        "source_partition": outcome.source.partition,
        "source_offset": outcome.source.offset,
        "reason": outcome.reason.value,
        "detail": outcome.detail,
        "model": asked.model if asked else None,
        "revision": outcome.model_revision,
        "raw_output": None,
        "text_sha256": facts.text_sha256,
    }


def table_of(rows: Sequence[Mapping[str, Any]], schema: Any) -> Any:
    """Rows as a table of one of the two schemas."""
    return pa.Table.from_pylist(rows, schema=schema)


def folders_of(dates: Collection[str]) -> dict[str, str]:
    """The folder for rows of each day: the day's, its month's or its year's, so that there are not many.

    Args:
        dates: of one block's rows, from `date_of`.
    """
    known = {date for date in dates if date != UNKNOWN_DATE}
    for length in (_DAY, _MONTH, _YEAR, _CENTURY):
        if len({date[:length] for date in known}) <= MOST_DATES:
            break
    return {date: date if date == UNKNOWN_DATE else date[:length].ljust(_YEAR, "x") for date in dates}


def date_of(moment: datetime | None) -> str:
    """The partition that an event of then belongs to: its day in UTC."""
    return UNKNOWN_DATE if moment is None else moment.astimezone(UTC).date().isoformat()
