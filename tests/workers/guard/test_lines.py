"""Lines in, judgements out: in order, one for each, in bounded memory."""

import asyncio
import io
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from pipelines.fitting.length_policy import LengthPolicy
from pipelines.guard import GuardReply, GuardRequest
from pipelines.isolation import PROBE
from pipelines.moderation import Moderation
from pipelines.policy import load_policy
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError, ModerationError
from tests.guards.answering_guard import judge_without_waits
from workers.guard.lines import OutputLine, in_chunks, judge_lines, read_lines
from workers.serving.engine import completion
from workers.serving.engine.completion import Completion, EngineIdentity, PreparedPrompt
from workers.serving.local_guard import LocalGuard

SAFE = "Safety: Safe\nCategories: None"


class Engine(completion.Engine):
    """Answers Safe to everything; raises for a text that holds "poison", and for all where it is broken."""

    identity = EngineIdentity("m", "r", "p", "reference", "float32", "cpu")

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.calls: list[int] = []

    def prepare(self, conversation: Any) -> PreparedPrompt | Completion:
        raise NotImplementedError

    def run(self, prompts: Any) -> list[Completion]:
        raise NotImplementedError

    def judge(self, conversations: Sequence[Any]) -> list[Completion]:
        self.calls.append(len(conversations))
        if self.broken or any("poison" in turns[-1]["content"] for turns in conversations):
            raise RuntimeError("a secret")
        odd = Completion("Safety: Fine", None, None, 1, 1, "stop")
        safe = Completion(SAFE, None, None, 1, 1, "stop")
        return [odd if "odd" in turns[-1]["content"] else safe for turns in conversations]


def judged(lines: Sequence[bytes], engine: Engine | None = None, size: int = 4) -> list[OutputLine]:
    moderation = Moderation(load_policy(None), LengthPolicy("window", 128, 16), max_event_bytes=500, group="weir")

    async def run() -> list[OutputLine]:
        chunks = [list(lines[start : start + size]) for start in range(0, len(lines), size)]
        judge = judge_without_waits(LocalGuard(engine or Engine()))
        parts = [part async for part in judge_lines(iter(chunks), moderation, judge)]
        return [item for part in parts for item in part]

    return asyncio.run(run())


def line(event_id: str, text: str = "hello") -> bytes:
    return json.dumps({"event_id": event_id, "text": text}).encode()


def test_every_line_gets_its_judgement_in_order() -> None:
    lines = [line("a"), b"not json", b"", line("b", "odd"), line("c", " "), line("d")]
    results = [(json.loads(item.text), item.is_error) for item in judged(lines)]
    assert [entry.get("event_id") for entry, _ in results] == ["a", None, None, "b", "c", "d"]
    assert [is_error for _, is_error in results] == [False, True, False, True, False, False]
    reasons = [entry["error"]["reason"] for entry, is_error in results if is_error]
    assert reasons == ["invalid_json", "unparsable_output"]
    assert [entry["skipped"]["reason"] for entry, _ in results if "skipped" in entry] == ["tombstone", "blank_text"]
    assert [entry["line"] for entry, _ in results if "line" in entry] == [2, 3, 4, 5]
    assert results[5][0]["source"] == {"topic": "stdin", "partition": 0, "offset": 6}


def test_p7_a_line_judged_twice_gets_the_same_id() -> None:
    first, second = (json.loads(judged([line("a")])[0].text) for _ in range(2))
    assert first["verdict_id"] == second["verdict_id"]


def test_p6_a_line_that_breaks_the_engine_harms_only_itself() -> None:
    results = judged([line("a"), line("b", "poison"), line("c")])
    assert [item.is_error for item in results] == [False, True, False]
    assert json.loads(results[1].text)["error"]["reason"] == "inference_failed"


def test_p10_an_error_repeats_neither_the_line_nor_the_engine() -> None:
    texts = "".join(item.text for item in judged([line("b", "poison"), b'{"event_id": "x", "text": 7, "y": "tell"}']))
    assert not any(word in texts for word in ("poison", "a secret", "tell"))


def test_a_broken_engine_is_said_to_be_broken_and_does_not_hold_for_ever() -> None:
    with pytest.raises(ModerationError, match="the engine is broken: RuntimeError") as raised:
        judged([line("a"), line("b")], Engine(broken=True))
    assert "secret" not in str(raised.value)


def test_a_chunk_is_one_call_of_the_engine() -> None:
    engine = Engine()
    judged([line(str(number)) for number in range(10)], engine, size=5)
    assert engine.calls == [5, 5]


def test_the_guard_answers_one_by_one() -> None:
    request = GuardRequest(({"role": "user", "content": "odd"},), 1, {})
    reply: GuardReply = asyncio.run(LocalGuard(Engine()).judge([request, PROBE]))
    assert [answer.text for answer in reply.answers] == ["Safety: Fine", SAFE]
    with pytest.raises(GuardCallFailedError, match=r"^RuntimeError$"):
        asyncio.run(LocalGuard(Engine(broken=True)).judge([request]))


@pytest.mark.parametrize("kind", [GuardUnavailableError, GuardCrashError])
def test_p5_a_server_that_does_not_answer_is_waited_for(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[Completion]:
        raise kind

    engine = Engine()
    monkeypatch.setattr(engine, "judge", fail)
    with pytest.raises(kind):
        asyncio.run(LocalGuard(engine).judge([PROBE]))


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\r\nb", [b"a", b"b"]),
        (b"\n\na", [b"", b"", b"a"]),
        (b"", []),
        (b"12345678\nx\n", [b"12345678", b"x"]),
        (b"12345678\r\nx\n", [b"12345678", b"x"]),
        (b"123456789" * 1000 + b"\nx\n", [b"1234567891", b"x"]),
        (b"123456789" * 1000, [b"1234567891"]),
    ],
)
def test_p9_of_a_line_that_is_too_large_only_the_start_is_held(data: bytes, lines: list[bytes]) -> None:
    assert list(read_lines(io.BytesIO(data), 8)) == lines


def test_a_line_that_is_too_large_is_an_error() -> None:
    [result] = judged([b"x" * 502])
    assert json.loads(result.text)["error"]["reason"] == "event_too_large"


def test_a_slow_pipe_is_answered_before_its_chunk_is_full() -> None:
    more = threading.Event()

    def slow() -> Any:
        yield b"first"
        assert more.wait(10)
        yield b"second"

    chunks = in_chunks(slow(), 64)
    assert next(chunks) == [b"first"]
    more.set()
    assert next(chunks) == [b"second"]
    assert list(chunks) == []


def test_a_fast_file_comes_in_chunks_of_the_size() -> None:
    lines = [b"%d" % number for number in range(1000)]
    chunks = list(in_chunks(iter(lines), 64))
    assert [line for chunk in chunks for line in chunk] == lines
    assert max(map(len, chunks)) <= 64


def test_an_error_of_reading_is_raised_after_what_was_read() -> None:
    def failing() -> Any:
        yield b"first"
        raise OSError("gone")

    chunks = in_chunks(failing(), 64)
    assert next(chunks) == [b"first"]
    with pytest.raises(OSError, match="gone"):
        next(chunks)
