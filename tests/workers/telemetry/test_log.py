"""Logs: one JSON object a line, the active trace's ids, and no text that an unknown library may have quoted (P10)."""

import io
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import pytest
from kafka.errors import KafkaTimeoutError
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from pydantic import BaseModel

from schemas.errors import ConfigurationError, GuardUnavailableError
from workers.telemetry.log import (
    PRINTED_IN_A_ROW,
    QUIET,
    WINDOW_S,
    EventName,
    JsonFormatter,
    RepeatsHandler,
    configure_logging,
    ids_of,
    log_event,
)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class Age(BaseModel):
    """Something that pydantic refuses, quoting what it was given."""

    years: int


def line(message: object, error: BaseException | None = None, *arguments: object) -> dict[str, Any]:
    exc_info: ExcInfo | None = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("weir.test", logging.INFO, "f.py", 1, message, arguments, exc_info)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    read: dict[str, Any] = json.loads(text)
    return read


def test_an_event_is_one_json_object_with_its_fields() -> None:
    written = line(log_event("partitions_assigned", count=3, topic="a\nb"))

    assert written.pop("time").endswith("+00:00")
    assert written == {
        "level": "INFO",
        "logger": "weir.test",
        "pid": os.getpid(),
        "event": "partitions_assigned",
        "count": 3,
        "topic": "a\nb",
    }


def test_a_package_below_this_one_names_its_event_in_extra() -> None:
    line = logging.makeLogRecord({"msg": "internal error", "fields": {"event": "internal_error", "record_id": "t-0-1"}})
    entry = json.loads(JsonFormatter().format(line))

    assert (entry["message"], entry["event"], entry["record_id"]) == ("internal error", "internal_error", "t-0-1")


def test_a_library_s_message_is_rendered() -> None:
    assert line("waited %s s", None, 3)["message"] == "waited 3 s"


def test_a_field_that_json_does_not_know_is_written_as_text() -> None:
    assert line(log_event("x", path={1}))["path"] == "{1}"


def test_p11_a_line_inside_a_span_carries_its_ids() -> None:
    with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
        inside = line(log_event("x"))
    context = span.get_span_context()

    assert (inside["trace_id"], inside["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert {"trace_id", "span_id"}.isdisjoint(line(log_event("x")))


def test_p11_ids_are_written_in_full_width() -> None:
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(span):
        inside = line(log_event("x"))

    assert (inside["trace_id"], inside["span_id"]) == (f"{'abc':0>32}", f"{'def':0>16}")


def caught(raise_it: Any) -> BaseException:
    with pytest.raises(Exception) as info:  # noqa: PT011 - any: its text is what is looked at
        raise_it()
    return info.value


def fail_of_ours() -> None:
    raise GuardUnavailableError("no answer within 3 s")


def fail_of_kafka() -> None:
    raise KafkaTimeoutError("no metadata")


def fail_of_pydantic() -> None:
    Age(years="private words")


def fail_of_json() -> None:
    json.loads("{" + "private words")


def fail_of_codec() -> None:
    "private words \ud800".encode()


def fail_of_ours_from_theirs() -> None:
    try:
        fail_of_pydantic()
    except ValueError as error:
        raise ConfigurationError("a value is wrong") from error


@pytest.mark.parametrize("fail", [fail_of_pydantic, fail_of_json, fail_of_codec])
def test_p10_the_text_of_an_unknown_library_s_error_is_not_written(fail: Any) -> None:
    error = caught(fail)
    written = line(log_event("failed"), error)["exception"]

    # Not in the source line either: the traceback quotes the code, so the words are looked for in the last line.
    assert written.splitlines()[-1] == type(error).__name__
    assert str(error) not in written


def test_p10_the_cause_of_our_own_error_is_not_written() -> None:
    written = line(log_event("failed"), caught(fail_of_ours_from_theirs))["exception"]

    assert written.splitlines()[-1] == "a value is wrong"
    assert "input_value" not in written


@pytest.mark.parametrize(("fail", "text"), [(fail_of_ours, "no answer within 3 s"), (fail_of_kafka, "no metadata")])
def test_errors_of_ours_and_of_kafka_say_what_they_say_and_where(fail: Any, text: str) -> None:
    written = line(log_event("failed"), caught(fail))["exception"]

    assert text in written.splitlines()[-1]
    assert fail.__name__ in written


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, shown = root.handlers[:], root.level, warnings.showwarning
    levels = {name: logging.getLogger(name).level for name in QUIET}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    warnings.showwarning = shown
    for name, quiet in levels.items():
        logging.getLogger(name).setLevel(quiet)


@pytest.mark.usefixtures("_logging_restored")
def test_all_logs_go_to_stderr_as_json_and_client_libraries_only_from_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("DEBUG")
    logging.getLogger("weir").debug(log_event("ours"))
    logging.getLogger("kafka.conn").info("theirs")
    logging.getLogger("kafka.conn").warning("theirs, loud")
    captured = capsys.readouterr()

    assert captured.out == ""
    read = [json.loads(text) for text in captured.err.splitlines()]
    assert [entry.get("event") or entry["message"] for entry in read] == ["ours", "theirs, loud"]
    assert [handler.stream for handler in logging.getLogger().handlers] == [sys.stderr]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_logging_restored")
def test_a_quieter_level_holds_for_client_libraries_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("ERROR")
    logging.getLogger("kafka.conn").warning("theirs")
    logging.getLogger("weir").warning(log_event("ours"))

    assert capsys.readouterr().err == ""


def test_the_list_of_event_names_is_closed_and_each_is_used() -> None:
    root = Path(__file__).parents[3]
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("workers", "pipelines")
        for path in root.glob(f"{folder}/**/*.py")
    ]
    used = {name for source in sources for name in re.findall(r'(?:\blog_event\(\s*|"event": )"([^"]*)"', source)}
    named = {name for source in sources for name in re.findall(r'"([a-z_]+)" if alarm.opens else "([a-z_]+)"', source)}

    assert set(get_args(EventName)) == used | {name for pair in named for name in pair}
    assert list(get_args(EventName)) == sorted(get_args(EventName))


class Storm:
    """A handler, records of two call sites at times that the test gives, and what was printed."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        self.handler = RepeatsHandler(self.out)
        self.handler.setFormatter(JsonFormatter())

    def line(self, at: float, lineno: int = 1, name: Any = "publish_held") -> None:
        record = logging.LogRecord(
            "weir", logging.WARNING, "f.py", lineno, log_event(name, record_id=f"r-{at}"), (), None
        )
        record.created = at
        self.handler.emit(record)

    def printed(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.out.getvalue().splitlines()]


def test_a_storm_of_lines_from_one_place_is_counted_and_not_printed() -> None:
    storm = Storm()
    for number in range(1000):
        storm.line(number / 1000)
    storm.line(1.0, lineno=2, name="worker_red")
    assert [line["event"] for line in storm.printed()] == ["publish_held"] * PRINTED_IN_A_ROW + ["worker_red"]

    storm.line(WINDOW_S + 1.5, lineno=2, name="worker_red")
    summary, again = storm.printed()[-2:]
    assert (summary["event"], summary["of"], summary["count"]) == ("lines_not_printed", "publish_held", 990)
    assert (summary["level"], again["event"]) == ("WARNING", "worker_red")


def test_a_place_is_printed_again_once_its_window_is_over_and_the_count_is_told_at_the_end() -> None:
    storm = Storm()
    for at in (0.0, WINDOW_S + 1):
        for _ in range(PRINTED_IN_A_ROW + 2):
            storm.line(at)
    storm.handler.close()
    counts = [line["count"] for line in storm.printed() if line["event"] == "lines_not_printed"]

    assert counts == [2, 2]
    assert sum(line["event"] == "publish_held" for line in storm.printed()) == 2 * PRINTED_IN_A_ROW


def test_the_memory_of_a_storm_from_everywhere_is_bounded() -> None:
    storm = Storm()
    for lineno in range(3_000):
        storm.line(1.0, lineno=lineno)

    assert len(storm.handler._windows) <= 1_000  # noqa: SLF001
    assert len(storm.printed()) == 3_000


def test_p11_a_line_about_a_record_leads_to_its_span() -> None:
    carrier = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}

    assert ids_of(carrier) == {"trace_id": "ab" * 16, "span_id": "cd" * 8}
    assert ids_of({}) == {}


@pytest.mark.usefixtures("_logging_restored")
@pytest.mark.filterwarnings("always")
def test_p10_a_warning_is_told_by_kind_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    warnings.warn("private words", UserWarning, stacklevel=1)
    (written,) = [json.loads(text) for text in capsys.readouterr().err.splitlines()]

    assert (written["event"], written["category"]) == ("python_warning", "UserWarning")
    assert "test_log.py" in written["place"]
    assert "private" not in str(written)
