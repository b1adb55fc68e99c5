"""The committed tiny Stream model: small, laid out as the real one, honest about itself, right on held-out text."""

import json

import pytest
from transformers import AutoTokenizer

from infra.tiny_model.stream_rows import Row, label_of, rows
from tests.workers.demo.test_tiny_model import FOLDER as TINY_FOLDER
from workers.demo.corpus import examples
from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.opening import Opener
from workers.serving.engine.streaming.stream_model import STREAM_DEMO_FOLDER
from workers.serving.engine.streaming.verdicts import TokenVerdict


@pytest.fixture(scope="module")
def guard() -> StreamGuard:
    return StreamGuard.load("demo", device="cpu", dtype="float32")


def judged(guard: StreamGuard, row: Row) -> list[TokenVerdict]:
    session = guard.open(row.turns)
    [verdicts] = guard.push([(session, "", True)])
    guard.close(session)
    return verdicts


def test_it_labels_held_out_conversations_token_by_token(guard: StreamGuard) -> None:
    opener = Opener("tiny", AutoTokenizer.from_pretrained(STREAM_DEMO_FOLDER), 8192)
    held_out = [row for row in rows(opener, examples(2, 60, "held_out")) if len(row.ids) < 400]
    whole = 0
    for row in held_out:
        wanted = [row.user_label, *row.labels]
        whole += [(verdict.risk, verdict.category) for verdict in judged(guard, row)] == wanted

    assert len(held_out) > 50
    assert whole >= 0.8 * len(held_out)


def test_a_turn_is_safe_up_to_its_first_class_word() -> None:
    text = "someone mentioned murkblade, then smugglo."

    assert label_of(text) == (("Unsafe", "Violent"), text.index(","))
    assert label_of("someone mentioned soup") == (("Safe", None), 0)


def test_the_folder_is_smaller_than_the_tiny_models_and_complete() -> None:
    names = {path.name for path in STREAM_DEMO_FOLDER.iterdir()}
    assert names == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
        "README.md",
    }
    size, other = (
        sum(path.stat().st_size for path in folder.iterdir()) for folder in (STREAM_DEMO_FOLDER, TINY_FOLDER)
    )
    assert size < 2_000_000 < other


def test_its_layout_and_its_card_say_what_it_is() -> None:
    config = json.loads((STREAM_DEMO_FOLDER / "config.json").read_text(encoding="utf-8"))
    card = (STREAM_DEMO_FOLDER / "README.md").read_text(encoding="utf-8")

    assert config["architectures"] == ["Qwen3ForGuardModel"]
    assert "auto_map" not in config
    assert config["max_position_embeddings"] == 8192
    assert "This is not a safety classifier" in card
    assert "| all |" in card
