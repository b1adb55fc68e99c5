"""Turns lines of JSON events into lines of JSON verdicts or errors, in order and in bounded memory.

Needs neither Kafka nor Ray. A line counts as the record `stdin-0-N`, where N is its number from 1. Does not load the
model.
"""

import json
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipelines.judging import Judge
from pipelines.lanes.batch import judge_batch
from pipelines.moderation import Moderation, Outcome
from schemas.dead_letter import DeadLetter
from schemas.reasons import NOTHING_TO_JUDGE
from schemas.record import SourceRecord

SOURCE_TOPIC = "stdin"
MAX_EVENT_ID = 256
_WAITING_CHUNKS = 2


@dataclass(frozen=True, slots=True)
class OutputLine:
    """One line's outcome. `text` is the JSON to write."""

    text: str
    is_error: bool


def read_lines(stream: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """The lines without their ends; a line that is too large is cut right after the limit."""
    while line := stream.readline(max_bytes + 2):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(max_bytes + 2)
        yield line.rstrip(b"\r\n")


def in_chunks(lines: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    """The items that are waiting, up to `size`: a slow pipe gets its answers at once, a fast one full chunks."""
    waiting: queue.Queue[bytes | BaseException | None] = queue.Queue(size * _WAITING_CHUNKS)

    def read() -> None:
        try:
            for line in lines:
                waiting.put(line)
        except BaseException as error:  # noqa: BLE001 - raised again by the reader of the queue
            waiting.put(error)
        else:
            waiting.put(None)

    threading.Thread(target=read, name="weir-lines", daemon=True).start()
    while True:
        chunk: list[bytes] = []
        while not chunk or (len(chunk) < size and not waiting.empty()):
            item = waiting.get()
            if isinstance(item, bytes):
                chunk.append(item)
                continue
            if chunk:
                yield chunk
            if item is not None:
                raise item
            return
        yield chunk


async def judge_lines(
    chunks: Iterator[Sequence[bytes]],
    moderation: Moderation,
    judge: Judge,
    advanced: Callable[[int], None] = lambda _count: None,
    *,
    skips: bool = True,
) -> AsyncIterator[list[OutputLine]]:
    """One outcome for each line, chunk by chunk.

    Args:
        chunks: lines.
        moderation: what is decided before and after the model.
        judge: gets answers from the guard.
        advanced: called with the bytes of each chunk that is done.
        skips: a line with nothing to judge is no error.
    """
    number = 0
    for chunk in chunks:
        records = []
        for line in chunk:
            number += 1
            records.append(SourceRecord(SOURCE_TOPIC, 0, number, 0, None, line, ()))
        rulings = await judge_batch(records, moderation, judge)
        yield [
            _output_line(record, ruling.outcome, skips=skips) for record, ruling in zip(records, rulings, strict=True)
        ]
        advanced(sum(len(line) + 1 for line in chunk))


def _output_line(record: SourceRecord, outcome: Outcome, *, skips: bool) -> OutputLine:
    if not isinstance(outcome, DeadLetter):
        return OutputLine(outcome.to_bytes().decode(), is_error=False)
    is_error = not skips or outcome.reason not in NOTHING_TO_JUDGE
    said = {"reason": outcome.reason, "stage": outcome.stage, "detail": outcome.detail}
    entry: dict[str, Any] = {
        "error" if is_error else "skipped": said,
        "event_id": _event_id(record.value or b""),
        "line": record.offset,
    }
    if entry["event_id"] is None:
        del entry["event_id"]
    return OutputLine(json.dumps(entry), is_error=is_error)


def _event_id(line: bytes) -> str | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    event_id = event.get("event_id") if isinstance(event, dict) else None
    return event_id if isinstance(event_id, str) and len(event_id) <= MAX_EVENT_ID else None
