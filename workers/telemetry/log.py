"""JSON logs: one object a line, with trace id and span id where a span is known. Never message text (P10).

Call sites name an event and its fields: `log.info(log_event("partitions_assigned", count=3))`. `EventName` is the
closed list of names. A storm of lines from one call site is counted and not printed.
"""

import json
import logging
import sys
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from opentelemetry import trace

from schemas.errors import ModerationError

QUIET = ("kafka", "httpx", "transformers", "urllib3", "asyncio")
PRINTED_IN_A_ROW = 10
WINDOW_S = 10.0
MAX_PLACES = 1_000  # of call sites whose lines are counted

EventName = Literal[
    "application_stopped",
    "ask_answering",
    "ask_keys_not_read",
    "ask_socket_slow",
    "ask_stopped",
    "audit_actors_failed",
    "audit_driver_waited_for",
    "audit_lease_not_exclusive",
    "baseline_not_read",
    "batch_failed",
    "batch_hangs",
    "batch_late",
    "breaker_opened",
    "breaker_reset",
    "commit_failed",
    "commit_on_revoke_failed",
    "credentials_not_sent",
    "dead_letter_value_dropped",
    "dead_man",
    "drained",
    "internal_error",
    "lines_not_printed",
    "model_loaded",
    "offset_of_a_former_life",
    "partition_went_back",
    "partitions_assigned",
    "partitions_lost",
    "partitions_revoked",
    "poll_failed",
    "publish_held",
    "publisher_failed",
    "python_warning",
    "records_given_up",
    "records_removed_unjudged",
    "records_unreadable",
    "remote_call_failed",
    "remote_not_ready",
    "remote_ready",
    "replica_stopped",
    "replicas_wanted",
    "running",
    "shadow_failed",
    "shadow_model_failed",
    "shadow_not_published",
    "signal",
    "start_held",
    "telemetry_not_supported",
    "template_text_unknown",
    "topic_found",
    "topic_missing",
    "topic_recreated",
    "transaction_failed",
    "verdict_drift",
    "verdict_key_dropped",
    "worker_failed",
    "worker_red",
    "worker_stopped",
    "worker_stuck",
]


class log_event:  # noqa: N801 - reads as a verb at the call site
    """A log message: an event name and its fields, rendered only if the record is emitted."""

    __slots__ = ("fields", "name")

    def __init__(self, name: EventName, **fields: object) -> None:
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
            "pid": record.process,
        }
        if isinstance(record.msg, log_event):
            entry |= {"event": record.msg.name, **record.msg.fields}
        else:
            entry["message"] = record.getMessage()
        entry |= getattr(record, "fields", {})  # `extra` of packages that are below this one
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            entry |= {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        if record.exc_info and record.exc_info[1] is not None:
            entry["exception"] = _describe(record.exc_info[1])
        return json.dumps(entry, default=str)  # in ASCII: a terminal would obey what a field may hold


class RepeatsHandler(logging.StreamHandler[Any]):
    """Prints the first lines of a call site in each stretch of time, and at its end how many were not printed.

    Lines of one call site differ only in their fields: a record id, an attempt.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._windows: OrderedDict[tuple[str, int, str], _Window] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, or count it."""
        self._tell(record.created - WINDOW_S)
        name = record.msg.name if isinstance(record.msg, log_event) else ""
        call_site = record.pathname, record.lineno, name
        window = self._windows.get(call_site)
        if window is None:
            window = self._windows[call_site] = _Window(record)
            if len(self._windows) > MAX_PLACES:
                self._tell(self._windows[next(iter(self._windows))].first.created)
        window.lines += 1
        if window.lines <= PRINTED_IN_A_ROW:
            super().emit(record)

    def close(self) -> None:
        """Print the counts that are still open."""
        self._tell(float("inf"))
        super().close()

    def _tell(self, until: float) -> None:
        """End the windows that began until then."""
        while self._windows:
            call_site, window = next(iter(self._windows.items()))
            if window.first.created > until:
                return
            del self._windows[call_site]
            if window.lines > PRINTED_IN_A_ROW:
                first = window.first
                of = first.msg.name if isinstance(first.msg, log_event) else f"{first.module}:{first.lineno}"
                told = log_event("lines_not_printed", of=of, count=window.lines - PRINTED_IN_A_ROW)
                super().emit(logging.LogRecord(first.name, first.levelno, first.pathname, first.lineno, told, (), None))


class _Window:
    __slots__ = ("first", "lines")

    def __init__(self, first: logging.LogRecord) -> None:
        self.first = first
        self.lines = 0


def ids_of(carrier: Mapping[str, str]) -> dict[str, str]:
    """Fields that lead from a line to the span of a W3C carrier; none where it has none."""
    parts = carrier.get("traceparent", "").split("-")
    return {"trace_id": parts[1], "span_id": parts[2]} if len(parts) > 2 else {}


def _describe(error: BaseException) -> str:
    # An unknown library's message may quote its input, so only our own and Kafka's messages are repeated.
    known = isinstance(error, ModerationError) or type(error).__module__.startswith("kafka.")
    message = str(error) if known else type(error).__name__
    return "".join(traceback.format_tb(error.__traceback__)) + message


def configure_logging(level: str) -> None:
    """Send all logs to stderr as JSON; client libraries from WARNING on; warnings by kind and place."""
    handler = RepeatsHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    warnings.showwarning = _log_warning


def _log_warning(
    message: Warning | str,  # noqa: ARG001 - pydantic's quote values (P10)
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """A warning by its kind and place."""
    log = logging.getLogger("py.warnings")
    log.warning(log_event("python_warning", category=category.__name__, place=f"{filename}:{lineno}"))
