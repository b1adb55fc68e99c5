"""What the metrics of an HTTP server say after requests whose ends are known."""

from typing import get_args

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from schemas.turns.verdict import TurnEnd
from tests.guards.turn_judges import LetterJudge
from tests.workers.ask.ask_site import AskSite
from tests.workers.telemetry.measured import series_of
from workers.ask.codecs.all_routes import ROUTES
from workers.ask.exchange import STATUS
from workers.ask.turns.http import PATH as TURN_PATH
from workers.ask.turns.http import SOCKET_PATH
from workers.telemetry.metrics.table import ASK_ENDS, ASK_REFUSALS, ASK_ROUTES

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


def test_turns_are_counted_as_long_as_they_are_known_and_by_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    site = AskSite(turns=LetterJudge())
    assert site.door is not None
    frame = {"messages": [{"role": "user", "content": "a"}], "seq": 0, "delta": "b"}
    for turn in range(2):
        site.post("/v1/stream/c", {**frame, "turn": turn, "final": turn == 1})
    site.post("/v1/stream/c", {"seq": 9})

    assert series_of(reader, "moderation.ask.turns") == {(): 2}
    assert series_of(reader, "moderation.ask.sockets") == {(): 0}
    assert series_of(reader, "moderation.ask.turns.under_way.tokens") == {(): 0}
    site.door.stop()
    assert series_of(reader, "moderation.ask.turns.ended") == {
        (("moderation.turn.end", "forgotten"),): 1,
        (("moderation.turn.end", "final"),): 1,
    }
    assert set(series_of(reader, "moderation.ask.duration")) == {
        (("http.route", TURN_PATH),),
        (("error.type", "gap"), ("http.route", TURN_PATH)),
    }


def test_the_table_knows_every_route_and_refusal() -> None:
    assert {*(route.path for route in ROUTES), TURN_PATH, SOCKET_PATH} == set(ASK_ROUTES)
    assert STATUS.keys() - {"method_not_allowed"} == set(ASK_REFUSALS)
    assert set(ASK_ENDS) == {"forgotten", *get_args(TurnEnd)}
