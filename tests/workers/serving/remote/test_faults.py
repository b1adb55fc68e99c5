"""Whatever a server does wrong: no verdict of it is used, and each fault is blamed on what it is of (P3, P5, P6)."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, GuardCrashError, GuardUnavailableError
from tests.workers.serving.remote.conftest import CORPUS, Model, NewEngine, NewServer
from tests.workers.serving.remote.fake_answers import Generated
from workers.serving.engine.completion import Completion
from workers.serving.remote.endpoint import State
from workers.serving.remote.engine import RemoteEngine
from workers.settings.loading import load_settings
from workers.telemetry.log import JsonFormatter

SOME = CORPUS[:6]
MISMATCHES = ["too few", "twice", "swapped", "other model", "other prompt", "other fingerprint", "clamped", "no end"]
MISMATCHES += ["no ids", "html", "302", "401", "404", "422"]
BUSY = ["503", "502", "429", "429 0.02"]


def texts_of(completions: list[Completion]) -> list[str]:
    return [completion.text for completion in completions]


def held(engine: RemoteEngine) -> list[str]:
    """The texts, after as many tries as a held call makes."""
    for _ in range(200):
        try:
            return texts_of(engine.judge(SOME))
        except GuardUnavailableError:
            time.sleep(0.01)
    raise AssertionError("it is held for ever")


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(500):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it never is")


@pytest.mark.parametrize(
    "faults", [MISMATCHES, BUSY, ["reset", "cut", "crash"], ["500"]], ids=["mismatched", "busy", "gone", "failed"]
)
def test_p3_p5_a_server_that_fails_gives_no_verdict_and_the_call_is_held(
    faults: list[str], new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    server = new_server()
    engine = new_engine(server)
    for fault in faults:
        server.faults += [fault] * (3 if fault == "500" else 1)  # the call and its halves

        with pytest.raises(GuardUnavailableError):
            pytest.fail(f"{fault}: {texts_of(engine.judge(SOME))}")

        assert held(engine) == texts_of(local[:6]), fault


@pytest.mark.parametrize("fault", ["other prompt", "429", "reset", "crash"])
def test_p5_another_server_answers_instead(
    fault: str, new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    servers = [new_server(), new_server()]
    engine = new_engine(*servers)
    until(lambda: all(endpoint.state is State.READY for endpoint in engine.endpoints))
    for server in servers:
        server.faults.append(fault)
    servers[1].faults.clear()

    for _ in range(2):
        assert texts_of(engine.judge(SOME)) == texts_of(local[:6])


def test_p5_a_server_that_hangs_is_given_up_at_our_own_deadline(
    new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    server = new_server()
    engine = new_engine(server, timeout_s=0.2)
    server.faults.append("hang")

    with pytest.raises(GuardUnavailableError, match="TimeoutError"):
        engine.judge(SOME)

    assert held(engine) == texts_of(local[:6])


def test_p5_a_server_that_is_gone_does_not_keep_the_calls_that_hang_on_it(
    new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    servers = [new_server(), new_server()]
    engine = new_engine(*servers, timeout_s=60.0)
    until(lambda: all(endpoint.state is State.READY for endpoint in engine.endpoints))
    for server in servers:
        server.faults.append("hang")
        server.health = 503  # as vLLM while it ends: it answers no call, and says so
    servers[1].faults.clear()
    servers[1].health = 200

    started = time.monotonic()
    for _ in range(2):
        assert texts_of(engine.judge(SOME)) == texts_of(local[:6])
    assert time.monotonic() - started < 30


def test_p6_a_prompt_that_a_server_rejects_is_found_among_its_neighbours(
    new_server: NewServer, new_engine: NewEngine, local: list[Completion], model: Model
) -> None:
    server = new_server()
    engine = new_engine(server)
    server.poison = model.builder.prepare(SOME[2]).token_ids.tolist()  # type: ignore[union-attr]

    completions = engine.judge(SOME)

    assert completions[2] == Completion.failed("rejected", prompt_tokens=len(server.poison))
    assert [text for index, text in enumerate(texts_of(completions)) if index != 2] == [
        completion.text for index, completion in enumerate(local[:6]) if index != 2
    ]


def test_p5_a_server_that_rejects_everything_blames_no_prompt(new_server: NewServer, new_engine: NewEngine) -> None:
    server = new_server()
    engine = new_engine(server)
    server.poison = []  # found in every prompt, known ones too

    with pytest.raises(GuardUnavailableError, match="refused, it rejects known texts"):
        engine.judge(SOME)


@pytest.mark.parametrize("fault", ["null text", "error", "abort", "nan"])
def test_p3_what_a_server_gives_up_on_is_asked_for_once_more_and_then_held(
    fault: str, new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    server = new_server()
    engine = new_engine(server, guard={"score_temperature": 1.0})
    server.faults.append(fault)

    assert texts_of(engine.judge(SOME)) == texts_of(local[:6])
    assert [len(request.body["prompt"]) for request in server.posts[-2:]] == [6, 1]
    server.faults += [fault, fault]
    with pytest.raises(GuardUnavailableError, match="time after time"):
        engine.judge(SOME)


def test_p6_a_prompt_that_servers_die_of_is_suspected_at_the_second_death(
    new_server: NewServer, new_engine: NewEngine, local: list[Completion], model: Model
) -> None:
    server = new_server()
    engine = new_engine(server)
    server.deadly = model.builder.prepare(SOME[2]).token_ids.tolist()  # type: ignore[union-attr]

    with pytest.raises(GuardUnavailableError):
        engine.judge(SOME)
    with pytest.raises(GuardCrashError):
        held(engine)
    server.deadly = None
    assert held(engine) == texts_of(local[:6])


def test_a_server_that_raises_and_lives_on_is_asked_in_halves_once(
    new_server: NewServer, new_engine: NewEngine, local: list[Completion]
) -> None:
    server = new_server()
    engine = new_engine(server)
    server.faults.append("500")

    assert texts_of(engine.judge(SOME)) == texts_of(local[:6])
    assert [len(request.body["prompt"]) for request in server.posts][-3:] == [6, 3, 3]


def test_a_server_is_left_alone_for_as_long_as_it_asks_and_gets_fewer_calls(
    new_server: NewServer, new_engine: NewEngine
) -> None:
    server = new_server()
    engine = new_engine(server)
    server.faults.append("429 0.5")
    with pytest.raises(GuardUnavailableError):
        engine.judge(SOME)
    asked, started = len(server.posts), time.monotonic()

    while time.monotonic() - started < 0.2:
        with pytest.raises(GuardUnavailableError, match="waiting"):
            engine.judge(SOME)
    assert len(server.posts) == asked
    assert int(engine.endpoints[0].limit) == 5

    until(lambda: engine.endpoints[0].state is State.READY)
    for _ in range(8):
        engine.judge(SOME)
        time.sleep(0.06)
    assert int(engine.endpoints[0].limit) == 8


def test_p7_a_server_that_comes_back_as_another_gets_no_call(
    new_server: NewServer, new_engine: NewEngine, model: Model
) -> None:
    server = new_server()
    engine = new_engine(server)
    server.die()
    until(lambda: engine.endpoints[0].state is State.DOWN or not _tried(engine))
    safe = model(tuple(model.builder.prepare(CORPUS[0]).token_ids.tolist()))  # type: ignore[union-attr]
    server.generate = lambda _: safe  # another model, of which all are well
    server.rise()

    until(lambda: engine.endpoints[0].state is State.REFUSED)
    with pytest.raises(GuardUnavailableError, match=r"behaviour_sha256|no verdict"):
        engine.judge(SOME)


def _tried(engine: RemoteEngine) -> bool:
    try:
        engine.judge(SOME)
    except GuardUnavailableError:
        return False
    return True


def test_a_start_is_refused_by_what_is_wrong(new_server: NewServer, new_engine: NewEngine) -> None:
    server = new_server()
    behaviour = new_engine(server).behaviour_sha256
    assert new_engine(server, behaviour_sha256=behaviour).behaviour_sha256 == behaviour

    for name, value, said in (
        ("behaviour_sha256", "0" * 64, f"behaves as {behaviour}"),
        ("served_model", "other", "guard.remote.served_model: /v1/models does not list it"),
        ("flavour", "sglang", "refused, status 404"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            new_engine(server, **{name: value})
    server.die()
    with pytest.raises(ConfigurationError, match=r"guard.remote.start_timeout_s=0.1: no server was ready by then"):
        new_engine(server, start_timeout_s=0.1)


def test_p10_the_key_is_sent_read_again_and_in_no_text(
    new_server: NewServer, new_engine: NewEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key"
    server = new_server()
    server.key = "canary-of-a-key"
    file.write_text("wrong-canary-of-a-key\n")
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(ConfigurationError, match="status 401") as refused:
            new_engine(server, api_key_file=file)
        file.write_text("canary-of-a-key\n")
        engine = new_engine(server, api_key_file=file)
        server.key = "rotated-canary-of-a-key"
        file.write_text("rotated-canary-of-a-key\n")
        with pytest.raises(GuardUnavailableError):
            engine.judge(SOME)
        assert held(engine)

    settings = load_settings(guard={"engine": "remote", "remote": {"urls": "http://a:1", "api_key_file": file}})
    told = [str(refused.value), repr(settings), settings.model_dump_json(), caplog.text]
    told += [JsonFormatter().format(record) for record in caplog.records]
    assert "canary-of-a-key" not in "".join(told)


def test_p3_a_server_that_writes_no_verdicts_is_refused_although_nothing_is_pinned(
    new_server: NewServer, new_engine: NewEngine, model: Model
) -> None:
    server = new_server()
    tokenizer = model.loaded.tokenizer
    babble = Generated([*tokenizer.encode("hello", add_special_tokens=False), min(model.loaded.end_ids)], "hello", None)
    server.generate = lambda _: babble

    with pytest.raises(ConfigurationError, match="refused, what is written about a known text is no verdict"):
        new_engine(server)


def test_p10_no_redirect_is_followed(new_server: NewServer, new_engine: NewEngine) -> None:
    server, other = new_server(), new_server()
    engine = new_engine(server)
    server.headers = {"Location": other.url + "/v1/completions"}
    server.faults.append("302")

    with pytest.raises(GuardUnavailableError, match="status 302"):
        engine.judge(SOME)

    assert other.posts == []


def test_p4_a_chat_server_that_counts_other_tokens_is_refused(new_server: NewServer, new_engine: NewEngine) -> None:
    server = new_server("chat")
    server.extra_tokens = 1

    with pytest.raises(ConfigurationError, match="refused, the number of prompt tokens"):
        new_engine(server)


@pytest.mark.parametrize("fault", ["400", "404", "500", "html", "cut"])
def test_p10_nothing_that_a_server_says_is_in_an_error_or_a_log(
    fault: str, new_server: NewServer, new_engine: NewEngine, caplog: pytest.LogCaptureFixture
) -> None:
    server = new_server()
    engine = new_engine(server)
    server.faults += [fault] * 40

    with caplog.at_level(logging.DEBUG), pytest.raises(GuardUnavailableError) as caught:
        engine.judge(SOME)

    chain: BaseException | None = caught.value
    while chain is not None:
        assert "private words" not in repr(chain)
        chain = chain.__cause__ or chain.__context__
    assert "private words" not in caplog.text
