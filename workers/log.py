"""JSON logs: one object a line, with trace id and span id where a span is active. Never message text (P10).

Call sites name an event and its fields: `log.info(event("partitions_assigned", count=3))`.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

from opentelemetry import trace

from schemas.errors import ModerationError

QUIET = ("kafka", "httpx", "transformers", "urllib3", "asyncio")


class event:  # noqa: N801 - reads as a verb at the call site
    """A log message: an event name and its fields, rendered only if the record is emitted."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, **fields: object) -> None:
        self.name = name
        self.fields = fields

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.fields.items())])


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line break."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
        }
        if isinstance(record.msg, event):
            entry |= {"event": record.msg.name, **record.msg.fields}
        else:
            entry["message"] = record.getMessage()
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            entry |= {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        if record.exc_info and record.exc_info[1] is not None:
            entry["exception"] = _describe(record.exc_info[1])
        return json.dumps(entry, default=str, ensure_ascii=False)


def _describe(error: BaseException) -> str:
    # An unknown library's message may quote its input, so only our own and Kafka's messages are repeated.
    known = isinstance(error, ModerationError) or type(error).__module__.startswith("kafka.")
    message = str(error) if known else type(error).__name__
    return "".join(traceback.format_tb(error.__traceback__)) + message


def configure_logging(level: str) -> None:
    """Send all logs to stderr as JSON; client libraries from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
