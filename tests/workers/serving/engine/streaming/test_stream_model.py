"""Which models load, what of them is checked, and what each wrong one is told."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.workers.serving.engine.streaming.stream_models import (
    CATEGORIES,
    SMALL,
    asked,
    judged,
    numbered,
    write_stream_model,
)
from workers.serving.engine import stream_guard
from workers.serving.engine.loading import DEMO_FOLDER, load_model
from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.stream_model import STREAM_DEMO_FOLDER, load_stream_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_stream_model(tmp_path / "model")


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_heads_are_float32_whatever_the_backbone_is(folder: Path) -> None:
    model = load_stream_model(str(folder), device="cpu", dtype="bf16")

    assert model.network.dtype == model.dtype == torch.bfloat16
    for group in (model.response, model.query):
        assert {tensor.dtype for tensor in (group.pre, group.norm, group.risk, group.category)} == {torch.float32}
    assert (len(model.response.labels.categories), len(model.query.labels.categories)) == (8, 9)


def test_labels_are_those_of_the_config(folder: Path) -> None:
    before = judged(StreamGuard.load(str(folder), device="cpu"), asked(), "the quick brown fox")
    change_config(
        folder,
        response_risk_level_map=numbered(("Controversial", "Safe", "Unsafe")),
        response_category_map=numbered([f'"{label}"' for label in reversed(CATEGORIES[:8])]),
    )
    after = judged(StreamGuard.load(str(folder), device="cpu"), asked(), "the quick brown fox")

    assert after[0] == before[0]  # the user's turn has labels of its own
    names = {"Safe": "Controversial", "Unsafe": "Safe", "Controversial": "Unsafe"}
    for old, new in zip(before[1:], after[1:], strict=True):
        assert new.risk == names[old.risk]
        assert list(new.probabilities["risk"]) == ["Controversial", "Safe", "Unsafe"]
        assert list(new.probabilities["risk"].values()) == list(old.probabilities["risk"].values())
        assert new.category is None if new.risk == "Safe" else new.category in CATEGORIES[:8]
        assert list(new.probabilities["category"]) == list(reversed(CATEGORIES[:8]))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"guard_inner_size": 64}, r"risk_level_category_pre\.weight has the shape \(32, 64\).* \(64, 64\)"),
        ({"guard_inner_size": None}, "guard_inner_size is None"),
        ({"num_query_category": 8}, "query_category_map does not name 8 labels, as num_query_category"),
        ({"response_category_map": None}, "no response_category_map"),
        ({"response_risk_level_map": numbered(("Safe", "Low", "High"))}, r"response_risk_level_map must name .*Safe"),
        ({"query_category_map": {**numbered(CATEGORIES), "8": "PII"}}, "query_category_map does not name 9 labels"),
        (
            {"num_category": 7, "response_category_map": numbered(CATEGORIES[:7])},
            r"category_head\.weight has the shape \(8",
        ),
        ({"architectures": ["Qwen3ForCausalLM"]}, "no Qwen3Guard-Stream model but Qwen3ForCausalLM: .*Gen"),
        ({"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8}, "no Qwen3 with full attention"),
    ],
)
def test_a_config_that_does_not_fit_is_named(folder: Path, changes: dict[str, Any], told: str) -> None:
    change_config(folder, **changes)
    with pytest.raises(ValueError, match=rf"guard\.model '{re.escape(str(folder))}'.*{told}"):
        load_stream_model(str(folder), device="cpu")


def test_a_head_that_is_missing_is_named(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.__delitem__("query_category_head.weight"))
    with pytest.raises(ValueError, match=r"1 weights are missing .*query_category_head\.weight"):
        load_stream_model(str(folder), device="cpu")


def test_a_backbone_that_is_not_whole_is_never_made_up(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.__delitem__("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(ValueError, match=r"1 weights are missing .*up_proj"):
        load_stream_model(str(folder), device="cpu")


def test_weights_that_nobody_reads_are_named(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.update(adapter=torch.zeros(2)))
    with pytest.raises(ValueError, match=r"1 weights are not the model's: .*adapter"):
        load_stream_model(str(folder), device="cpu")


def test_a_quantised_checkpoint_is_refused(folder: Path) -> None:
    change_config(folder, quantization_config={"quant_method": "awq"})
    with pytest.raises(ValueError, match=r"^guard\.model .* is quantised \(awq\), and the engines"):
        load_stream_model(str(folder), device="cpu")


def test_weights_in_several_files_are_read(folder: Path) -> None:
    whole = judged(StreamGuard.load(str(folder), device="cpu"), asked(), "hello")
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()

    assert judged(StreamGuard.load(str(folder), device="cpu"), asked(), "hello") == whole


def test_gen_weights_in_a_stream_setting_and_the_other_way_are_told_apart() -> None:
    with pytest.raises(ValueError, match=r"no Qwen3Guard-Stream model but Qwen3ForCausalLM.*Qwen3Guard-Gen"):
        load_stream_model(str(DEMO_FOLDER), device="cpu")
    with pytest.raises(
        ValueError, match=r"Qwen3ForGuardModel: a Qwen3Guard-Stream model judges answers token by token"
    ):
        load_model(str(STREAM_DEMO_FOLDER), device="cpu")


def test_a_template_that_does_not_close_the_users_turn_is_refused(tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    folder = write_stream_model(tmp_path / "model", template=template)
    with pytest.raises(ValueError, match=r"does not close the user's turn with <\|im_end\|>"):
        StreamGuard.load(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("options", "told"), [({"debounce": "never"}, "debounce 'never'"), ({"max_pages": 63}, "max_pages 63 .* 64 pages")]
)
def test_limits_that_cannot_work_are_named(folder: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        StreamGuard.load(str(folder), device="cpu", **options)


def test_provenance_says_what_judged(stream_folder: Path, guard: StreamGuard) -> None:
    identity = guard.identity

    assert (identity.model, identity.engine, identity.dtype) == (str(stream_folder), "stream_guard", "float32")
    assert identity.revision.startswith("sha256:")


def test_where_rows_depend_on_neighbours_a_step_has_one_block(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "the quick brown fox says hello world " * 5
    shared = judged(StreamGuard.load(str(folder), device="cpu"), asked(), text)
    monkeypatch.setattr(stream_guard.Grid, "_is_independent", lambda _self: False)
    single = StreamGuard.load(str(folder), device="cpu")

    assert single._grid.tiles_a_step == 1  # noqa: SLF001
    assert judged(single, asked(), text) == shared
    assert SMALL["max_position_embeddings"] == 1024
