"""Turns rows into the records of live traffic: the event's JSON, as a producer would write it.

A faulty row is written with its faults, so that the same decoder refuses it with the same reason as live.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from schemas.record import SourceRecord
from workers.audit.rows.blocks import Block
from workers.audit.rows.columns import Columns
from workers.files.row_values import Malformed, Row, Values

_Asked = dict[tuple[str | None, str | None], tuple[int, Any]]
"""By tenant and conversation: the last row of a user, and its text."""
LOOKBACK_ROWS = 1_000
MAX_ID = 256  # of schemas.event.Identifier
_MOMENT = TypeAdapter(datetime)


class AuditRecord(NamedTuple):
    """A record to judge, and what its row says that a verdict does not."""

    record: SourceRecord
    event_id: str | None
    tenant: str | None
    occurred_at: datetime | None
    language: str | None
    stratum: str = ""
    malformed: Malformed | None = None


class EventRows:
    """Makes records of one run's rows.

    With a column of roles each row is one message: a user's is judged by itself, an assistant's with the user's message
    that came last before it in its conversation, up to `LOOKBACK_ROWS` rows before.

    Args:
        columns: what is where.
    """

    def __init__(self, columns: Columns) -> None:
        wanted = columns.wanted
        self._index_of = {field: wanted.index(name) for field, name in columns.by_field.items()}
        self._stratum = None if columns.stratum is None else wanted.index(columns.stratum)
        self.lookback = LOOKBACK_ROWS if "role" in self._index_of else 0

    def records(self, block: Block, rows: Sequence[Row], before: Sequence[Row]) -> Iterator[AuditRecord]:
        """The records of a block's rows; `before` are up to `lookback` rows that stand before them."""
        asked: _Asked = {}
        for number, row in enumerate(before, block.start - len(before)):
            self._note(asked, number, row)
        for number, row in enumerate(rows, block.start):
            if isinstance(row, Malformed):
                record = _record(block, number, None, row.value or b"")
                yield AuditRecord(record, None, None, None, None, malformed=row)
                continue
            yield self._read(block, number, row, asked)
            self._note(asked, number, row)

    def _note(self, asked: _Asked, number: int, row: Row) -> None:
        if not self.lookback or isinstance(row, Malformed) or self._role(row) != "user":
            return
        if (key := self._conversation(row)) is not None:
            asked[key] = number, self._value(row, "text")

    def _read(self, block: Block, number: int, row: Values, asked: _Asked) -> AuditRecord:
        event_id = _identifier(self._value(row, "id"))
        if event_id is None:
            event_id = sha256(f"{block.name}\x1f{number}".encode()).hexdigest()[:32]
        tenant = _identifier(self._value(row, "tenant"))
        conversation = _identifier(self._value(row, "conversation"))
        moment, said = _moment(self._value(row, "time"))
        payload: dict[str, Any] = {"event_id": event_id}
        if conversation is not None:
            payload["conversation_id"] = conversation
        if tenant is not None:
            payload["tenant"] = tenant
        payload.update(self._messages(number, row, asked))
        if said is not None:
            payload["created_at"] = said
        stratum = "" if self._stratum is None else str(row[self._stratum])
        record = _record(block, number, moment, _json(payload))
        language = self._value(row, "language")
        return AuditRecord(
            record,
            event_id[:MAX_ID],
            None if tenant is None else tenant[:MAX_ID],
            moment,
            None if language is None else str(language),
            stratum,
        )

    def _messages(self, number: int, row: Values, asked: _Asked) -> dict[str, Any]:
        messages = self._value(row, "messages")
        if isinstance(messages, str):  # a column of JSON, as CSV has to have it
            with suppress(ValueError):  # a string then, which is refused
                messages = from_json(messages)
        said = {} if messages is None else {"messages": messages}
        text = self._value(row, "text")
        if messages is not None:  # and a text, perhaps, which the event's decoder refuses beside them
            return said if text is None else {**said, "text": text}
        text = self._value(row, "text")
        if text is None:
            return {}
        role = self._role(row)
        if role in (None, "user"):
            return {"text": text}
        messages = [{"role": role, "content": text}]
        if role == "assistant":
            key = self._conversation(row)
            found = None if key is None else asked.get(key)
            if found is not None and number - found[0] <= self.lookback:
                messages.insert(0, {"role": "user", "content": found[1]})
        return {"messages": messages}

    def _conversation(self, row: Values) -> tuple[str | None, str | None] | None:
        """By which messages belong together; None: the row's conversation is not known.

        Without a column of conversations, a tenant's rows of a file are one.
        """
        conversation = _identifier(self._value(row, "conversation"))
        if conversation is None and "conversation" in self._index_of:
            return None
        return _identifier(self._value(row, "tenant")), conversation

    def _role(self, row: Values) -> str | None:
        role = self._value(row, "role")
        return None if role is None else str(role).lower()

    def _value(self, row: Values, field: str) -> Any:
        index = self._index_of.get(field)
        if index is None:
            return None
        value = row[index]
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _record(block: Block, number: int, moment: datetime | None, value: bytes) -> SourceRecord:
    milliseconds = 0 if moment is None else int(moment.timestamp() * 1000)
    return SourceRecord(block.name, block.partition, number, milliseconds, None, value, ())


def _identifier(value: Any) -> str | None:
    return None if value is None else str(value)


def _moment(value: Any) -> tuple[datetime | None, Any]:
    """A row's time, and its text in the event; a value that is not a time stays as it is."""
    if value is None:
        return None, None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        try:
            value = _MOMENT.validate_python(int(value) if isinstance(value, str) and value.isdecimal() else value)
        except (ValidationError, ValueError, OverflowError):
            return None, value
    moment = in_utc(value)
    return moment, (moment or value).isoformat()


def in_utc(moment: datetime) -> datetime | None:
    """A time in UTC, which a time without a zone is taken to be in; None if it is out of the calendar's range."""
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        return None


def _json(payload: dict[str, Any]) -> bytes:
    try:
        return to_json(payload)
    except ValueError:  # a lone surrogate, which the decoder is to name
        return json.dumps(payload, default=str).encode()
