"""Known logs of chats: in which columns they hold what, so that nobody has to map them.

Of a field, the first column that the files have is taken.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from schemas.errors import ConfigurationError
from schemas.suggestion import did_you_mean

Turns = Literal["last", "users", "all"]
"""Which turns of a row are judged: the last one, each of a user, or each of user and assistant."""


class Preset(NamedTuple):
    """One form of log.

    `rows_at` names the member of a JSON document that holds its rows; `left_out` are files beside the log that hold no
    messages. A row of whole conversations has all of its turns judged, unless another choice is made.
    """

    columns: Mapping[str, tuple[str, ...]]
    turns: Turns = "last"
    rows_at: str | None = None
    left_out: frozenset[str] = frozenset()


PLAIN = Preset(
    {
        "id": ("event_id",),
        "conversation": ("conversation_id",),
        "tenant": ("tenant",),
        "time": ("created_at",),
        "role": (),
        "text": ("text",),
        "messages": ("messages",),
        "answer": (),
        "language": ("language",),
    }
)
_OF_SLACK = frozenset(
    {
        "canvases.json",
        "channels.json",
        "dms.json",
        "file_conversations.json",
        "groups.json",
        "huddle_transcripts.json",
        "integration_logs.json",
        "lists.json",
        "mpims.json",
        "users.json",
    }
)
PRESETS: Mapping[str, Preset] = {
    "lmsys": Preset(
        {
            "id": ("conversation_id",),
            "conversation": ("conversation_id",),
            "messages": ("conversation",),
            "language": ("language",),
        },
        "all",
    ),
    "wildchat": Preset(
        {
            "id": ("conversation_hash", "conversation_id"),
            "conversation": ("conversation_hash", "conversation_id"),
            "time": ("timestamp",),
            "messages": ("conversation",),
            "language": ("language",),
        },
        "all",
    ),
    "sharegpt": Preset(
        {
            "id": ("id",),
            "conversation": ("id",),
            "messages": ("conversations", "conversation", "items"),
            "language": ("language", "lang"),
        },
        "all",
    ),
    "openai": Preset(
        {
            "id": ("event_id", "id", "custom_id"),
            "conversation": ("conversation_id",),
            "tenant": ("tenant",),
            "time": ("created_at", "created", "timestamp"),
            "messages": ("messages", "request.messages", "body.messages", "request.body.messages", "input"),
            "answer": ("choices", "response.choices", "response.body.choices", "output"),
        },
        "all",
    ),
    "slack": Preset(
        {"id": ("client_msg_id",), "conversation": ("thread_ts",), "time": ("ts",), "text": ("text",)},
        left_out=_OF_SLACK,
    ),
    "discord": Preset(
        {
            "id": ("ID", "id"),
            "time": ("Date", "Timestamp", "timestamp"),
            "text": ("Content", "Contents", "content"),
        },
        rows_at="messages",
    ),
}
FIELDS = tuple(PLAIN.columns)


def preset_of(name: str | None) -> Preset:
    """The preset of that name, or our own columns.

    Raises:
        ConfigurationError: there is none.
    """
    if name is None:
        return PLAIN
    if name not in PRESETS:
        raise ConfigurationError(f"--format {name}: not one of {', '.join(PRESETS)}{did_you_mean(name, PRESETS)}")
    return PRESETS[name]


def turns_of(asked: str | None, preset: Preset) -> Turns:
    """The turns to be judged: as asked, or as the preset has it.

    Raises:
        ConfigurationError: there is no such choice.
    """
    for choice in get_args(Turns):
        if choice == asked:
            found: Turns = choice
            return found
    if asked is not None:
        raise ConfigurationError(f"--turns {asked}: not one of {', '.join(get_args(Turns))}")
    return preset.turns
