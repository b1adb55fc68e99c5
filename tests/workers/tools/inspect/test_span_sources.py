"""`weir trace` without a collector asks the application itself, whose replicas keep their newest spans."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource

from schemas.errors import ModerationError
from tests.guards.traced_guard import replica_guard
from tests.site import Broker, Site, event
from tests.weir_result import Result
from workers.demo.broker import EmbeddedBroker
from workers.serving import guard_replica
from workers.settings.sections import TelemetrySettings
from workers.telemetry.export import EncodedBatch, RecentSpans, Tracing, start_tracing
from workers.telemetry.span_encoding import EncodedSpans, SpanContext, encode_name, encode_span, new_root
from workers.tools.inspect import replicas

Join = Callable[[Any], None]
COUNT = 20


@pytest.fixture
def join(monkeypatch: pytest.MonkeyPatch) -> Join:
    """Has the application be this one, or one that does not answer."""

    def as_this(application: Any) -> None:
        @contextmanager
        def joined(_timeout_s: float) -> Iterator[Any]:
            if isinstance(application, ModerationError):
                raise application
            yield application

        monkeypatch.setattr(replicas, "joined_application", joined)

    return as_this


class Application:
    """One consumer and one guard replica, and one of each that is gone."""

    def __init__(self, stream: Tracing, guard: Tracing) -> None:
        self._stream = stream
        self._guard = guard

    def ask(self, method: str, traces: list[str]) -> list[Any]:
        return [RuntimeError("gone"), getattr(self._stream, method)(traces)]

    def ask_guards(self, method: str, traces: list[str]) -> list[Any]:
        return [getattr(self._guard, method)(traces), RuntimeError("gone")]


@pytest.fixture(scope="module")
def judged() -> Iterator[tuple[Site, Application]]:
    """Some events and their verdicts, and the application that made them: no exporter is configured."""
    settings = TelemetrySettings(recent_spans_mib=1)
    with pytest.MonkeyPatch.context() as patch, EmbeddedBroker() as running:
        patch.setattr(trace, "set_tracer_provider", lambda _: None)
        stream, guard = (start_tracing(settings, role, {}) for role in ("weir-stream", "weir-guard"))
        patch.setattr(guard_replica, "start_tracing", lambda *_: guard)
        patch.setattr(guard_replica, "configure_logging", lambda _: None)
        site = Site(Broker(running.bootstrap_servers, running.api_version, running.create_topic))
        site.produce([event(f"e{number}", f"hello {number}") for number in range(COUNT)])
        worker = site.start(replica_guard(site), site.settings, stream)
        site.wait_for(COUNT)
        assert worker.stop(20.0)
        for tracing in (stream, guard):
            tracing.flush()
        kafka = site.settings.kafka
        for name, value in {
            "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA__API_VERSION": kafka.api_version or "",
            "TOPICS__EVENTS": site.names[0],
            "TOPICS__VERDICTS": site.names[1],
            "TOPICS__DEAD_LETTERS": site.names[2],
        }.items():
            patch.setenv(f"WEIR_{name}", value)
        yield site, Application(stream, guard)
        site.close()


def test_p11_the_application_s_own_spans_make_the_whole_tree(judged: tuple[Site, Application], join: Join) -> None:
    join(judged[1])
    (entry,) = Result("trace", "e7", "--json").json
    (others,) = Result("trace", "e8", "--json").json

    tree = entry["trace"]
    assert tree["name"].startswith("process ")
    assert {child["name"].split()[0] for child in tree["children"]} >= {"poll", "chat", "parse", "create", "commit"}
    assert "hello" not in json.dumps(entry)
    assert others["trace_id"] != entry["trace_id"]


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize(
    ("application", "said"),
    [
        (Application(Tracing(False, True), Tracing(False, True)), "see telemetry.recent_spans_mib, or give --spans"),
        (ModerationError("Ray on this machine: none runs"), "does not answer (Ray on this machine: none runs)"),
    ],
    ids=["keeps none", "none runs"],
)
def test_what_became_of_an_event_is_told_without_spans_too(join: Join, application: Any, said: str) -> None:
    join(application)
    result = Result("trace", "e7")

    assert (result.code, result.err) == (0, "")
    assert "verdict (Safe, allow)" in result.out
    assert said in result.out


def test_no_more_than_so_many_bytes_are_kept_and_the_newest_of_all() -> None:
    def spans_of(root: SpanContext) -> list[EncodedSpans]:
        span = encode_span(root.encoded(), b"", encode_name("x", trace.SpanKind.INTERNAL), (1, 2), b"")
        return [EncodedSpans(span)]

    batch, roots = EncodedBatch(Resource.get_empty()), [new_root() for _ in range(100)]
    size = len(batch.encode(spans_of(roots[0])))  # type: ignore[arg-type]
    recent = RecentSpans(batch, most_bytes=10 * size + 1)
    for root in roots:
        recent.export(spans_of(root))  # type: ignore[arg-type]
    kept = [bool(recent.about([root.trace.hex()])) for root in roots]

    assert sum(kept) == 10
    assert kept == sorted(kept)
