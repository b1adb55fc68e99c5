"""Loads a Qwen3Guard-Stream model: transformers' own Qwen3 and the eight tensors of its heads. No remote code.

Every wrong setting is a ValueError that names the setting and its value. Knows nothing of sessions.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase, Qwen3Model
from transformers.utils.hub import cached_file

from workers.serving.engine.completion import EngineIdentity
from workers.serving.engine.loading import (
    STREAM_ARCHITECTURE,
    folder_revision,
    naming,
    pinned_options,
    refuse_quantised,
    refuse_unread_weights,
    refuse_wrong_weights,
    resolve_device,
    resolve_dtype,
    resolve_source,
    show_downloads_only,
)
from workers.serving.engine.streaming.heads import TENSORS, HeadGroup, read_heads

STREAM_DEMO_FOLDER: Final = Path(__file__).resolve().parents[3] / "demo" / "tiny_stream_model"
_ONE_FILE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
# Tied to the embeddings, and asked for by nobody.
_LANGUAGE_HEAD: Final = "lm_head.weight"


class _Backbone(Qwen3Model):
    """Transformers' Qwen3, which does not report the heads' tensors as left over."""

    _keys_to_ignore_on_load_unexpected = [re.escape(name) for name in (*TENSORS, _LANGUAGE_HEAD)]  # noqa: RUF012


@dataclass(frozen=True, slots=True)
class StreamModel:
    """A backbone in evaluation mode on its device, both head groups in float32, and the tokenizer.

    `max_positions` is the context in tokens; the rest is as in `workers.serving.engine.loading.LoadedModel`.
    """

    name: str
    revision: str
    tokenizer: PreTrainedTokenizerBase
    network: Qwen3Model
    response: HeadGroup
    query: HeadGroup
    device: torch.device
    dtype: torch.dtype
    max_positions: int

    def identity(self, engine: str, prompt_sha256: str) -> EngineIdentity:
        """What the verdicts of this model say of it."""
        dtype = str(self.dtype).removeprefix("torch.")
        return EngineIdentity(self.name, self.revision, prompt_sha256, engine, dtype, self.device.type)


def load_stream_model(
    model: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto"
) -> StreamModel:
    """Load `model` (a hub name, a folder, or "demo"), as `workers.serving.engine.loading.load_model` does.

    Raises ValueError for settings that cannot work, for another kind of model, and for weights that are not all there.
    """
    torch_device = resolve_device(device)
    show_downloads_only()
    source, is_folder = resolve_source(model, STREAM_DEMO_FOLDER)
    with naming(model, revision):
        pinned, options = pinned_options(source, revision, is_folder=is_folder)
        config: Any = AutoConfig.from_pretrained(source, **options)
    _refuse_other_models(model, config)
    refuse_quantised(model, config)
    torch_dtype = resolve_dtype(dtype, torch_device, getattr(config, "dtype", None))
    if is_folder:
        refuse_unread_weights(model, Path(source))
    with naming(model, revision):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **options)
        network, report = cast(
            tuple[Any, dict[str, Any]],
            _Backbone.from_pretrained(
                source, config=config, dtype=torch_dtype, use_safetensors=True, output_loading_info=True, **options
            ),
        )
        weights = _Weights(source, is_folder=is_folder, revision=str(options["revision"]))
    missing = [name for name in TENSORS if name not in weights]
    refuse_wrong_weights(
        model, [*report["missing_keys"], *report["mismatched_keys"], *missing], report["unexpected_keys"]
    )
    response, query = read_heads(model, config, weights.read, torch_device)
    return StreamModel(
        name=model,
        revision=folder_revision(model, Path(source), revision) if is_folder else pinned or revision or "main",
        tokenizer=tokenizer,
        network=network.train(False).requires_grad_(False).to(torch_device),
        response=response,
        query=query,
        device=torch_device,
        dtype=torch_dtype,
        max_positions=config.max_position_embeddings,
    )


class _Weights:
    """The tensors of a model's safetensors files by name."""

    def __init__(self, source: str, *, is_folder: bool, revision: str) -> None:
        def path_of(name: str) -> Path | None:
            if is_folder:
                path = Path(source) / name
                return path if path.is_file() else None
            found = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
            return Path(found) if isinstance(found, str) else None

        single = path_of(_ONE_FILE)
        if single is not None:
            with safe_open(single, framework="pt") as file:
                self._files = dict.fromkeys(file.keys(), single)
            return
        index = path_of(_INDEX)
        if index is None:
            raise ValueError(f"neither {_ONE_FILE} nor {_INDEX} is there")
        mapped: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        self._files = {name: path for name, file in mapped.items() if (path := path_of(file)) is not None}

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read(self, name: str) -> torch.Tensor:
        with safe_open(self._files[name], framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor


def _refuse_other_models(model: str, config: PretrainedConfig) -> None:
    architectures = config.architectures or []
    if STREAM_ARCHITECTURE not in architectures:
        raise ValueError(
            f"guard.model {model!r} is no Qwen3Guard-Stream model but {', '.join(architectures) or 'nameless'}: "
            "a model that writes its verdicts, as Qwen3Guard-Gen, judges whole messages"
        )
    known: Any = config
    if config.model_type != "qwen3" or known.hidden_act != "silu" or set(known.layer_types) != {"full_attention"}:
        raise ValueError(f"guard.model {model!r}: its backbone is no Qwen3 with full attention in every layer")
