"""A turn over HTTP: frames that come once, again, too early, cut otherwise, from others; a guard that is away."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.turns.port import TurnPush
from schemas.errors import GuardCallFailedError, GuardUnavailableError
from tests.guards.turn_judges import LetterJudge
from tests.workers.ask.asgi import Got
from tests.workers.ask.ask_site import AskSite
from tests.workers.telemetry.recorded_spans import SAMPLED
from tests.workers.telemetry.recorded_tracing import RecordedTracing

PATH = "/v1/stream/c1"
ASKED = [{"role": "user", "content": "hello?"}]
SECRET = "kookaburra"


class TurnSite(AskSite):
    """An application with turns; one loop for all requests of a test."""

    def __init__(self, judge: LetterJudge | None = None, **settings: Any) -> None:
        self.judge = judge or LetterJudge()
        super().__init__(turns=self.judge, **settings)

    async def frame(self, body: object, path: str = PATH, **options: Any) -> Got:
        return await self.request(path, body, **options)

    async def read(self, path: str = PATH, query: bytes = b"", **options: Any) -> Got:
        return await self.request(path, method="GET", query=query, **options)

    def run(self, steps: Callable[["TurnSite"], Coroutine[Any, Any, None]]) -> None:
        async def within() -> None:
            try:
                await steps(self)
            finally:
                assert self.door is not None
                self.door.stop()

        asyncio.run(within())


def first(delta: str = "", **more: Any) -> dict[str, Any]:
    return {"messages": ASKED, "seq": 0, "delta": delta, **more}


def said(got: Got) -> list[tuple[str, int]]:
    return [(token["role"], token["index"]) for token in got.json["tokens"]]


def letters(start: int, end: int) -> list[tuple[str, int]]:
    return [("assistant", index) for index in range(start, end)]


def test_each_frame_is_answered_with_what_is_new_and_the_last_one_ends_the_turn(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("{name: p, version: '1', category_actions: {Violent: {Unsafe: review}}}")

    async def steps(site: TurnSite) -> None:
        one = await site.frame(first("ab"))
        two = await site.frame({"seq": 1, "delta": "c!", "offset": 2})
        end = await site.frame({"seq": 2, "delta": "d", "final": True})

        assert [got.status for got in (one, two, end)] == [200] * 3
        assert said(one) == [("user", 6), *letters(0, 2)]
        assert (said(two), said(end)) == (letters(2, 4), letters(4, 5))
        assert [got.json["raised"] for got in (one, two, end)] == [False, True, True]
        assert (one.json["seq"], one.json["offset"], one.json["after"]) == (1, 2, 3)
        assert [(verdict["end"], verdict["index"]) for verdict in end.json["verdicts"]] == [(None, 3), ("final", 4)]
        assert (end.json["end"], end.json["provenance"]["model"]) == ("final", "letters")
        assert [verdict["action"] for verdict in end.json["verdicts"]] == ["review", "review"]

    TurnSite(policy={"file": policy}).run(steps)


def test_another_model_that_goes_on_judges_all_and_takes_no_raise_back() -> None:
    async def steps(site: TurnSite) -> None:
        await site.frame(first("ab"))
        before = await site.frame({"seq": 1, "delta": "!"})
        site.judge.roll_out()
        site.judge.unsafe = "#"
        after = await site.frame({"seq": 2, "delta": "c", "after": 3})
        end = await site.frame({"seq": 3, "delta": "d", "final": True})

        assert [got.json["provenance"]["revision"] for got in (before, after, end)] == ["1", "2", "2"]
        assert said(after) == letters(2, 4), "from where its sender says that it has them"
        assert [token["risk"] for token in after.json["tokens"]] == ["Safe"] * 2, "none of the one before"
        assert [got.json["raised"] for got in (before, after, end)] == [True, True, True]
        verdicts = [(one["provenance"]["revision"], one["raised"], one["end"]) for one in end.json["verdicts"]]
        assert verdicts == [("1", True, None), ("2", False, "final")]

    TurnSite().run(steps)


def test_a_frame_that_comes_again_is_answered_again_and_judged_once() -> None:
    async def steps(site: TurnSite) -> None:
        await site.frame(first("ab"))
        one = await site.frame({"seq": 1, "delta": "cd"})
        again = await site.frame({"seq": 1, "delta": "cd"})
        assert one.json == again.json
        assert len(site.judge.calls) == 2
        end = {"seq": 2, "delta": "!", "final": True}
        assert (await site.frame(end)).json == (await site.frame(end)).json
        assert len(site.judge.calls) == 3

    TurnSite().run(steps)


def test_a_frame_without_a_number_is_placed_by_its_offset_and_may_overlap() -> None:
    async def steps(site: TurnSite) -> None:
        await site.frame({"messages": ASKED, "offset": 0, "delta": "abc"})
        more = await site.frame({"offset": 1, "delta": "bcd"})
        whole = await site.frame({"messages": ASKED, "offset": 0, "delta": "abcde", "final": True})
        again = await site.frame({"offset": 3, "delta": "de", "final": True})
        assert [got.status for got in (more, whole, again)] == [200] * 3
        assert (said(more), said(whole)) == (letters(3, 4), letters(4, 5))
        assert (more.json["offset"], whole.json["end"], again.json["end"]) == (4, "final", "final")
        late = await site.frame({"offset": 5, "delta": "f"})
        assert (late.status, late.json["error"]["code"]) == (409, "delta_after_final")

    TurnSite().run(steps)


@pytest.mark.parametrize(
    ("frame", "status", "code"),
    [
        ({"seq": 3, "delta": SECRET}, 409, "gap"),
        ({"offset": 9, "delta": SECRET}, 409, "gap"),
        ({"seq": 0, "messages": ASKED, "delta": SECRET}, 409, "seq_conflict"),
        ({"seq": 1, "offset": 1, "delta": SECRET}, 409, "offset_conflict"),
        ({"offset": 1, "delta": SECRET}, 409, "offset_conflict"),
        ({"offset": 0, "messages": [{"role": "user", "content": SECRET}], "delta": "ab"}, 409, "offset_conflict"),
        ({"seq": 1, "role": "user", "delta": SECRET}, 409, "role_conflict"),
        ({"seq": 1, "turn": 7, "delta": SECRET}, 409, "unknown_turn"),
        ({"seq": 0, "turn": 7, "delta": SECRET}, 400, "invalid_request"),
        ({"delta": SECRET}, 400, "invalid_request"),
        ({"seq": 1, "delta": 7}, 400, "invalid_request"),
        ({"seq": 1, "finally": SECRET}, 400, "invalid_request"),
        ({"seq": 1, "delta": SECRET, "messages": ASKED}, 400, "invalid_request"),
        ({"seq": True, "delta": SECRET}, 400, "invalid_request"),
        ({"seq": 1, "delta": SECRET, "after": -1}, 400, "invalid_request"),
        ({"seq": 1, "delta": SECRET, "conversation_id": "other"}, 400, "invalid_request"),
        (b"{", 400, "invalid_json"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does_and_changes_nothing(frame: Any, status: int, code: str) -> None:
    async def steps(site: TurnSite) -> None:
        await site.frame(first("ab"))
        refused = await site.frame(frame)
        assert (refused.status, refused.json["error"]["code"]) == (status, code)
        assert SECRET.encode() not in refused.body
        if status == 409:
            expected = refused.json["error"]["expected"]
            known = code != "unknown_turn"
            assert (expected["seq"], expected["offset"]) == ((1, 2) if known else (0, 0))
        assert said(await site.frame({"seq": 1, "delta": "c"})) == letters(2, 3)

    TurnSite().run(steps)


def test_half_a_character_is_no_text() -> None:
    async def steps(site: TurnSite) -> None:
        refused = await site.frame(b'{"seq": 0, "messages": [{"role": "user", "content": "a"}], "delta": "\\ud83d"}')
        assert (refused.status, refused.json["error"]["message"]) == (400, "delta: holds half a character")

    TurnSite().run(steps)


def test_what_is_not_acknowledged_is_said_again_even_where_it_is_not_kept_any_more() -> None:
    async def steps(site: TurnSite) -> None:
        await site.frame(first("ab"))
        await site.frame({"seq": 1, "delta": "cd"})
        await site.frame({"seq": 2, "delta": "ef"})  # has "abcd"'s tokens
        kept = await site.frame({"seq": 2, "delta": "ef"})
        assert said(kept) == letters(4, 6)
        calls = len(site.judge.calls)
        lost = await site.frame({"seq": 2, "delta": "ef", "after": 2})
        assert said(lost) == letters(1, 6)
        assert len(site.judge.calls) == calls + 1
        assert said(await site.frame({"seq": 3, "delta": "g", "after": 4})) == letters(3, 7)

    TurnSite().run(steps)


def test_a_turn_that_the_guard_forgot_is_given_to_it_again() -> None:
    async def steps(site: TurnSite) -> None:
        await site.frame(first("ab"))
        site.judge.forget()
        assert said(await site.frame({"seq": 1, "delta": "c"})) == letters(2, 3)
        assert site.judge.calls[-1][0].text == "abc"

    TurnSite().run(steps)


def test_a_turn_that_the_server_forgot_is_begun_again_with_its_text() -> None:
    async def steps(site: TurnSite) -> None:
        one = await site.frame(first("ab!", offset=0))
        assert site.door is not None
        site.door.stop()
        unknown = await site.frame({"seq": 1, "delta": "c"})
        assert unknown.json["error"]["expected"] == {"seq": 0, "offset": 0}
        again = await site.frame(first("ab!c", after=one.json["after"]))
        assert said(again) == letters(3, 4)
        assert again.json["verdicts"] == one.json["verdicts"]

    TurnSite().run(steps)


def test_a_users_turn_is_judged_when_it_is_whole() -> None:
    async def steps(site: TurnSite) -> None:
        part = await site.frame({"seq": 0, "role": "user", "delta": "hel"})
        whole = await site.frame({"seq": 1, "role": "user", "delta": "lo!", "final": True})
        assert (said(part), said(whole)) == ([], [("user", 6)])
        assert (whole.json["raised"], whole.json["end"]) == (True, "final")

    TurnSite().run(steps)


def test_what_is_known_of_a_turn_can_be_read() -> None:
    async def steps(site: TurnSite) -> None:
        await site.frame(first("ab", turn=3))
        known = await site.read(query=b"turn=3&after=2")
        assert (known.status, known.json["seq"], said(known)) == (200, 1, letters(1, 2))
        assert (await site.read()).status == 404
        assert (await site.read(query=b"turn=x")).json["error"]["param"] == "turn"

    TurnSite().run(steps)


def keys(folder: Path, **more: Any) -> Path:
    path = folder / "keys.yaml"
    entries = [
        {"sha256": hashlib.sha256(name.encode()).hexdigest(), "tenant": name, **more} for name in ("games", "news")
    ]
    path.write_text(yaml.safe_dump({"keys": entries}))
    return path


def of(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}"}


def test_another_tenants_turn_is_not_known(tmp_path: Path) -> None:
    async def steps(site: TurnSite) -> None:
        assert (await site.frame(first("ab"))).status == 401
        await site.frame(first("ab"), headers=of("games"))
        foreign = await site.frame({"seq": 1, "delta": "c"}, headers=of("news"))
        assert (foreign.status, foreign.json["error"]["code"]) == (409, "unknown_turn")
        assert (await site.read(headers=of("news"))).status == 404
        assert (await site.read(headers=of("news"), query=b"tenant=games")).status == 400
        named = await site.frame({"seq": 1, "delta": "c", "tenant": "games"}, headers=of("news"))
        assert (named.status, named.json["error"]["param"]) == (400, "tenant")
        own = await site.frame(first("xy"), headers=of("news"))
        assert (own.status, own.json["tenant"], said(own)) == (200, "news", [("user", 6), *letters(0, 2)])
        assert said(await site.frame({"seq": 1, "delta": "c"}, headers=of("games"))) == letters(2, 3)

    TurnSite(keys_file=keys(tmp_path)).run(steps)


def test_a_key_may_be_for_other_routes_and_has_limits(tmp_path: Path) -> None:
    async def elsewhere(site: TurnSite) -> None:
        assert (await site.frame(first("ab"), headers=of("games"))).status == 403

    async def limited(site: TurnSite) -> None:
        assert (await site.frame(first("ab"), headers=of("games"))).headers["x-ratelimit-remaining-tokens"] == "4"
        refused = await site.frame({"seq": 1, "delta": "c"}, headers=of("games"))
        assert (refused.status, refused.headers["retry-after"]) == (429, "36")
        assert (await site.read(headers=of("games"))).json["seq"] == 1

    TurnSite(keys_file=keys(tmp_path, routes=["/v1/moderations"])).run(elsewhere)
    TurnSite(keys_file=keys(tmp_path, tokens_per_minute=20, routes=["/v1/stream"])).run(limited)


def test_a_guard_that_is_away_is_waited_for_and_the_frame_may_come_again() -> None:
    away = [True]

    def before(_: Sequence[TurnPush]) -> None:
        if away[0]:
            raise GuardUnavailableError("gone")

    async def steps(site: TurnSite) -> None:
        late = await site.frame(first("ab"), headers={"x-request-timeout-seconds": "0.05"})
        assert (late.status, late.json["error"]["code"]) == (503, "unavailable")
        assert late.headers["retry-after"] == "1"
        away[0] = False
        assert said(await site.frame(first("ab"))) == [("user", 6), *letters(0, 2)]

    TurnSite(LetterJudge(before), delivery={"backoff_initial_s": 0.01}).run(steps)


def test_a_turn_that_breaks_the_guard_ends_marked_and_not_as_safe() -> None:
    def before(pushes: Sequence[TurnPush]) -> None:
        if "x" in pushes[0].text:
            raise GuardCallFailedError("boom")

    async def steps(site: TurnSite) -> None:
        broken = await site.frame(first("x"))
        assert (broken.status, broken.json["end"], broken.json["tokens"]) == (200, "inference_failed", [])
        assert [(verdict["risk"], verdict["final"]) for verdict in broken.json["verdicts"]] == [(None, True)]
        assert (await site.frame({"seq": 1, "delta": "y"})).json["end"] == "inference_failed"

    TurnSite(LetterJudge(before)).run(steps)


def test_a_fault_of_ours_is_told_by_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    def before(_: Sequence[TurnPush]) -> None:
        raise KeyError(SECRET)

    async def steps(site: TurnSite) -> None:
        broken = await site.frame(first("x"))
        assert (broken.status, broken.json["error"]["message"]) == (500, "internal error: RuntimeError")
        assert SECRET.encode() not in broken.body

    TurnSite(LetterJudge(before)).run(steps)
    assert SECRET not in "".join(capsys.readouterr())


def test_a_flood_of_one_tenant_costs_the_others_nothing() -> None:
    async def steps(site: TurnSite) -> None:
        quiet = {"tenant": "quiet"}
        await site.frame(first("ab", **quiet))
        for number in range(6):
            await site.frame(first("ab", tenant="loud", turn=number))
        assert said(await site.frame({"seq": 1, "delta": "c", **quiet})) == letters(2, 3)
        assert (await site.frame({"seq": 1, "delta": "c", "tenant": "loud", "turn": 0})).status == 409
        assert site.door is not None
        assert (len(site.door.turns), site.door.turns.ends["forgotten"]) == (4, 3)

    TurnSite(ask={"stream_turns": 4}).run(steps)


def test_a_turn_that_nobody_asks_about_is_forgotten() -> None:
    async def steps(site: TurnSite) -> None:
        await site.frame(first("ab"))
        await asyncio.sleep(0.02)
        assert (await site.frame({"seq": 1, "delta": "c"})).status == 409

    TurnSite(ask={"stream_idle_s": 0.01}).run(steps)


def test_a_turn_has_a_bound_and_one_that_stops_says_so() -> None:
    async def steps(site: TurnSite) -> None:
        await site.frame(first("ab"))
        long = await site.frame({"seq": 1, "delta": "c" * 100})
        assert (long.status, long.json["end"]) == (200, "too_long")
        assert site.door is not None
        site.door.is_draining = True
        draining = await site.frame({"seq": 0, "turn": 1, "messages": ASKED, "delta": "x"})
        assert (draining.status, draining.json["error"]["code"]) == (503, "draining")

    TurnSite(stream_guard={"turn_characters": 100}).run(steps)


def test_p11_the_sender_s_trace_goes_on_to_the_step_and_comes_back() -> None:
    tracing = RecordedTracing()

    async def steps(site: TurnSite) -> None:
        got = await site.frame(first("ab"), headers={"traceparent": SAMPLED.decode()})
        [push] = site.judge.calls[0]
        assert push.carrier["traceparent"] == got.headers["traceparent"] != SAMPLED.decode()
        await site.read()

    TurnSite(tracing=tracing).run(steps)
    names = ["POST /v1/stream/{conversation_id}", "GET /v1/stream/{conversation_id}"]
    assert [span.name for span in tracing.finished()] == names


def test_without_the_setting_there_is_no_such_route() -> None:
    site = AskSite()
    assert site.post(PATH, first("ab")).status == 404
    assert json.loads(site.post(PATH, method="GET").body)["error"]["code"] == "not_found"


@pytest.mark.parametrize("name", ["a/b", "ä ö", "a" * 256])
def test_any_id_may_name_a_conversation(name: str) -> None:
    async def steps(site: TurnSite) -> None:
        assert (await site.frame(first("ab"), f"/v1/stream/{name}")).json["conversation_id"] == name
        assert (await site.frame(first("ab"), f"/v1/stream/{'a' * 257}")).status == 400

    TurnSite().run(steps)
