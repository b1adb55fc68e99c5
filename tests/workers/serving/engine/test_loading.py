"""Loading: which model, revision, device and dtype a setting means, and that wrong ones are named."""

import json
import logging
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
from safetensors.torch import load_file, save_file
from transformers.utils.logging import is_progress_bar_enabled

from workers.serving.engine import loading
from workers.serving.engine.loading import load_model, naming, resolve_device, resolve_dtype, show_downloads_only
from workers.serving.engine.reference import ReferenceEngine

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def hub(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that cannot be reached, and a cache with one model in it."""
    cached = tmp_path / "hub" / "models--Org--Tiny"
    shutil.copytree(model_folder, cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_a_hub_that_cannot_be_reached_is_one_line_and_not_two_for_each_try(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        tries.warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no hub")

    tries = logging.getLogger("huggingface_hub.utils._http")
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
    with pytest.raises(ValueError, match=r"^guard\.model 'o/m' .* cannot be loaded: no hub$"), naming("o/m", None):
        fail()
    tries.warning("of another")

    assert [record.getMessage() for record in caplog.records] == ["of another"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_download_has_its_bar_on_a_terminal_and_nothing_else_has(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    try:
        show_downloads_only()

        assert are_progress_bars_disabled() is not is_terminal
        assert not is_progress_bar_enabled(), "that of transformers"
    finally:
        disable_progress_bars()


def test_a_folder_is_loaded_ready_to_judge(model_folder: Path) -> None:
    loaded = load_model(str(model_folder), device="cpu")
    assert re.fullmatch("sha256:[0-9a-f]{16}", loaded.revision)
    assert (loaded.name, loaded.device, loaded.dtype) == (str(model_folder), CPU, torch.float32)
    assert (loaded.end_ids, loaded.max_positions) == (frozenset({602, 600}), 1024)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_a_folders_revision_follows_its_weights(make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    before = load_model(str(folder), device="cpu").revision
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    after = load_model(str(folder), device="cpu").revision
    assert after != before
    assert load_model(str(folder), device="cpu", revision=after).revision == after
    with pytest.raises(ValueError, match=rf"guard\.revision '{before}': .* are {after}"):
        load_model(str(folder), device="cpu", revision=before)
    assert load_model(str(folder), device="cpu", revision="v1").revision == f"v1@{after}"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"rms_norm_eps": 3.0}),
        ("config.json", {"rope_parameters": {"rope_type": "default", "rope_theta": 3.0}}),
        ("generation_config.json", {"eos_token_id": [602, 600, 5]}),
        ("tokenizer_config.json", {"model_max_length": 77}),
        ("special_tokens_map.json", {}),
        ("chat_template.jinja", None),
        ("additional_chat_templates/other.jinja", None),
    ],
)
def test_a_folders_revision_follows_every_file_that_changes_the_output(
    make_folder: Callable[..., Path], file: str, change: dict[str, object] | None
) -> None:
    folder = make_folder()
    before = load_model(str(folder), device="cpu").revision
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    if change is None:
        path.write_text((path.read_text() if path.exists() else "") + " ")
    else:
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | change))

    assert load_model(str(folder), device="cpu").revision != before


@pytest.mark.parametrize("file", ["README.md", ".gitattributes", ".cache/x.json"])
def test_a_folders_revision_is_the_same_where_no_output_can_change(make_folder: Callable[..., Path], file: str) -> None:
    folder = make_folder()
    before = load_model(str(folder), device="cpu").revision
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("another")

    assert load_model(str(folder), device="cpu").revision == before


def test_weights_that_are_not_the_models_are_refused(make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    weights = load_file(folder / "model.safetensors")
    for part in ("A", "B"):
        weights[f"base_model.model.layers.0.self_attn.q_proj.lora_{part}.weight"] = torch.ones(2, 2)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"guard\.model .*2 weights are not the model's: .*lora_A"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize(
    "file", ["adapter_model.safetensors", "adapter_config.json", "model-00002-of-00002.safetensors"]
)
def test_weights_that_would_not_be_read_are_refused(make_folder: Callable[..., Path], file: str) -> None:
    folder = make_folder()
    (folder / file).write_bytes(b"{}")
    with pytest.raises(ValueError, match=rf"guard\.model .*{re.escape(file)}.* would not be read"):
        load_model(str(folder), device="cpu")


@pytest.mark.usefixtures("hub")
def test_a_hub_name_gets_the_commit_that_it_was_loaded_from() -> None:
    assert load_model("Org/Tiny", device="cpu").revision == COMMIT
    assert load_model("Org/Tiny", device="cpu", revision=COMMIT).revision == COMMIT


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("model", "revision"), [("Org/Other", None), ("Org/Tiny", "f" * 40), ("Org/Tiny", "v2")])
def test_what_the_hub_does_not_have_is_named(model: str, revision: str | None) -> None:
    with pytest.raises(ValueError, match=rf"guard\.model '{model}' \(guard\.revision {revision!r}\)"):
        load_model(model, device="cpu", revision=revision)


@pytest.mark.parametrize("model", ["/nowhere/at/all", "./nowhere", "../nowhere", "a/b/c", "", "~/nowhere-at-all"])
def test_a_folder_that_is_not_there_is_not_looked_up_on_the_hub(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "cached_file", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(ValueError, match=r"guard\.model .* is neither a folder with a config\.json nor a hub name"):
        load_model(model, device="cpu")


def test_a_missing_demo_model_says_where_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "DEMO_FOLDER", tmp_path / "tiny_model")
    with pytest.raises(ValueError, match=r"guard\.model 'demo'.*tiny_model"):
        load_model("demo", device="cpu")


def _break_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_a_model_without_a_language_head_is_refused(make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    _break_config(folder, architectures=["Qwen3ForGuardModel"])
    with pytest.raises(ValueError, match=r"guard\.model .*no causal language model but Qwen3ForGuardModel"):
        load_model(str(folder), device="cpu")


def test_an_unknown_model_type_is_refused_by_name(make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    _break_config(folder, model_type="qwen99")
    with pytest.raises(ValueError, match=r"guard\.model .*qwen99"):
        load_model(str(folder), device="cpu")


def test_missing_weights_are_never_made_up(make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"guard\.model .*1 weights are missing .*up_proj"):
        load_model(str(folder), device="cpu")


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_file_is_an_error_that_names_the_model(make_folder: Callable[..., Path], broken: str) -> None:
    folder = make_folder()
    (folder / broken).write_bytes(b"\x10\x00 no such file")
    with pytest.raises(ValueError, match=r"guard\.model "):
        load_model(str(folder), device="cpu")


def test_a_model_without_a_chat_template_is_refused(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"guard\.model .*no chat template"):
        ReferenceEngine.load(str(make_folder(template=None)), device="cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "meta", "mps", ""])
def test_an_unknown_device_is_named(device: str) -> None:
    with pytest.raises(ValueError, match=rf"guard\.device '{device}'"):
        resolve_device(device)


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"guard\.device 'cuda:99' is not there"):
        resolve_device("cuda:99")


@pytest.mark.parametrize("present", [True, False])
def test_auto_takes_the_gpu_where_there_is_one(present: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    assert resolve_device("auto").type == ("cuda" if present else "cpu")


@pytest.mark.parametrize(
    ("flags", "device", "stored", "expected"),
    [
        ("avx512_bf16", CPU, torch.float32, torch.float32),
        ("avx512_bf16", CPU, None, torch.float32),
        ("fma amx_bf16 sse", CPU, torch.bfloat16, torch.bfloat16),
        ("fma avx512_bf16", CPU, torch.bfloat16, torch.bfloat16),
        ("fma avx512f xbf16", CPU, torch.bfloat16, torch.float32),
        ("fma", GPU, torch.float32, torch.bfloat16),
    ],
)
def test_auto_takes_the_dtype_that_the_machine_multiplies_well(
    flags: str,
    device: torch.device,
    stored: torch.dtype | None,
    expected: torch.dtype,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "_CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor: 0\nflags\t\t: {flags}\n")
    assert resolve_dtype("auto", device, stored) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bf16", torch.bfloat16), ("float16", torch.float16), ("fp16", torch.float16), ("fp32", torch.float32)],
)
def test_a_dtype_by_name_is_taken(name: str, expected: torch.dtype, model_folder: Path) -> None:
    loaded = load_model(str(model_folder), device="cpu", dtype=name)
    assert loaded.dtype is expected
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {expected}


def test_an_unknown_dtype_is_named() -> None:
    with pytest.raises(ValueError, match=r"guard\.dtype 'int8' is none of auto, bfloat16"):
        resolve_dtype("int8", CPU, None)


def test_a_quantised_checkpoint_is_refused_in_one_line(make_folder: Callable[..., Path]) -> None:
    folder = make_folder()
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": {"quant_method": "awq"}}))
    with pytest.raises(ValueError, match=r"^guard\.model .* is quantised \(awq\), and the engines") as caught:
        load_model(str(folder), device="cpu")

    assert "\n" not in str(caught.value)
