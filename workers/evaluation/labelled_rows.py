"""Turns rows of a user's own labelled file into labelled examples, by a mapping of columns.

The judged text is `text` (a user message), `response` too where there is one, or `messages`, a list of role and
content. Labels are the guard's severities, or the usual words and numbers for two of them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipelines.evaluation.examples import Label, LabelledExample
from pipelines.guard import Conversation
from schemas.errors import ConfigurationError, EventError
from schemas.event import Role, read_event
from schemas.reading.fields import turns_in
from schemas.verdict import Severity
from workers.evaluation.benchmark_rows import Found, RowSource
from workers.evaluation.benchmark_values import is_missing, is_true, severity_of, turns_of
from workers.evaluation.row_files import Row
from workers.files.row_values import within

BENCHMARK = "labelled"
COLUMNS = {
    "text": "text",
    "response": "response",
    "messages": "messages",
    "label": "label",
    "id": "id",
    "language": "language",
    "categories": "categories",
    "refusal": "refusal",
}
"""What can be mapped, and the column that it is read from by default."""
_NUMBER = re.compile(r"-?[0-9]+\.0+")
_UNSAFE_WORDS = frozenset({"unsafe", "harmful", "toxic", "1", "1.0", "true", "yes"})
_SAFE_WORDS = frozenset({"safe", "unharmful", "harmless", "benign", "0", "0.0", "false", "no"})
_REFUSAL_WORDS = frozenset({"refusal", "refused", "true", "1", "1.0", "yes"})
_NO_REFUSAL_WORDS = frozenset({"compliance", "complied", "false", "0", "0.0", "no"})


def word_of(value: Any) -> str:
    """A label as one word, the same in every form of file: JSON's true, a table's 1.0 and a CSV's 1 are `1`."""
    if isinstance(value, bool):
        return str(int(value))
    word = str(value).strip()
    if _NUMBER.fullmatch(word):
        return word.partition(".")[0]
    return {"true": "1", "false": "0"}.get(word.lower(), word)


@dataclass(frozen=True, slots=True)
class Mapped:
    """How a file's columns are read.

    Args:
        columns: column by name, for names of `COLUMNS`; what is left out has its default.
        unsafe: values of the label that mean unsafe, all others meaning safe; empty for the usual words. Compared by
            `word_of`.
    """

    columns: Mapping[str, str]
    unsafe: frozenset[str] = frozenset()

    @classmethod
    def of(cls, columns: Mapping[str, str], unsafe: Iterable[str]) -> Self:
        """With such columns, and labels as they were given."""
        return cls(columns, frozenset(map(word_of, unsafe)))

    def label_of(self, row: Row) -> str:
        """The row's label, as `unsafe` has it."""
        return word_of(self._value(row, "label"))

    def read(self, row: Row, source: RowSource) -> Found:
        """The example of one row, or why it is none.

        Raises:
            ConfigurationError: a column is missing or does not hold what it must; names it, never its value.
        """
        label = self._label(row)
        if label is None:
            return "no label"
        language = self._value(row, "language")
        return [
            LabelledExample(
                str(value) if (value := self._value(row, "id")) is not None else source.name(),
                BENCHMARK,
                self._conversation(row),
                label,
                None if language is None else str(language).lower(),
            )
        ]

    def _value(self, row: Row, name: str) -> Any:
        value = within(row, self.columns.get(name, COLUMNS[name]))
        return None if is_missing(value) else value

    def _wrong(self, name: str, what: str) -> ConfigurationError:
        return ConfigurationError(f"column {self.columns.get(name, COLUMNS[name])!r} ({name}): {what}")

    def _conversation(self, row: Row) -> Conversation:
        messages = turns_in(self._value(row, "messages"))
        if messages is not None:
            return self._turns(messages)
        texts = [self._value(row, "text"), self._value(row, "response")]
        for name, text in zip(("text", "response"), texts, strict=True):
            if text is not None and not isinstance(text, str):
                raise self._wrong(name, "not a text")
        if texts[0] is None:
            raise self._wrong("text", "missing, and there are no messages either")
        roles: tuple[Role, Role] = ("user", "assistant")
        return tuple(
            {"role": role, "content": text} for role, text in zip(roles, texts, strict=True) if text is not None
        )

    def _turns(self, messages: Any) -> Conversation:
        try:
            return read_event({"event_id": BENCHMARK, "messages": messages}).messages
        except EventError:  # what cannot be judged is an example all the same: the figures count it
            pass
        turns = turns_of(messages)
        if isinstance(turns, str):
            raise self._wrong("messages", turns)
        return turns

    def _label(self, row: Row) -> Label | None:
        severity = self._severity(self._value(row, "label"))
        refusal = self._refusal(self._value(row, "refusal"))
        if severity is None and refusal is None:
            return None
        return Label(severity, refusal, self._categories(row))

    def _severity(self, value: Any) -> Severity | None:
        if value is None:
            return None
        if self.unsafe:
            return severity_of(word_of(value) in self.unsafe)
        word = word_of(value).lower()
        if word in _UNSAFE_WORDS or word in _SAFE_WORDS:
            return severity_of(word in _UNSAFE_WORDS)
        if word == Severity.CONTROVERSIAL.lower():
            return Severity.CONTROVERSIAL
        raise self._wrong("label", "neither a severity nor a usual word for safe or unsafe; see --unsafe")

    def _refusal(self, value: Any) -> bool | None:
        if value is None:
            return None
        word = word_of(value).lower()
        if word not in _REFUSAL_WORDS | _NO_REFUSAL_WORDS:
            raise self._wrong("refusal", "neither a truth value nor refusal or compliance")
        return word in _REFUSAL_WORDS

    def _categories(self, row: Row) -> tuple[str, ...]:
        value = self._value(row, "categories")
        if isinstance(value, str):
            return tuple(name for part in value.split(",") if (name := part.strip()) and name != "None")
        if isinstance(value, Mapping):
            return tuple(str(name) for name, flag in value.items() if is_true(flag))
        if value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value)):
            return tuple(value or ())
        raise self._wrong("categories", "neither a list, nor names between commas, nor flags by name")
