"""The way of a request: who may ask, how much and how fast; and no refusal says what a body holds (P10)."""

import asyncio
import hashlib
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.guard import GuardReply, GuardRequest
from schemas.errors import AskRefusedError, ConfigurationError, GuardCallFailedError, GuardUnavailableError
from tests.guards.scripted_guard import Gate, ScriptedGuard
from tests.workers.ask.ask_site import SECRET, AskSite, said
from tests.workers.telemetry import recorded_spans
from tests.workers.telemetry.recorded_tracing import RecordedTracing
from workers.ask import exchange
from workers.ask.exchange import MAX_BODY
from workers.ask.keys import KeyRing
from workers.ask.rates import Rate
from workers.telemetry.log import configure_logging

PATH = "/v1/moderations"
SAMPLED, UNSAMPLED = recorded_spans.SAMPLED.decode(), recorded_spans.UNSAMPLED.decode()


@pytest.fixture
def site() -> AskSite:
    return AskSite()


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logging("DEBUG")
    return written


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def keys_file(folder: Path, **fields: Any) -> Path:
    path = folder / "keys.yaml"
    entries = [{"sha256": digest("of games"), "tenant": "games", **fields}, {"sha256": digest("of anyone")}]
    path.write_text(json.dumps({"keys": entries}))
    return path


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_request_keeps_its_id_and_gets_one_where_it_has_none(site: AskSite) -> None:
    own = site.post(PATH, {"input": "a"}, {"x-request-id": "mine-1", "idempotency-key": "again"})
    none, odd = (site.post(PATH, {"input": "a"}, {"x-request-id": value}) for value in ("", "a b\n<script>"))

    assert (own.headers["x-request-id"], own.headers["idempotency-key"]) == ("mine-1", "again")
    assert len({none.headers["x-request-id"], odd.headers["x-request-id"]}) == 2
    assert odd.headers["x-request-id"].isalnum()


def test_another_path_or_method_is_refused_in_json(site: AskSite) -> None:
    absent, wrong = site.post("/v1/moderation", {}), site.post(PATH, method="GET")

    assert (absent.status, absent.json["error"]["code"]) == (404, "not_found")
    assert (wrong.status, wrong.json["error"]["code"]) == (405, "method_not_allowed")


def test_alive_is_not_ready(site: AskSite) -> None:
    assert site.post("/readyz", method="GET").status == 200
    site.ready = False
    assert site.post("/readyz", method="GET").status == 503
    assert site.post("/healthz", method="GET").status == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (f'{{"input": "{SECRET}'.encode(), 400, "invalid_json"),
        (SECRET.encode(), 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b'"' + SECRET.encode() + b'"', 400, "invalid_json"),
        (b"\xff" + SECRET.encode(), 400, "invalid_json"),
        (b'{"input": ' + b"[" * 300 + b"]" * 300 + b"}", 400, "invalid_json"),
        (b'{"input": ' + b"[" * 100_000, 400, "invalid_json"),
        (json.dumps({"input": {SECRET: SECRET}}).encode(), 422, "missing_field"),
        (json.dumps({"input": [{"messages": [{"role": SECRET, "content": "x"}]}]}).encode(), 422, "unsupported_role"),
        (json.dumps({"input": {"event_id": SECRET * 99, "text": "x"}}).encode(), 422, "invalid_value"),
        (json.dumps({"input": f"mumble {SECRET}"}).encode(), 422, "unparsable_output"),
        (json.dumps({"input": SECRET * 200_000}).encode(), 413, "body_too_large"),
    ],
    ids=range(12),
)
def test_p10_no_refusal_repeats_what_was_sent_or_said(
    site: AskSite, logs: io.StringIO, body: bytes, status: int, code: str
) -> None:
    got = site.post(PATH, body)

    assert (got.status, got.json["error"]["code"]) == (status, code)
    assert SECRET not in got.body.decode()
    assert SECRET not in str(got.headers)
    assert SECRET not in logs.getvalue()


def test_p10_a_fault_of_ours_is_told_by_its_kind(logs: io.StringIO) -> None:
    class Broken:
        async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
            raise ArithmeticError(f"{SECRET} {len(requests)}")

    got = AskSite(Broken()).post(PATH, {"input": SECRET})

    assert (got.status, got.json["error"]["message"]) == (500, "internal error: ArithmeticError")
    assert "internal_error" in logs.getvalue()
    assert SECRET not in got.body.decode() + logs.getvalue()


def test_a_body_is_counted_while_it_comes_and_forgotten_once_answered(
    site: AskSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_large = site.post(PATH, parts=[b"x" * 700_000] * 2)
    announced = site.post(PATH, b"", {"content-length": str(MAX_BODY + 1)})
    endless = site.post(PATH, parts=[b"x" * 9_000_000] * 3, never_ends=True)
    fits = site.post(PATH, parts=[b'{"input": "a', b'b"}'])
    monkeypatch.setattr(exchange, "MAX_READING", 3)
    too_many = site.post(PATH, b'{"input": "a"}')

    assert [got.status for got in (too_large, announced, endless, fits, too_many)] == [413, 413, 413, 200, 503]
    assert too_large.headers["connection"] == "close"
    assert too_many.headers["x-should-retry"] == "false"
    assert site.web._reading.held == 0  # noqa: SLF001


def test_a_body_that_does_not_come_or_is_cut_off_has_no_answer(site: AskSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.01)
    slow = site.post(PATH, headers={"content-length": "9"}, parts=[b'{"input":', b""], never_ends=True)

    async def cut() -> int:
        gone = asyncio.Event()
        gone.set()
        return (await site.request(PATH, parts=[b'{"input":'], never_ends=True, leaves=gone)).status

    assert (slow.status, slow.json["error"]["code"]) == (408, "slow_body")
    assert asyncio.run(cut()) == 400
    assert isinstance(site.guard, ScriptedGuard)
    assert site.guard.calls == []
    assert site.web._reading.held == 0  # noqa: SLF001


def test_the_guard_stops_working_for_whoever_has_gone() -> None:
    gate = Gate()
    guard = ScriptedGuard(said, lambda _: gate.passed())
    site = AskSite(guard)

    async def leave() -> None:
        gone = asyncio.Event()
        asked = asyncio.create_task(site.request(PATH, {"input": "a"}, leaves=gone))
        while not guard.in_call:
            await asyncio.sleep(0.001)
        gone.set()
        await asked

    asyncio.run(leave())
    assert guard.in_call == 0


@pytest.mark.parametrize("fault", [GuardUnavailableError("gone"), None])
def test_p5_a_guard_that_is_away_or_slow_is_503_with_a_time_to_come_again(fault: Exception | None) -> None:
    async def away(_: Sequence[GuardRequest]) -> None:
        if fault is not None:
            raise fault
        await asyncio.sleep(60)

    got = AskSite(ScriptedGuard(said, away)).post(PATH, {"input": SECRET}, {"x-request-timeout-seconds": "0.05"})

    assert (got.status, got.json["error"]["code"], got.headers["retry-after"]) == (503, "unavailable", "1")
    assert got.json["error"]["type"] == "server_error"
    assert "x-should-retry" not in got.headers


def test_p6_a_text_that_makes_calls_raise_is_the_only_one_refused() -> None:
    async def poison(requests: Sequence[GuardRequest]) -> None:
        if any("poison" in request.conversation[-1]["content"] for request in requests):
            raise GuardCallFailedError("ValueError")

    site = AskSite(ScriptedGuard(said, poison), delivery={"backoff_initial_s": 0.001, "backoff_max_s": 0.001})
    got = site.post(PATH, {"input": ["a", "poison", "threat"]}, {"prefer": "handling=lenient"})

    assert [result["flagged"] for result in got.json["results"]] == [False, True, True]
    assert got.json["results"][1]["weir"]["error"]["reason"] == "inference_failed"


@pytest.mark.parametrize("value", ["soon", "nan", "-1"])
def test_a_deadline_that_is_no_number_is_refused(site: AskSite, value: str) -> None:
    assert site.post(PATH, {"input": "a"}, {"x-request-timeout-seconds": value}).status == 400


def test_one_that_drains_takes_on_nothing_new(site: AskSite) -> None:
    site.web.is_draining = True
    got = site.post(PATH, {"input": "a"})

    assert (got.status, got.json["error"]["code"], got.headers["connection"]) == (503, "draining", "close")
    assert site.post("/readyz", method="GET").status == 503


# -- who may ask


def test_with_a_keys_file_nobody_else_is_let_in(tmp_path: Path) -> None:
    site = AskSite(keys_file=keys_file(tmp_path))
    refused = [
        site.post(PATH, {"input": "a"}, headers)
        for headers in ({}, bearer("of nobody"), bearer(""), {"authorization": "Basic of games"}, bearer("x" * 9_999))
    ]

    assert {got.status for got in refused} == {401}
    assert len({got.json["error"]["message"] for got in refused}) == 1
    assert refused[0].headers["www-authenticate"] == "Bearer"
    assert site.post(PATH, {"input": "a"}, bearer("of games")).status == 200
    assert site.post("/healthz", method="GET").status == 200


def test_a_key_says_the_tenant_and_the_routes(tmp_path: Path) -> None:
    site = AskSite(keys_file=keys_file(tmp_path, routes=["/v1/rewards"]))
    forbidden = site.post(PATH, {"input": "a"}, bearer("of games"))
    named = site.post(PATH, {"input": {"text": "a", "tenant": "kids"}}, bearer("of anyone"))
    site = AskSite(keys_file=keys_file(tmp_path))
    own = site.post(PATH, {"input": "a"}, bearer("of games"))

    assert (forbidden.status, forbidden.json["error"]["type"]) == (403, "permission_error")
    assert named.json["results"][0]["weir"]["verdict"]["tenant"] == "kids"
    assert own.json["results"][0]["weir"]["verdict"]["tenant"] == "games"


def test_limits_are_told_and_kept_and_refilled() -> None:
    now = [0.0]
    rate = Rate("requests", 60, lambda: now[0])
    for _ in range(60):
        rate.take(1)
    with pytest.raises(AskRefusedError) as refused:
        rate.take(3)
    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limited", 3.0)
    assert (rate.remaining, rate.reset_s) == (0, 60.0)
    now[0] += 3.0
    rate.take(3)
    now[0] += 600.0
    rate.take(1_000)  # more than a minute's worth, where nothing is spent
    assert rate.remaining == 0


def test_too_many_requests_or_tokens_are_429_with_the_usual_headers(tmp_path: Path) -> None:
    site = AskSite(keys_file=keys_file(tmp_path, requests_per_minute=2, tokens_per_minute=1_000))
    first = site.post(PATH, {"input": "a"}, bearer("of games"))
    tokens = site.post(PATH, {"input": ["word " * 600] * 9}, bearer("of games"))
    third = site.post(PATH, {"input": "a"}, bearer("of games"))

    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert 0 < int(first.headers["x-ratelimit-remaining-tokens"]) < 1_000
    assert first.headers["x-ratelimit-reset-requests"] == "30s"
    assert [tokens.status, third.status] == [429, 429]
    assert "tokens" in tokens.json["error"]["message"]
    assert third.json["error"]["type"] == "rate_limit_error"
    assert int(third.headers["retry-after"]) >= 1


def test_a_keys_file_is_read_again_and_a_wrong_one_changes_nothing(tmp_path: Path, logs: io.StringIO) -> None:
    now = [0.0]
    path = keys_file(tmp_path)
    ring = KeyRing(path, lambda: now[0])
    known = ring.caller("bearer of games")
    path.write_text(path.read_text().replace(digest("of anyone"), digest("of another")))
    os.utime(path, ns=(1, 1))
    assert ring.caller("Bearer of anyone")  # not looked at again yet
    now[0] += 2
    assert ring.caller("Bearer of another")
    assert ring.caller("Bearer of games") is known  # with what it has spent
    with pytest.raises(AskRefusedError):
        ring.caller("Bearer of anyone")
    path.write_text(f"keys: [{{sha256: {SECRET}}}]")
    now[0] += 2
    assert ring.caller("Bearer of another")
    assert "ask_keys_not_read" in logs.getvalue()
    assert SECRET not in logs.getvalue()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("keys: []", "keys: Tuple should have at least 1 item"),
        (f"keys: [{{sha256: {SECRET}}}]", "keys.0.sha256: String should match"),
        (f"keys: [{{sha256: '{'0' * 64}'}}, {{sha256: '{'0' * 64}'}}]", "keys: one is given twice"),
        (f"keys: [{{sha256: '{'0' * 64}', route: a}}]", "keys.0.route: Extra inputs"),
        ("- a", "file: Input should be"),
        (f"{SECRET}: [", "not YAML"),
    ],
)
def test_a_wrong_keys_file_is_named_with_its_field_and_without_its_content(
    tmp_path: Path, text: str, named: str
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        KeyRing(path)

    assert f"ask.keys_file={path}: {named}" in str(refused.value)
    assert SECRET not in str(refused.value)


# -- traces


@pytest.fixture
def tracing() -> RecordedTracing:
    return RecordedTracing()


def test_p11_the_caller_s_trace_goes_on_to_the_batch_and_comes_back(tracing: RecordedTracing) -> None:
    carriers = []

    async def note(requests: Sequence[GuardRequest]) -> None:
        carriers.extend(request.carrier for request in requests)

    site = AskSite(ScriptedGuard(said, note), tracing=tracing)
    got = site.post(PATH, {"input": "a"}, {"traceparent": SAMPLED})
    (span,) = tracing.finished()

    assert span.context is not None
    assert span.parent is not None
    assert (span.name, span.kind.name) == (f"POST {PATH}", "SERVER")
    assert f"{span.context.trace_id:032x}-{span.parent.span_id:016x}" == SAMPLED[3:-3]
    assert carriers[0]["traceparent"] == got.headers["traceparent"]
    assert f"{span.context.span_id:016x}" in got.headers["traceparent"]
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": PATH,
        "http.response.status_code": 200,
    }


def test_an_unsampled_parent_decides_and_its_header_is_passed_on(tracing: RecordedTracing) -> None:
    got = AskSite(tracing=tracing).post(PATH, {"input": "a"}, {"traceparent": UNSAMPLED})
    nonsense = AskSite(tracing=tracing).post(PATH, {"input": "a"}, {"traceparent": SECRET})

    assert got.headers["traceparent"] == UNSAMPLED
    assert SECRET not in str(nonsense.headers)
    assert [span.parent for span in tracing.finished()] == [None]  # of the second, which begins a trace
