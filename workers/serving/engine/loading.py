"""Loads a model and its tokenizer, or the tokenizer alone, and says exactly which: revision, device and dtype.

Every wrong setting is a ValueError that names the setting and its value. Knows nothing of prompts, batches or verdicts.
"""

import hashlib
import json
import logging
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from huggingface_hub import constants
from huggingface_hub.utils.tqdm import enable_progress_bars
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from workers.serving.engine.completion import EngineIdentity

DEMO_MODEL: Final = "demo"
STREAM_ARCHITECTURE: Final = "Qwen3ForGuardModel"
DEMO_FOLDER: Final = Path(__file__).resolve().parents[2] / "demo" / "tiny_model"
_HUB_NAME: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")
_READ: Final = frozenset({".safetensors", ".json", ".jinja", ".txt", ".model"})
_COMMIT_IN_PATH: Final = re.compile(r"snapshots[/\\]([0-9a-f]{40})[/\\]")
_DTYPES: Final = {
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
}
# CPU flags of hardware bf16 products: Intel AMX, Intel and AMD AVX-512, Arm.
_BF16_FLAGS: Final = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
_CPUINFO: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in evaluation mode on its device, its tokenizer, and what its verdicts' provenance needs.

    `name` is the name that was asked for; `end_ids` are the ids that end an answer; `max_positions` is the model's
    context in tokens, prompt and answer together.
    """

    name: str
    revision: str
    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    device: torch.device
    dtype: torch.dtype
    end_ids: frozenset[int]
    max_positions: int

    def identity(self, engine: str, prompt_sha256: str) -> EngineIdentity:
        """What the verdicts of this model say of it, run by `engine` on prompts of that digest."""
        return EngineIdentity(
            model=self.name,
            revision=self.revision,
            prompt_sha256=prompt_sha256,
            engine=engine,
            dtype=str(self.dtype).removeprefix("torch."),
            device=self.device.type,
        )


@dataclass(frozen=True, slots=True)
class LoadedTokenizer:
    """The tokenizer of a model that runs elsewhere; see `LoadedModel` for the fields. `vocabulary` is its ids."""

    name: str
    tokenizer: PreTrainedTokenizerBase
    end_ids: frozenset[int]
    vocabulary: int
    max_positions: int


def load_tokenizer(model: str, *, revision: str | None = None) -> LoadedTokenizer:
    """Load the tokenizer of `model` (a hub name, a folder, or "demo"), which needs no weights there.

    Raises ValueError as `load_model` does.
    """
    show_downloads_only()
    source, is_folder = resolve_source(model)
    with naming(model, revision):
        _, options = pinned_options(source, revision, is_folder=is_folder)
        config = AutoConfig.from_pretrained(source, **options)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **options)
        try:
            generation = GenerationConfig.from_pretrained(source, **options)
        except OSError:  # there need not be one
            generation = None
    _refuse_other_architectures(model, config)
    end_ids = _end_ids(generation, tokenizer)
    if not end_ids:
        raise ValueError(f"guard.model {model!r}: neither its generation config nor its tokenizer has an end token")
    return LoadedTokenizer(model, tokenizer, end_ids, config.vocab_size, config.max_position_embeddings)


def load_model(model: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto") -> LoadedModel:
    """Load `model` (a hub name, a folder, or "demo") for greedy generation; no code of the repository is run.

    `revision` pins a hub name. A folder's is the digest of its files, "sha256:…", so that files which change never keep
    it: one that starts so must be it, and any other is a name before it ("v1@sha256:…"). Raises ValueError for settings
    that cannot work, and for weights that are not all there.
    """
    torch_device = resolve_device(device)
    show_downloads_only()
    source, is_folder = resolve_source(model)
    with naming(model, revision):
        pinned, options = pinned_options(source, revision, is_folder=is_folder)
        config = AutoConfig.from_pretrained(source, **options)
    _refuse_other_architectures(model, config)
    refuse_quantised(model, config)
    torch_dtype = resolve_dtype(dtype, torch_device, getattr(config, "dtype", None))
    if is_folder:
        refuse_unread_weights(model, Path(source))
    with naming(model, revision):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **options)
        network, report = _load_weights(source, config=config, dtype=torch_dtype, **options)
    refuse_wrong_weights(model, [*report["missing_keys"], *report["mismatched_keys"]], report["unexpected_keys"])
    end_ids = _end_ids(network.generation_config, tokenizer)
    if not end_ids:
        raise ValueError(f"guard.model {model!r}: neither its generation config nor its tokenizer has an end token")
    return LoadedModel(
        name=model,
        revision=folder_revision(model, Path(source), revision) if is_folder else pinned or revision or "main",
        tokenizer=tokenizer,
        model=network.train(False).requires_grad_(False).to(torch_device),
        device=torch_device,
        dtype=torch_dtype,
        end_ids=end_ids,
        max_positions=config.max_position_embeddings,
    )


def show_downloads_only() -> None:
    """Have the libraries draw no bar but that of a download, which takes minutes, and that only on a terminal."""
    transformers_logging.disable_progress_bar()  # the hub's, too
    if sys.stderr.isatty() and not constants.HF_HUB_DISABLE_PROGRESS_BARS:
        enable_progress_bars()


def resolve_device(device: str) -> torch.device:
    """The device of the setting: "auto" is a GPU where there is one. Raises ValueError if there is none such."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"guard.device {device!r} is none of auto, cpu, cuda, cuda:<index>")
    resolved = torch.device(device)
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"guard.device {device!r} is not there: this machine has {torch.cuda.device_count()} GPUs")
    return resolved


def resolve_dtype(dtype: str, device: torch.device, stored: torch.dtype | None) -> torch.dtype:
    """The dtype of the setting; `stored` is the checkpoint's own, None where it does not say.

    "auto" is bfloat16 on a GPU. On a CPU it is float32 for a float32 checkpoint (which loses nothing) and where the CPU
    has no bfloat16 products (which would be slower), else bfloat16. Raises ValueError for an unknown name.
    """
    if dtype != "auto":
        if dtype not in _DTYPES:
            raise ValueError(f"guard.dtype {dtype!r} is none of auto, {', '.join(_DTYPES)}")
        return _DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16
    return torch.float32 if stored in (None, torch.float32) or not _cpu_has_bf16() else torch.bfloat16


def _cpu_has_bf16() -> bool:
    if not _CPUINFO.exists():  # not Linux
        return False
    return not _BF16_FLAGS.isdisjoint(_CPUINFO.read_text().split())


def resolve_source(model: str, demo: Path | None = None) -> tuple[str, bool]:
    """What to load from, and whether that is a folder; `demo` is that of the model "demo"."""
    folder = (demo or DEMO_FOLDER) if model == DEMO_MODEL else Path(model).expanduser()
    if (folder / "config.json").is_file():
        return str(folder), True
    if model == DEMO_MODEL:
        raise ValueError(f"guard.model {model!r}: the demo model is not in {folder}")
    if folder.is_dir() or not _HUB_NAME.fullmatch(model) or model.startswith("."):
        raise ValueError(f"guard.model {model!r} is neither a folder with a config.json nor a hub name")
    return model, False


@contextmanager
def naming(model: str, revision: str | None) -> Iterator[None]:
    """Whatever the libraries cannot read is a wrong setting, so the error names it, and nothing else does before it."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)  # two lines for each of five tries at a hub that cannot be reached
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"guard.model {model!r} (guard.revision {revision!r}) cannot be loaded: {error}") from error
    finally:
        hub.setLevel(level)


def hub_commit(model: str, revision: str | None) -> str | None:
    """The commit that `revision` stands for now, so that config, tokenizer and weights all come from one commit."""
    # transformers 5.23 no longer leaves it in the config's `_commit_hash`; the cache's path has it in every version.
    commit = _COMMIT_IN_PATH.search(str(cached_file(model, "config.json", revision=revision or "main")))
    return commit[1] if commit else None


def pinned_options(source: str, revision: str | None, *, is_folder: bool) -> tuple[str | None, dict[str, Any]]:
    """The commit to load, if that can be told, and what every loader of transformers is given."""
    pinned = None if is_folder else hub_commit(source, revision)
    return pinned, {
        "revision": pinned or revision or "main",
        "trust_remote_code": False,
        "local_files_only": is_folder,
    }


def _load_weights(source: str, **options: Any) -> tuple[PreTrainedModel, Mapping[str, Collection[object]]]:
    # The report's tuple is missing from the annotations of transformers.
    return cast(
        tuple[PreTrainedModel, Mapping[str, Collection[object]]],
        AutoModelForCausalLM.from_pretrained(source, use_safetensors=True, output_loading_info=True, **options),
    )


def folder_revision(model: str, folder: Path, revision: str | None) -> str:
    """The digest of every file that the libraries may read: weights, configurations, tokenizer and template."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if _is_read(path.relative_to(folder)) and path.is_file()):
        name = path.relative_to(folder).as_posix().encode()
        digest.update(b"%d %s %d\n" % (len(name), name, path.stat().st_size))
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    found = f"sha256:{digest.hexdigest()[:16]}"
    if revision is not None and revision.startswith("sha256:") and revision != found:
        raise ValueError(f"guard.revision {revision!r}: the files in guard.model {model!r} are {found}")
    return found if revision in (None, found) else f"{revision}@{found}"


def _is_read(path: Path) -> bool:
    return path.suffix in _READ and not any(part.startswith(".") for part in path.parts)


def refuse_wrong_weights(model: str, incomplete: Collection[object], unexpected: Collection[object]) -> None:
    """Weights that are missing or misshapen, and those that belong to no part of the model, by name."""
    if incomplete:
        # transformers fills such weights with random numbers and goes on.
        named = list(map(str, incomplete))[:3]
        raise ValueError(f"guard.model {model!r}: {len(incomplete)} weights are missing or misshapen: {named}")
    if unexpected:
        # transformers leaves them out and goes on: an adapter that was never merged would change nothing.
        named = sorted(map(str, unexpected))[:3]
        raise ValueError(f"guard.model {model!r}: {len(unexpected)} weights are not the model's: {named}")


def refuse_unread_weights(model: str, folder: Path) -> None:
    """An adapter, or a second set of weights: somebody thinks that the model has them, and it has not."""
    index = folder / "model.safetensors.index.json"
    named = {"model.safetensors"}
    if index.is_file() and not (folder / "model.safetensors").is_file():
        with naming(model, None):
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    found = {path.name for path in folder.glob("*.safetensors")} | {
        path.name for path in (folder / "adapter_config.json",) if path.is_file()
    }
    if found - named:
        raise ValueError(f"guard.model {model!r}: {sorted(found - named)[:3]} would not be read")


def _refuse_other_architectures(model: str, config: PretrainedConfig) -> None:
    # Qwen3Guard-Stream, embedders and classifiers share this model type; without its head, each would load and babble.
    architectures = config.architectures or []
    if STREAM_ARCHITECTURE in architectures:
        raise ValueError(
            f"guard.model {model!r} is no causal language model but {STREAM_ARCHITECTURE}: a Qwen3Guard-Stream model "
            "judges answers token by token (weir classify --stream) and writes no verdicts"
        )
    if architectures and not any(name.endswith("ForCausalLM") for name in architectures):
        raise ValueError(f"guard.model {model!r} is no causal language model but {', '.join(architectures)}")


def refuse_quantised(model: str, config: PretrainedConfig) -> None:
    """A checkpoint of other numbers than ours, by its method."""
    # Each kind needs a library of its own, which transformers asks for in many lines, or computes in place of ours.
    if (stored := getattr(config, "quantization_config", None)) is not None:
        kind = stored.get("quant_method") if isinstance(stored, Mapping) else getattr(stored, "quant_method", None)
        named = str(getattr(kind, "value", kind or "of no name"))[:32]
        raise ValueError(f"guard.model {model!r} is quantised ({named}), and the engines take unquantised weights only")


def _end_ids(generation: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    shipped = generation.eos_token_id if generation is not None else None
    ids = shipped if isinstance(shipped, list) else [shipped]
    return frozenset(token_id for token_id in [*ids, tokenizer.eos_token_id] if token_id is not None)
