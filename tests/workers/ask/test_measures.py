"""What the metrics of an HTTP server say after requests whose ends are known."""

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tests.workers.ask.ask_site import AskSite
from tests.workers.telemetry.measured import series_of
from workers.ask.codecs.all_routes import ROUTES
from workers.ask.exchange import STATUS
from workers.telemetry.metrics.table import ASK_REFUSALS, ASK_ROUTES

PATH = "/v1/moderations"


def test_requests_and_items_are_counted_by_what_became_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    site = AskSite()
    for given in (["hello", ""], ["a threat", "mumble"], 7):
        site.post(PATH, {"input": given})

    route = ("http.route", PATH)
    assert set(series_of(reader, "moderation.ask.duration")) == {
        (route,),
        (("error.type", "unjudgeable"), route),
        (("error.type", "invalid_request"), route),
    }
    assert series_of(reader, "moderation.ask.items") == {
        (("moderation.ask.result", "verdict"),): 2,
        (("moderation.ask.result", "skipped"),): 1,
        (("moderation.ask.result", "failed"),): 1,
    }
    assert series_of(reader, "moderation.ask.under_way.tokens") == {(): 0}


def test_the_table_knows_every_route_and_refusal() -> None:
    assert {route.path for route in ROUTES} == set(ASK_ROUTES)
    assert STATUS.keys() - {"not_found", "method_not_allowed"} == set(ASK_REFUSALS)
