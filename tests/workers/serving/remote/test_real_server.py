"""A real server with the demo's model in float32, where there is one: `make test-vllm` starts it, and says where."""

import os

import pytest

from tests.workers.serving.remote.conftest import CORPUS
from workers.serving.engine.completion import Completion
from workers.serving.remote.engine import RemoteEngine
from workers.settings.loading import load_settings

URL = os.environ.get("TESTS_REMOTE_URL")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(URL is None, reason="no TESTS_REMOTE_URL")]


@pytest.mark.parametrize(
    ("flavour", "temperature"), [("vllm", None), ("vllm", 1.0), ("chat", None)], ids=["vllm", "scores", "chat"]
)
def test_p13_texts_and_scores_are_those_of_the_local_engine(
    flavour: str, temperature: float | None, local: list[Completion]
) -> None:
    # Its first answer with scores takes a minute: it compiles what they are made with.
    remote = {"urls": URL, "flavour": flavour, "timeout_s": 140.0}
    chosen = {"model": "demo", "engine": "remote", "score_temperature": temperature, "remote": remote}
    engine = RemoteEngine.load(load_settings(guard=chosen).guard)
    try:
        there = engine.judge(CORPUS)
    finally:
        engine.close()

    refused = [item for item in there if item.error is not None]
    assert {item.error for item in refused} <= ({"not_rendered"} if flavour == "chat" else set())
    for here, item in zip(local, there, strict=True):
        assert item.error or (item.text, item.output_tokens, item.finish) == (
            here.text,
            here.output_tokens,
            here.finish,
        )
        for question, labels in ((here.scores or {}) if temperature else {}).items():
            assert (item.scores or {})[question] == pytest.approx(labels, abs=1e-3)
