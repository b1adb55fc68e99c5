"""What `infra/examples` shows is what happens."""

import asyncio
import json
import runpy
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaProducer

from pipelines.guard_parser import Classification
from schemas.verdict import Action, Category, Severity
from tests.guards.answering_guard import AnsweringGuard
from tests.guards.turn_judges import LetterJudge
from tests.mock_cluster import MockCluster
from tests.pipelines.judged_records import SAFE, answer
from tests.site import Broker, Site
from tests.tree import ROOT
from tests.workers.ask.ask_site import OFF
from tests.workers.ask.test_server import free_port
from workers.ask.lane import AskLane
from workers.guard.setup import policy_of
from workers.settings.loading import load_settings
from workers.settings.sections import TopicSettings

Client = dict[str, Any]
EXAMPLES = ROOT / "infra" / "examples"


def test_every_example_is_in_the_folder_s_table() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")

    assert [path.name for path in EXAMPLES.iterdir() if f"({path.name})" not in page] == ["README.md"]


def test_a_list_is_judged_in_python(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["judge_a_list.py"])
    monkeypatch.setenv("WEIR_GUARD__COMPILE", "false")
    runpy.run_path(str(EXAMPLES / "judge_a_list.py"), run_name="__main__")

    assert capsys.readouterr().out.splitlines() == [
        "Safe allow",
        "Unsafe block Violent",
        "Safe allow",
        "Safe allow",
        "no verdict: blank_text",
        "1 of 5 blocked",
    ]


def test_an_answer_is_stopped_where_it_is_flagged_and_only_what_was_judged_is_passed_on() -> None:
    shown = runpy.run_path(str(EXAMPLES / "guard_a_stream.py"))
    asked = [{"role": "user", "content": "hello?"}]

    def passed(url: str, answer: str) -> list[str]:
        said: list[str] = []
        try:
            said.extend(shown["guarded"](answer, asked, iter(answer), url=url))
        except shown["StoppedError"] as stopped:
            said.append(str(stopped))
        return said

    async def within() -> None:
        port = free_port()
        settings = load_settings(ask={"port": port, "stream": True})
        lane = AskLane(settings, AnsweringGuard(lambda _text: answer(SAFE)), OFF, LetterJudge())
        await lane.start()
        try:
            url = f"http://127.0.0.1:{port}"
            assert await asyncio.to_thread(passed, url, "fine") == list("fine")
            assert await asyncio.to_thread(passed, url, "no! no") == ["n", "o", "flagged"]
        finally:
            await lane.stop()

    asyncio.run(within())


@pytest.fixture
def client() -> Iterator[Client]:
    """A worker between the topics that the examples name, and what their clients need to talk to its broker."""
    with MockCluster() as cluster:
        topics = TopicSettings()
        for topic in (*topics.events, topics.verdicts, topics.dead_letters):
            cluster.create_topic(topic)
        site = Site(Broker(cluster.bootstrap_servers, cluster.api_version, cluster.create_topic))
        site.start(AnsweringGuard(lambda _text: answer(SAFE)), site.settings.model_copy(update={"topics": topics}))
        yield {"servers": cluster.bootstrap_servers, "api_version": (2, 3)}  # the mock cluster negotiates none
        site.close()


def test_what_is_produced_is_judged_and_acted_on_once(client: Client) -> None:
    produce = runpy.run_path(str(EXAMPLES / "produce.py"))["produce"]
    verdicts = runpy.run_path(str(EXAMPLES / "consume.py"))["verdicts"](**client)
    first = produce(text="good morning", **client)
    verdict = next(verdicts)
    sender = KafkaProducer(bootstrap_servers=client["servers"], api_version=client["api_version"])
    sender.send("moderation.verdicts", json.dumps(verdict).encode(), key=b"lobby").get(timeout=30)
    sender.close()
    second = produce(text="good evening", **client)

    assert [verdict["event_id"], next(verdicts)["event_id"]] == [first, second]
    verdicts.close()


def test_the_settings_and_the_policy_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = load_settings(EXAMPLES / "weir.yaml")
    policy = policy_of(settings)

    def action(severity: Severity, *categories: Category, tenant: str = "default") -> Action:
        return policy.decide(Classification(severity, categories, None), tenant)[0]

    assert settings.guard.model == "Qwen/Qwen3Guard-Gen-0.6B"
    assert policy.topics == ("moderation.blocked",)
    assert action(Severity.UNSAFE, Category.VIOLENT) is Action.BLOCK
    assert action(Severity.UNSAFE, Category.SELF_HARM) is Action.REVIEW
    assert action(Severity.CONTROVERSIAL, Category.POLITICALLY_SENSITIVE) is Action.ALLOW
    assert action(Severity.CONTROVERSIAL, Category.VIOLENT) is Action.REVIEW
    assert action(Severity.CONTROVERSIAL, Category.VIOLENT, tenant="kids") is Action.BLOCK


def test_a_consumer_that_is_interrupted_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __iter__(self) -> Iterator[Any]:
            raise KeyboardInterrupt

        def close(self) -> None:
            closed.append(True)

    closed: list[bool] = []
    monkeypatch.setattr("kafka.KafkaConsumer", Interrupted)
    monkeypatch.setattr(sys, "argv", ["consume.py", "localhost:1"])
    runpy.run_path(str(EXAMPLES / "consume.py"), run_name="__main__")

    assert (closed, capsys.readouterr().out) == ([True], "")
