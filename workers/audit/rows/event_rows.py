"""Turns rows into the records of live traffic: the event's JSON, as a producer would write it.

A faulty row is written with its faults, so that the same decoder refuses it with the same reason as live.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from pydantic_core import to_json

from schemas.errors import EventError
from schemas.reading.fields import identifier, turns_in
from schemas.reading.moments import moment_or_none
from schemas.reading.turns import usual_role, whole_characters
from schemas.record import SourceRecord
from workers.audit.rows.blocks import Block
from workers.audit.rows.columns import Columns
from workers.audit.rows.turns import judged_turns
from workers.files.row_values import Malformed, Row, Values

_Asked = dict[tuple[str | None, str | None], tuple[int, Any]]
"""By tenant and conversation: the last row of a user, and its text."""
LOOKBACK_ROWS = 1_000
_CONTENTS = ("text", "messages", "answer")
MAX_ID = 256  # of schemas.event.Identifier


class AuditRecord(NamedTuple):
    """A record to judge, and what its row says that a verdict does not."""

    record: SourceRecord
    event_id: str | None
    tenant: str | None
    occurred_at: datetime | None
    language: str | None
    stratum: str = ""
    malformed: Malformed | None = None
    row_id: str | None = None
    """By which samples are taken: the same for all turns of a row."""
    turns_left: int = 0
    """Other turns of the row that hold a text and are not judged."""


class EventRows:
    """Makes records of one run's rows.

    With a column of roles each row is one message: a user's is judged by itself, an assistant's with the user's message
    that came last before it in its tenant's conversation, up to `LOOKBACK_ROWS` rows before.

    Args:
        columns: what is where.
    """

    def __init__(self, columns: Columns) -> None:
        wanted = columns.wanted
        self._index_of = {field: [wanted.index(name) for name in columns.of(field)] for field in columns.by_field}
        self._turns = columns.turns
        self._stratum = None if columns.stratum is None else wanted.index(columns.stratum)
        self.lookback = LOOKBACK_ROWS if "role" in self._index_of else 0

    def records(self, block: Block, rows: Sequence[Row], before: Sequence[Row]) -> Iterator[AuditRecord]:
        """The records of a block's rows; `before` are up to `lookback` rows that stand before them."""
        asked: _Asked = {}
        for number, row in enumerate(before, block.start - len(before)):
            self._note(asked, number, row)
        for number, row in enumerate(rows, block.start):
            if isinstance(row, Malformed):
                yield AuditRecord(_record(block, number, None, b""), None, None, None, None, malformed=row)
                continue
            try:
                yield from self._read(block, number, row, asked)
            except UnicodeDecodeError as error:  # a column of bytes that are no text: the decoder says so
                yield AuditRecord(_record(block, number, None, error.object), None, None, None, None)
            else:
                self._note(asked, number, row)

    def _note(self, asked: _Asked, number: int, row: Row) -> None:
        if not self.lookback or isinstance(row, Malformed) or self._role(row) != "user":
            return
        if (key := self._conversation(row)) is not None:
            asked[key] = number, self._value(row, "text")

    def _read(self, block: Block, number: int, row: Values, asked: _Asked) -> Iterator[AuditRecord]:
        said = self._value(row, "id")
        if said is None:
            said = sha256(f"{block.name}\x1f{number}".encode()).hexdigest()[:32]
        row_id = _identifier(said) or ""
        tenant = _identifier(self._value(row, "tenant"))
        moment = _moment(time := self._value(row, "time"))
        language = self._value(row, "language")
        for content, name, left in self._contents(number, row, asked):
            # Values as they are: the event's own reader makes ids, times and turns of them, as of live traffic's.
            payload = {
                "event_id": f"{row_id}/{name}" if name else said,
                "conversation_id": self._value(row, "conversation"),
                "tenant": self._value(row, "tenant"),
                **content,
                "created_at": time,
            }
            yield AuditRecord(
                _record(block, number, moment, _json(payload)),
                (f"{row_id}/{name}" if name else row_id)[:MAX_ID],
                None if tenant is None else tenant[:MAX_ID],
                moment,
                None if language is None else _text(language),
                "" if self._stratum is None else _text(row[self._stratum]),
                row_id=row_id[:MAX_ID],
                turns_left=left,
            )

    def _contents(self, number: int, row: Values, asked: _Asked) -> Iterator[tuple[dict[str, Any], str, int]]:
        """What is judged of a row, as an event has it; what tells it from the row's others; and turns that are not."""
        messages, text, answer = (self._value(row, field) for field in ("messages", "text", "answer"))
        messages = turns_in(messages)  # a column of JSON, as CSV has to have it
        if messages is not None and text is not None:  # which the event's decoder refuses together
            yield {"messages": messages, "text": text}, "", 0
        elif messages is not None or answer is not None:
            conversation = text if messages is None else messages
            for judged in judged_turns(conversation, answer, self._turns, takes_text="answer" in self._index_of):
                yield {"messages": judged.messages}, judged.name, judged.left
        else:
            yield self._message(number, row, text, asked), "", 0

    def _message(self, number: int, row: Values, text: Any, asked: _Asked) -> dict[str, Any]:
        """A row that is one message, with the question before it if it is an answer."""
        role = self._role(row)
        if role in (None, "user"):
            return {"text": text} if "text" in self._index_of else {}
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
        role = usual_role(self._value(row, "role"))
        return None if role in (None, "") else str(role).strip().lower()

    def _value(self, row: Values, field: str) -> Any:
        value = next((row[index] for index in self._index_of.get(field, ()) if row[index] is not None), None)
        if not isinstance(value, bytes):
            return value
        try:
            return value.decode()
        except UnicodeDecodeError:
            if field in _CONTENTS:
                raise
            return value.hex()  # an id in binary


def _record(block: Block, number: int, moment: datetime | None, value: bytes) -> SourceRecord:
    milliseconds = 0 if moment is None else int(moment.timestamp() * 1000)
    return SourceRecord(block.name, block.partition, number, milliseconds, None, value, ())


def _identifier(value: Any) -> str | None:
    """An id as the event has it; of what is no id, any text that tells it from others."""
    if value is None or value == "":
        return None
    try:
        return identifier("id", value, Counter())
    except EventError:
        return _text(value)


def _text(value: Any) -> str:
    """Any value as a text that files can hold."""
    return whole_characters(str(value), Counter())


def _moment(value: Any) -> datetime | None:
    """A row's time; None where it has none, or none that can be read."""
    try:
        return moment_or_none(value)
    except ValueError:
        return None


def in_utc(moment: datetime) -> datetime | None:
    """A time in UTC, which a time without a zone is taken to be in; None if it is out of the calendar's range."""
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        return None


def _json(payload: dict[str, Any]) -> bytes:
    try:
        return to_json(payload)
    except ValueError:  # halves of characters, which the event's reader replaces; or bytes that are no text
        return json.dumps(payload, default=_plain).encode()


def _plain(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
