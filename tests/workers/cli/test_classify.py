"""`weir classify`: text or lines in, verdicts and errors out, and what a script can rely on."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.weir_result import Result
from workers.serving import engine_choice
from workers.serving.engine.completion import Completion, EngineIdentity
from workers.settings.loading import load_settings


class Engine:
    """Calls everything safe; cuts off what asks for it."""

    identity = EngineIdentity("m", "r", "p", "reference", "float32", "cpu")

    def judge(self, conversations: Sequence[Any]) -> list[Completion]:
        cut_off = ["long" in turns[-1]["content"] for turns in conversations]
        return [
            Completion("Safety: Safe\nCategories: None", None, None, 1, 8, "length" if cut else "stop")
            for cut in cut_off
        ]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An engine in place of the model; the settings that it was asked for with."""
    asked: list[Any] = []

    def load(settings: Any) -> Engine:
        asked.append(settings)
        return Engine()

    monkeypatch.setattr(engine_choice, "load_engine", load)
    return asked


def test_classify_judges_a_text(engine: list[Any]) -> None:
    result = Result("classify", "hello", "--model", "demo")
    assert (result.code, result.lines[0]["severity"]) == (0, "Safe")
    assert engine[0].model == "demo"
    again, other = Result("classify", "hello").lines[0], Result("classify", "hallo").lines[0]
    assert again["verdict_id"] == result.lines[0]["verdict_id"] != other["verdict_id"]
    assert engine[1].model == load_settings().guard.model


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_classify_judges_lines_in_order(arguments: tuple[str, ...]) -> None:
    events = [{"event_id": str(number), "text": "long" if number == 3 else "hi"} for number in range(200)]
    stdin = "\n".join(map(json.dumps, events)) + "\n{\n"
    result = Result("classify", *arguments, stdin=stdin)
    assert result.code == 1
    assert [entry.get("event_id") for entry in result.lines] == [*map(str, range(200)), None]
    wrong = [entry["error"]["reason"] for entry in result.lines if "error" in entry]
    assert wrong == ["output_cut_off", "invalid_json"]


@pytest.mark.usefixtures("engine")
def test_classify_exits_with_0_where_all_lines_got_verdicts() -> None:
    assert Result("classify", stdin='{"event_id": "1", "text": "a"}\n').code == 0
    assert Result("classify", stdin="").code == 0
    assert Result("classify", stdin=b"\xff\n").code == 1
    assert Result("classify", "\udcff").code == 0  # judged, with a replacement character


def test_classify_refuses_a_model_that_is_not_there() -> None:
    result = Result("classify", "x", "--model", "/none")
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("weir: guard.model '/none'")


def test_it_needs_neither_kafka_nor_ray() -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('kafka', 'ray', 'confluent_kafka'))\n"  # each import of them fails
        "from workers.cli.app import app; app(['classify', 'hello', '--model', 'demo'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=110)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["severity"] == "Safe"
