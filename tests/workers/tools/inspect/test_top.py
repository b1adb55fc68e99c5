"""`weir top`: rates from export to export, quantiles as Prometheus has them, and one picture of a real endpoint."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from schemas.errors import ModerationError
from workers.cli.app import app
from workers.tools.inspect.figures import figures_of, text_of
from workers.tools.inspect.scrapes import Scrapes, quantile

STREAM, GUARD = 'job="weir-stream",instance="a"', 'job="weir-guard",instance="g"'


def exposition(completed: int, *, instance: str = "a", unsafe: int = 0, sent_at: int = 0) -> str:
    """What an endpoint says of one consumer; `sent_at` stands for all that differs from export to export."""
    labels = f'job="weir-stream",instance="{instance}"'
    return f"""\
# HELP moderation_backlog x
# TYPE moderation_backlog gauge
moderation_backlog{{{labels}}} 300
# TYPE moderation_oldest_unfinished_age_seconds gauge
moderation_oldest_unfinished_age_seconds{{{labels}}} 2.5
# TYPE moderation_records_completed_total counter
moderation_records_completed_total{{{labels}}} {completed}
# TYPE moderation_verdicts_total counter
moderation_verdicts_total{{{labels},moderation_severity="Safe",moderation_action="allow"}} {completed - unsafe}
moderation_verdicts_total{{{labels},moderation_severity="Unsafe",moderation_action="block"}} {unsafe}
# TYPE moderation_breaker_open gauge
moderation_breaker_open{{{labels}}} 0
# TYPE process_memory_usage_bytes gauge
process_memory_usage_bytes{{{labels}}} {sent_at}
"""


def watched(*instances: str) -> Scrapes:
    """An endpoint that had been there for a while when it was first seen, nobody knows how long."""
    scrapes = Scrapes()
    scrapes.see("".join(exposition(0, instance=instance, sent_at=-1) for instance in instances or ("a",)), -0.1)
    return scrapes


def test_the_first_change_is_no_rate_because_nobody_knows_since_when() -> None:
    scrapes = Scrapes()
    scrapes.see(exposition(0, sent_at=1), 0)
    scrapes.see(exposition(100, sent_at=2), 0.1)

    assert figures_of(scrapes)["completed_per_s"] is None


def test_a_rate_is_from_export_to_export_however_often_one_looks() -> None:
    scrapes = watched()
    for at in (0, 2, 4):
        scrapes.see(exposition(100, sent_at=1), at)
    assert figures_of(scrapes)["completed_per_s"] is None
    assert not scrapes.has_rates

    for at in (60, 62, 64, 90):
        scrapes.see(exposition(700, sent_at=2), at)
        assert figures_of(scrapes)["completed_per_s"] == 10
        assert figures_of(scrapes)["drains_in_s"] == 30
    assert scrapes.has_rates


def test_a_process_that_stands_still_has_no_rate_after_a_while() -> None:
    scrapes = watched()
    scrapes.see(exposition(100, sent_at=1), 0)
    scrapes.see(exposition(700, sent_at=2), 60)
    scrapes.see(exposition(700, sent_at=2), 140)
    assert figures_of(scrapes)["completed_per_s"] == 10

    scrapes.see(exposition(700, sent_at=2), 160)
    assert figures_of(scrapes)["completed_per_s"] == 0


def test_processes_that_export_at_different_times_add_up_and_one_that_is_gone_is_forgotten() -> None:
    scrapes = watched("a", "b")
    scrapes.see(exposition(0, instance="a") + exposition(0, instance="b"), 0)
    scrapes.see(exposition(100, instance="a", sent_at=1) + exposition(0, instance="b"), 10)
    scrapes.see(exposition(100, instance="a", sent_at=1) + exposition(600, instance="b", sent_at=1), 20)
    both = figures_of(scrapes)
    assert (both["consumers"], both["completed_per_s"], both["backlog"]) == (2, 40, 600)

    scrapes.see(exposition(100, instance="a", sent_at=1), 21)
    alone = figures_of(scrapes)
    assert (alone["consumers"], alone["completed_per_s"], alone["backlog"]) == (1, 10, 300)


def test_a_counter_that_begins_anew_makes_no_negative_rate() -> None:
    scrapes = watched()
    scrapes.see(exposition(700), 0)
    scrapes.see(exposition(5, sent_at=1), 10)

    assert figures_of(scrapes)["completed_per_s"] == 0


def test_the_mix_is_that_of_the_last_export_or_where_nothing_came_of_all_time() -> None:
    scrapes = watched()
    scrapes.see(exposition(100, unsafe=0), 0)
    assert figures_of(scrapes)["verdicts"]["severities"] == {"Safe": 1, "Unsafe": 0}
    assert figures_of(scrapes)["verdicts"]["since"] == "start"

    scrapes.see(exposition(200, unsafe=25, sent_at=1), 10)
    verdicts = figures_of(scrapes)["verdicts"]
    assert verdicts["severities"] == {"Safe": 0.75, "Unsafe": 0.25}
    assert verdicts["actions"] == {"allow": 0.75, "block": 0.25}
    assert verdicts["since"] == "last export"


@pytest.mark.parametrize(
    ("level", "buckets", "expected"),
    [
        (0.5, {"1": 10.0, "2": 20.0, "+Inf": 20.0}, 1.0),
        (0.75, {"1": 10.0, "2": 20.0, "+Inf": 20.0}, 1.5),
        (0.95, {"1": 10.0, "2": 10.0, "+Inf": 20.0}, 2.0),
        (0.95, {"1": 0.0, "+Inf": 0.0}, None),
        (0.95, {}, None),
    ],
)
def test_quantiles_are_interpolated_as_prometheus_does(
    level: float, buckets: dict[str, float], expected: float | None
) -> None:
    assert quantile(level, buckets) == expected


def test_the_picture_is_plain_text_that_fits_a_terminal_with_figures_or_dashes() -> None:
    scrapes = Scrapes()
    empty = text_of(figures_of(scrapes))
    scrapes = watched()
    scrapes.see(exposition(100), 0)
    scrapes.see(exposition(100_000, unsafe=9, sent_at=2**20), 10)
    full = text_of(figures_of(scrapes))

    for picture in (empty, full):
        assert picture.isascii()
        assert max(map(len, picture.splitlines())) <= 100
        assert len(picture.splitlines()) == 16
    assert "backlog     300, oldest 2.5 s, drains in 30 ms" in full
    assert "breaker     closed" in full
    assert "breaker     -" in empty
    assert "asks        answered -/s, p95 -, - prompts waiting, refused none" in empty


def test_what_is_asked_over_http_has_a_line() -> None:
    def asked(count: int) -> str:
        name, job = "moderation_ask_duration_seconds", 'job="weir-ask",instance="h"'
        refused = f'{job},error_type="overloaded"'
        return f"""\
# TYPE {name} histogram
{name}_bucket{{{job},le="0.1"}} {count}
{name}_bucket{{{job},le="+Inf"}} {count}
{name}_sum{{{job}}} {count}
{name}_count{{{job}}} {count}
{name}_bucket{{{refused},le="0.1"}} {3 * count}
{name}_bucket{{{refused},le="+Inf"}} {3 * count}
{name}_sum{{{refused}}} {count}
{name}_count{{{refused}}} {3 * count}
# TYPE moderation_ask_queue_size gauge
moderation_ask_queue_size{{{GUARD}}} {count % 7}
"""

    scrapes = Scrapes()
    for at, count in ((-1, 0), (0, 10), (10, 210)):
        scrapes.see(asked(count), at)

    assert "asks        answered 20/s, p95 95 ms, 0 prompts waiting, refused overloaded 60/s" in text_of(
        figures_of(scrapes)
    )


class Endpoint(BaseHTTPRequestHandler):
    """Says of one consumer what it has completed: ten more each time."""

    looks = 0

    def do_GET(self) -> None:
        Endpoint.looks += 1
        body = exposition(10 * Endpoint.looks, sent_at=Endpoint.looks).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()


def test_once_waits_for_rates_and_prints_one_picture(url: str) -> None:
    shown = CliRunner().invoke(app, ["top", "--once", "--url", url])

    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith(f"weir top   {url}")
    assert "completed -/s" not in shown.stdout
    assert shown.stdout.count("backlog") == 1


def test_once_as_json_gives_the_same_figures(url: str) -> None:
    shown = CliRunner().invoke(app, ["top", "--once", "--json", "--url", url])
    figures = json.loads(shown.stdout)

    assert figures["backlog"] == 300
    assert figures["completed_per_s"] > 0
    assert figures["batches"]["per_s"] is None


def test_an_endpoint_that_is_not_there_is_one_line_and_an_exit_code() -> None:
    shown = CliRunner().invoke(app, ["top", "--once", "--url", "http://127.0.0.1:1/metrics"])

    assert shown.exit_code == 2
    assert len(shown.stderr.splitlines()) == 1
    assert "http://127.0.0.1:1/metrics" in shown.stderr


@pytest.mark.parametrize("text", ["<html>no metrics</html>", "moderation_backlog{ 3"])
def test_what_is_no_metrics_is_refused(text: str) -> None:
    with pytest.raises(ModerationError):
        Scrapes().see(text, 0)


def test_an_address_that_is_no_http_is_refused() -> None:
    shown = CliRunner().invoke(app, ["top", "--once", "--url", "file:///etc/hostname"])

    assert shown.exit_code == 2
    assert "not an http address" in shown.stderr
