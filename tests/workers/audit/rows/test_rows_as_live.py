"""A record is the same event in every lane: as live traffic, and as a row of a file."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import EventError
from schemas.event import ChatEvent, decode_event
from schemas.reasons import Reason
from schemas.record import SourceRecord
from workers.audit.rows.blocks import Block
from workers.audit.rows.columns import Columns
from workers.audit.rows.event_rows import EventRows

MAX_BYTES = 2**20
FIELDS = {"id": "event_id", "conversation": "conversation_id", "tenant": "tenant", "time": "created_at"}
TEXT = st.text(st.sampled_from("ab é\ud83d\ude00\n"), max_size=4)
IDS = st.one_of(st.none(), st.just(""), TEXT, st.integers(), st.floats(), st.booleans())
TIMES = st.one_of(
    st.none(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(
        ["", "2026-01-02", "2026-01-02 03:04:05 UTC", "soon", "1767323045", "Fri, 02 Jan 2026 03:04:05 GMT"]
    ),
    st.sampled_from([{"$date": "2026-01-02T03:04:05Z"}, {"$date": 5}, {"seconds": 5}, {}]),
)
CONTENTS = st.one_of(
    st.none(),
    st.integers(0, 3),
    TEXT,
    st.lists(
        st.one_of(TEXT, st.sampled_from([{"type": "text", "text": "t"}, {"type": "image_url"}, {"x": 1}])), max_size=3
    ),
)
ROLES = st.sampled_from(["user", "assistant", "system", "developer", "tool", "narrator"])
OTHER_ROLES = st.sampled_from(["human", "gpt", "Model ", "bot", {"role": "user"}])
TURN = st.one_of(
    st.fixed_dictionaries({"role": ROLES}, optional={"content": CONTENTS, "parts": CONTENTS, "refusal": TEXT}),
    st.fixed_dictionaries(
        {}, optional={"from": OTHER_ROLES, "author": OTHER_ROLES, "type": OTHER_ROLES, "value": CONTENTS}
    ),
)
TURNS = st.lists(TURN, max_size=4)
WRITTEN = st.one_of(TURNS, TURNS.map(json.dumps), TURNS.map(lambda turns: json.dumps(turns)[:-1]))


def as_live(payload: dict[str, Any]) -> ChatEvent | Reason:
    return event_of(SourceRecord("chat.events", 0, 0, 0, None, json.dumps(payload).encode(), ()))


def as_row(payload: dict[str, Any]) -> ChatEvent | Reason:
    said = "text" if "text" in payload else "messages"
    columns = Columns({**FIELDS, said: said}, None)
    row = tuple(payload.get(name) for name in columns.wanted)
    block = Block(0, "log.jsonl", "log.jsonl", 0, 0, 1, 0, 0)
    (found,) = EventRows(columns).records(block, [row], [])
    return event_of(found.record)


def event_of(record: SourceRecord) -> ChatEvent | Reason:
    try:
        return decode_event(record, MAX_BYTES)
    except EventError as error:
        return error.reason


def parts_of(event: ChatEvent) -> tuple[object, ...]:
    return (*(getattr(event, name) for name in ChatEvent.model_fields), dict(event.handling))


@given(
    st.fixed_dictionaries(
        {"event_id": IDS.filter(lambda value: value is not None), "conversation_id": IDS, "tenant": IDS},
        optional={"created_at": TIMES},
    ),
    st.one_of(CONTENTS.map(lambda text: {"text": text}), WRITTEN.map(lambda turns: {"messages": turns})),
)
def test_a_record_is_the_same_event_live_and_as_a_row(fields: dict[str, Any], said: dict[str, Any]) -> None:
    payload = {**fields, **said}
    live, row = as_live(payload), as_row(payload)

    if isinstance(live, Reason) or isinstance(row, Reason):
        assert live is row
    else:
        assert parts_of(live) == parts_of(row)
