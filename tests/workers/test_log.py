"""Logs: one JSON object a line, the active trace's ids, and no text that an unknown library may have quoted (P10)."""

import json
import logging
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from pydantic import BaseModel

from schemas.errors import ConfigurationError, GuardUnavailableError
from workers.log import QUIET, JsonFormatter, configure_logging, event

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
    written = line(event("partitions_assigned", count=3, topic="a\nb"))

    assert written.pop("time").endswith("+00:00")
    assert written == {
        "level": "INFO",
        "logger": "weir.test",
        "event": "partitions_assigned",
        "count": 3,
        "topic": "a\nb",
    }


def test_a_library_s_message_is_rendered() -> None:
    assert line("waited %s s", None, 3)["message"] == "waited 3 s"


def test_a_field_that_json_does_not_know_is_written_as_text() -> None:
    assert line(event("x", path={1}))["path"] == "{1}"


def test_p11_a_line_inside_a_span_carries_its_ids() -> None:
    with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
        inside = line(event("x"))
    context = span.get_span_context()

    assert (inside["trace_id"], inside["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert {"trace_id", "span_id"}.isdisjoint(line(event("x")))


def test_p11_ids_are_written_in_full_width() -> None:
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(span):
        inside = line(event("x"))

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
    written = line(event("failed"), error)["exception"]

    # Not in the source line either: the traceback quotes the code, so the words are looked for in the last line.
    assert written.splitlines()[-1] == type(error).__name__
    assert str(error) not in written


def test_p10_the_cause_of_our_own_error_is_not_written() -> None:
    written = line(event("failed"), caught(fail_of_ours_from_theirs))["exception"]

    assert written.splitlines()[-1] == "a value is wrong"
    assert "input_value" not in written


@pytest.mark.parametrize(("fail", "text"), [(fail_of_ours, "no answer within 3 s"), (fail_of_kafka, "no metadata")])
def test_errors_of_ours_and_of_kafka_say_what_they_say_and_where(fail: Any, text: str) -> None:
    written = line(event("failed"), caught(fail))["exception"]

    assert text in written.splitlines()[-1]
    assert fail.__name__ in written


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in QUIET}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, quiet in levels.items():
        logging.getLogger(name).setLevel(quiet)


@pytest.mark.usefixtures("_logging_restored")
def test_all_logs_go_to_stderr_as_json_and_client_libraries_only_from_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("DEBUG")
    logging.getLogger("weir").debug(event("ours"))
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
    logging.getLogger("weir").warning(event("ours"))

    assert capsys.readouterr().err == ""
