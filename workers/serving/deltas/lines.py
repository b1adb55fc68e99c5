"""Turns lines of JSON deltas into lines of JSON token verdicts or errors, in order, many sessions together.

A line is an object: `session` (a name; the empty one by default), `messages` (opens it: the turns so far), `delta`
(what comes next of the answer) and `final` (nothing more will). Does not load the model.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.session import Session
from workers.serving.engine.streaming.verdicts import SessionRefusedError

_FIELDS: Final = {"session": (str, ""), "messages": (list, None), "delta": (str, ""), "final": (bool, False)}
_SHOWN: Final = 256


@dataclass(frozen=True, slots=True)
class OutputLine:
    """A token's verdict, or what was wrong with a line: JSON to write."""

    text: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class _Delta:
    """A line on its way: `number` is its own, from 1."""

    number: int
    name: str
    session: Session
    text: str
    final: bool


@dataclass(frozen=True, slots=True)
class _Wrong:
    """Why a line says nothing to a session; `detail` has no text of a message."""

    reason: str
    detail: str


class DeltaLines:
    """Judges lines with a guard that nobody else uses; a session ends with its `final` line, whatever came of that."""

    def __init__(self, guard: StreamGuard) -> None:
        self._guard = guard
        self._open: dict[str, Session] = {}
        self._number = 0

    def judged(self, lines: Sequence[bytes]) -> Iterator[OutputLine]:
        """What comes of these lines, in their order; those of several sessions are judged together."""
        waiting: list[_Delta] = []
        for line in lines:
            self._number += 1
            fields = _fields(line)
            if isinstance(fields, _Wrong):
                yield from self._pushed(waiting)
                yield self._error(self._number, None, fields)
                continue
            name = fields["session"]
            if any(delta.final and delta.name == name for delta in waiting):
                yield from self._pushed(waiting)  # it ends before this line
            session = self._session(name, fields["messages"])
            if isinstance(session, _Wrong):
                yield from self._pushed(waiting)
                yield self._error(self._number, name, session)
                continue
            waiting.append(_Delta(self._number, name, session, fields["delta"], fields["final"]))
        yield from self._pushed(waiting)

    def _session(self, name: str, messages: list[Any] | None) -> Session | _Wrong:
        if messages is None:
            known = self._open.get(name)
            return known or _Wrong("session_unknown", "no line with messages has opened it, or it has ended")
        if name in self._open:
            return _Wrong("session_open", "field messages is for a session's first line")
        try:
            self._open[name] = self._guard.open(messages)
        except SessionRefusedError as refused:
            return _Wrong(refused.reason, "field messages cannot be opened")
        return self._open[name]

    def _pushed(self, waiting: list[_Delta]) -> Iterator[OutputLine]:
        deltas = waiting.copy()
        waiting.clear()
        lists = self._guard.push([(delta.session, delta.text, delta.final) for delta in deltas])
        for delta, verdicts in zip(deltas, lists, strict=True):
            for verdict in verdicts:
                content = {"session": delta.name[:_SHOWN], **asdict(verdict)}
                yield OutputLine(json.dumps(content, ensure_ascii=False), is_error=False)
            if verdicts.error is not None:
                yield self._error(
                    delta.number, delta.name, _Wrong(verdicts.error, "field delta was not judged to its end")
                )
            if delta.final and self._open.get(delta.name) is delta.session:
                self._guard.close(self._open.pop(delta.name))

    def _error(self, number: int, name: str | None, wrong: _Wrong) -> OutputLine:
        content: dict[str, Any] = {"error": asdict(wrong), "line": number}
        if name is not None:
            content["session"] = name[:_SHOWN]
        return OutputLine(json.dumps(content, ensure_ascii=False), is_error=True)


def _fields(line: bytes) -> dict[str, Any] | _Wrong:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return _Wrong("invalid_json", "the line is not JSON in UTF-8")
    if not isinstance(found, dict):
        return _Wrong("invalid_line", "the line is not an object")
    if unknown := sorted(found.keys() - _FIELDS.keys()):
        return _Wrong("invalid_line", f"field {unknown[0][:_SHOWN]!r} is none of {', '.join(_FIELDS)}")
    for name, (kind, _) in _FIELDS.items():
        if name in found and not isinstance(found[name], kind):
            return _Wrong("invalid_line", f"field {name} is not a {kind.__name__}")
    return {name: found.get(name, default) for name, (_, default) in _FIELDS.items()}
