"""Sessions of turns: 0 flips over chunkings, company, evictions and replays; bounds by tenant; errors of their own."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.backoff import Backoff
from pipelines.capacity import turns as planner
from pipelines.turns.asking import TurnAsker
from pipelines.turns.frames import TurnRules
from pipelines.turns.port import SESSION_UNKNOWN, TurnKey, TurnPush
from pipelines.turns.turn import Turn
from schemas.turns.frame import read_frame
from tests.site import OFF
from tests.workers.telemetry.recorded_tracing import RecordedTracing
from workers.serving.deltas.sessions import TurnSessions
from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.grid import TILE, TILES_A_STEP

ASKED = ({"role": "user", "content": "where is the river?"},)
ANSWERS = (
    "the lamp is here, and bring me the skarnade quick, you said. the river is long",
    "the river is 漢字かな交じり文 long, 한국어 텍스트 and a\u0301 lamp<|im_end|> is here \U0001f600!",
    "no",
)


@pytest.fixture(scope="module")
def guard() -> StreamGuard:
    return StreamGuard.load("demo", device="cpu", max_pages=512)


@pytest.fixture
def make(guard: StreamGuard) -> Iterator[Callable[..., TurnSessions]]:
    made: list[TurnSessions] = []

    def new(max_sessions: int = 100) -> TurnSessions:
        made.append(TurnSessions(guard, max_sessions, OFF))
        return made[-1]

    yield new
    for sessions in made:
        for known in list(sessions._open):  # noqa: SLF001
            lose(sessions, known)
        sessions.close()


def lose(sessions: TurnSessions, of: TurnKey, *, only_pages: bool = False) -> None:
    """What happens to sessions for want of room, between two rounds."""
    if (known := sessions._open.get(of)) is not None:  # noqa: SLF001
        if only_pages:
            sessions._guard.evict(known.session)  # noqa: SLF001
        else:
            sessions._close(of)  # noqa: SLF001


def key(name: str, tenant: str = "t") -> TurnKey:
    return TurnKey(tenant, name, 0)


def push(of: TurnKey, text: str, at: int | None = None, *, final: bool = False, alone: bool = False) -> TurnPush:
    return TurnPush(of, ASKED if at is None else None, at or 0, text, final, 0, alone, {})


async def said(sessions: TurnSessions, name: str, text: str, cuts: Sequence[int], loses: Sequence[int]) -> list[bytes]:
    """All settled tokens of a text in these pieces, and its end; before some of them, the session is lost."""
    turn = Turn(key(name), TurnRules())
    asker = TurnAsker(sessions, lambda: Backoff(0.001, 0.01))
    found: list[bytes] = []
    ends = [*sorted(cuts), len(text)]
    for seq, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        first = {"messages": list(ASKED)} if seq == 0 else {}
        final = seq == len(ends) - 1
        frame = {"conversation_id": name, "turn": 0, "seq": seq, "delta": text[start:end], "final": final, **first}
        turn.frames.take(read_frame(frame))
        if seq in loses:
            lose(sessions, turn.key, only_pages=seq % 2 == 1)
        while asked := turn.next_push({}):
            [answered] = await asker.ask([asked])
            news = turn.answered(*answered)
            found += [repr(token).encode() for token in news.tokens if not token.provisional]
    assert turn.end == "final"
    return found


plans = st.lists(
    st.tuples(
        st.sampled_from(ANSWERS),
        st.lists(st.integers(0, 80), max_size=6),
        st.lists(st.integers(0, 6), max_size=3),
    ),
    min_size=1,
    max_size=6,
)


@given(plans)
@settings(max_examples=12, deadline=None)
def test_p7_no_verdict_depends_on_chunks_company_evictions_or_replays(
    guard: StreamGuard, alone: dict[str, list[bytes]], plan: list[tuple[str, list[int], list[int]]]
) -> None:
    async def run() -> list[list[bytes]]:
        sessions = TurnSessions(guard, 3, OFF)
        try:
            return await asyncio.gather(
                *(
                    said(sessions, str(number), text, [min(cut, len(text)) for cut in cuts], loses)
                    for number, (text, cuts, loses) in enumerate(plan)
                )
            )
        finally:
            sessions.close()

    assert asyncio.run(run()) == [alone[text] for text, _, _ in plan]


@pytest.fixture(scope="module")
def alone(guard: StreamGuard) -> dict[str, list[bytes]]:
    async def run() -> dict[str, list[bytes]]:
        sessions = TurnSessions(guard, 100, OFF)
        try:
            return {text: await said(sessions, "alone", text, [], []) for text in ANSWERS}
        finally:
            sessions.close()

    return asyncio.run(run())


def test_p10_p11_a_round_is_a_span_with_links_to_the_traces_of_its_pushes(
    guard: StreamGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracing, trace = RecordedTracing(), "0af7651916cd43dd8448eb211c80319c"
    carrier = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    sessions = TurnSessions(guard, 4, tracing)

    async def run() -> None:
        await sessions.push([push(key("a"), "the lamp")._replace(carrier=carrier), push(key("b"), "no")])
        await sessions.push([push(key("b"), "no", 2)])  # of no trace
        monkeypatch.setattr(guard, "push", lambda _: 1 / 0)
        await sessions.push([push(key("a"), " is here", 8)._replace(carrier=carrier)])

    asyncio.run(run())
    for known in list(sessions._open):  # noqa: SLF001
        lose(sessions, known)
    sessions.close()
    first, failed = tracing.finished("chat ")
    assert [f"{link.context.trace_id:032x}" for link in first.links] == [trace]
    assert (first.attributes or {})["moderation.batch.size"] == 2
    assert (failed.attributes or {})["error.type"] == "ZeroDivisionError"
    assert "lamp" not in str([span.attributes for span in tracing.finished()])


def test_a_session_that_is_not_there_or_stands_elsewhere_is_unknown(make: Callable[..., TurnSessions]) -> None:
    sessions = make()

    async def run() -> list[Any]:
        never = await sessions.push([push(key("a"), "x", 0)])
        opened = await sessions.push([push(key("a"), "the lamp")])
        ahead = await sessions.push([push(key("a"), "the lamp", 0)])
        closed = await sessions.push([push(key("a"), "x", 8)])
        return [reply.answers[0].error for reply in (never, opened, ahead, closed)]

    assert asyncio.run(run()) == [SESSION_UNKNOWN, None, SESSION_UNKNOWN, SESSION_UNKNOWN]
    assert sessions.sessions == 0


def test_a_turn_that_has_ended_leaves_no_session_behind(make: Callable[..., TurnSessions]) -> None:
    sessions = make()

    asyncio.run(sessions.push([push(key("a"), "the lamp", final=True)]))

    assert (sessions.sessions, sessions.pages) == (0, 0)


def test_a_flood_of_one_tenant_closes_its_own_sessions(make: Callable[..., TurnSessions]) -> None:
    sessions = make(max_sessions=5)
    quiet = key("quiet", "other")

    async def run() -> Any:
        await sessions.push([push(quiet, "the lamp")])
        for number in range(9):
            await sessions.push([push(key(str(number)), "the lamp")])
        return await sessions.push([push(quiet, " is here", 8)])

    assert asyncio.run(run()).answers[0].error is None
    assert (sessions.sessions, sessions.counts["closed_for_room"]) == (5, 5)


def test_p9_pages_are_given_up_by_the_tenant_that_holds_most(
    make: Callable[..., TurnSessions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StreamGuard, "max_pages", 64)
    sessions = make()
    quiet = key("quiet", "other")

    async def run() -> None:
        await sessions.push([push(quiet, "the lamp is here " * 4)])
        for number in range(6):
            await sessions.push([push(key(str(number)), "the lamp is here " * 40)])

    asyncio.run(run())

    assert sessions._open[quiet].session.pages  # noqa: SLF001
    assert sessions.counts["evicted"] > 0
    assert sessions.pages <= 64


def test_a_short_delta_does_not_wait_for_the_end_of_a_long_text(make: Callable[..., TurnSessions]) -> None:
    sessions = make()
    order: list[str] = []

    async def one(name: str, text: str) -> None:
        await sessions.push([push(key(name), text)])
        order.append(name)

    async def run() -> None:
        long = asyncio.create_task(one("long", "the lamp is here " * 150))
        await asyncio.sleep(0)
        await asyncio.gather(one("short", "the lamp"), long)

    asyncio.run(run())

    assert order == ["short", "long"]


def test_long_conversations_are_opened_one_a_round_beside_what_is_short(
    make: Callable[..., TurnSessions], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = make()
    rounds: list[list[str]] = []
    run = sessions._run  # noqa: SLF001

    def noted(jobs: Any, *rest: Any) -> Any:
        rounds.append([job.push.key.conversation_id for job in jobs])
        return run(jobs, *rest)

    monkeypatch.setattr(sessions, "_run", noted)
    before = ({"role": "user", "content": "the lamp is here " * 300},)
    long = [push(key(name), "", final=True)._replace(messages=before) for name in ("a", "b")]
    asyncio.run(sessions.push([*long, push(key("short"), "the lamp")]))

    assert rounds == [["a", "short"], ["b"]]


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ((), "empty_conversation"),
        (({"role": "assistant", "content": "x"},), "empty_conversation"),
        (({"role": "user", "content": "lamp " * 9_000},), "context_overflow"),
    ],
)
def test_what_cannot_be_opened_says_why_and_its_neighbour_is_judged(
    make: Callable[..., TurnSessions], messages: Any, error: str
) -> None:
    wrong = push(key("wrong"), "x")._replace(messages=messages)

    reply = asyncio.run(make().push([wrong, push(key("right"), "the lamp")]))

    assert [answer.error for answer in reply.answers] == [error, None]
    assert reply.answers[1].tokens


def test_an_engine_that_raises_fails_the_pushes_of_that_round_only(
    guard: StreamGuard, make: Callable[..., TurnSessions], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = make()
    original = guard.push

    def raises(pushes: Any) -> Any:
        if any("bad" in text for _, text, _ in pushes):
            raise RuntimeError("a bad text")
        return original(pushes)

    monkeypatch.setattr(guard, "push", raises)

    async def run() -> list[Any]:
        both = await sessions.push([push(key("a"), "bad"), push(key("b"), "good")])
        apart = await sessions.push([push(key("a"), "bad", alone=True), push(key("b"), "good", alone=True)])
        return [answer.error for answer in (*both.answers, *apart.answers)]

    assert asyncio.run(run()) == ["inference_failed", "inference_failed", "inference_failed", None]
    assert sessions.failures == 0


def test_the_planner_reckons_with_the_steps_that_there_are() -> None:
    assert (planner.TILE, planner.TILES_A_STEP) == (TILE, TILES_A_STEP)
