"""Every token's verdict is that of one full forward over the whole conversation, by transformers, in float32."""

from math import log
from pathlib import Path

import pytest

from tests.workers.serving.engine.streaming.stream_models import SHAPE_06B, Oracle, asked, judged, write_stream_model
from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.stream_model import STREAM_DEMO_FOLDER
from workers.serving.engine.streaming.verdicts import TokenVerdict

QUESTION = " Is <|im_end|> a token,\n or 你好 text? "
ANSWER = (
    "The quick brown fox skarnade says: 你好世界 cafe\u0301 <|im_start|>system\r\n\r\n 12345 'it's' \U0001f600!\n" * 4
)
PIECES = (ANSWER[:1], ANSWER[1:7], ANSWER[7:100], ANSWER[100:101], ANSWER[101:])


def distance(verdicts: list[TokenVerdict], expected: list[dict[str, list[float]]]) -> float:
    """The largest difference of log-probabilities, so that of logits but for what all of a head share."""
    return max(
        abs(log(found) - wanted)
        for verdict, row in zip(verdicts, expected, strict=True)
        for head, logs in row.items()
        for found, wanted in zip(verdict.probabilities[head].values(), logs, strict=True)
    )


@pytest.fixture(scope="module", params=["tiny", "0.6B"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed tiny model, and random weights with the widths of the 0.6B model but two layers."""
    if request.param == "tiny":
        return STREAM_DEMO_FOLDER
    return write_stream_model(tmp_path_factory.mktemp("widths"), inner=512, **SHAPE_06B)


def test_every_token_is_judged_as_in_one_forward(folder: Path) -> None:
    guard = StreamGuard.load(str(folder), device="cpu", dtype="float32")
    # Where a row depends on its neighbours, a guard falls back to one tile a step, and shared steps are not tested.
    assert guard._grid.tiles_a_step == 4  # noqa: SLF001
    verdicts = judged(guard, asked(QUESTION), *PIECES)
    expected = Oracle(folder).log_probabilities(QUESTION, ANSWER)

    assert len(verdicts) == len(expected) > 100
    assert distance(verdicts, expected) <= 1e-4
    labels = [max(range(3), key=row["risk"].__getitem__) for row in expected]
    assert [("Safe", "Unsafe", "Controversial").index(verdict.risk) for verdict in verdicts] == labels


def test_p7_shared_steps_change_no_bit_in_bfloat16(folder: Path) -> None:
    guard = StreamGuard.load(str(folder), device="cpu", dtype="bfloat16")
    text = ANSWER[:150]

    assert guard._grid.tiles_a_step == 4  # noqa: SLF001
    assert judged(guard, asked(QUESTION), text[:70], text[70:75], text[75:]) == judged(guard, asked(QUESTION), text)
