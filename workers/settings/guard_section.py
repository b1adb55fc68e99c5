"""The guard's settings: model, engine, replicas, and the servers of an engine that is remote.

Reads nothing.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from pipelines.guard import ASK_SHARE, BATCH_SIZE
from workers.settings.section import Positive, PositiveSeconds, Section


class RemoteSettings(Section):
    """Servers that run the model, for `guard.engine` remote; decision 0019 explains the figures."""

    urls: Annotated[tuple[str, ...], NoDecode, Field(max_length=64)] = Field(
        (), description="addresses of the servers, comma-separated, such as http://vllm:8000; no login in them"
    )
    flavour: Literal["vllm", "sglang", "llamacpp", "chat"] = Field(
        "vllm", description="what the servers are; chat: any with /v1/chat/completions, such as a hosted one"
    )
    served_model: str | None = Field(
        None, min_length=1, description="the model's name on the servers; unset: the only one that they serve"
    )
    api_key_file: Path | None = Field(None, description="file with the key for the servers; read for each connection")
    ca_file: Path | None = Field(None, description="PEM file of the certificate authority, for https")
    behaviour_sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="digest of what the servers answer to known texts, as weir check says; others are refused",
    )
    prompts_per_call: Annotated[int, Field(gt=0, le=1024)] = Field(32, description="prompts of one call at most")
    calls: Annotated[int, Field(gt=0, le=512)] = Field(8, description="calls under way on each server at most")
    timeout_s: PositiveSeconds = Field(60.0, description="a call that takes longer is given up and made again")
    hedge_share: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.05,
        description="share of the live calls that may be made a second time, on another server, once slower than 95 %"
        " of the last ones; 0: none",
    )
    start_timeout_s: PositiveSeconds = Field(300.0, description="a start fails if no server has proved itself by then")
    drafts: bool = Field(
        False, description="sglang: send the expected verdict along, to be verified in one pass; not yet run on a GPU"
    )

    @field_validator("urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("urls")
    @classmethod
    def _plain_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~/-]*)?", url):
                raise ValueError("http://host:port or https://host:port is needed, with neither login nor query")
        plain = tuple(url.rstrip("/").removesuffix("/v1") for url in value)
        if len(set(plain)) < len(plain):
            raise ValueError("an address stands there twice")
        return plain


class GuardSettings(Section):
    """Model, engine and the replicas that run it."""

    enabled: bool = Field(
        True,
        description="judge whole messages; off where turns are judged while they are written and nothing else:"
        " topics.events are not read, and this model is not loaded",
    )
    model: str = Field("Qwen/Qwen3Guard-Gen-0.6B", description="hub name, local folder, or demo")
    revision: str | None = Field(None, description="hub commit to pin; of a folder: sha256:…, or a name before it")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:0 …")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="auto: bfloat16 on a GPU; on a CPU what suits it"
    )
    engine: Literal["one_pass", "reference", "remote"] = Field(
        "one_pass",
        description="one_pass: a drafted verdict, verified in one pass; reference: plain greedy generation; remote:"
        " servers that run the model, of which guard.model is the tokenizer",
    )
    remote: RemoteSettings = RemoteSettings()
    compile: bool = Field(True, description="one_pass: compile parts of the model in the background, once busy")
    batch_invariant: bool = Field(
        False,
        description="one_pass: in bf16 even near-ties do not depend on the batch; what is compiled is compiled at"
        " start, and a GPU runs one message a pass",
    )
    score_temperature: Annotated[float, Field(gt=0)] | None = Field(
        None, description="one_pass, remote: publish label probabilities, divided by this temperature; unset: none"
    )
    max_new_tokens: Positive = Field(128, description="most tokens of an output")
    batch_tokens: Positive = Field(65_536, description="padded tokens of one GPU batch at most")
    batch_size: Positive = Field(BATCH_SIZE, description="items of one GPU batch at most")
    background_batch_tokens: Positive = Field(
        2_048,
        description="padded tokens of a background batch at most; a live message waits for one such batch at most",
    )
    background_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.1, description="background tokens that ride along in live batches, for each live token; 0: none"
    )
    ask_share: Annotated[float, Field(gt=0, le=1)] = Field(
        ASK_SHARE,
        description="what asks over HTTP may add to the time of a live batch, and to what a live message waits for",
    )
    batch_timeout_s: PositiveSeconds = Field(
        300.0,
        description="a replica whose batch runs longer is replaced; once some were run, one that runs for 30 s and"
        " 20 times as long as they did, too",
    )
    cache_size: Annotated[int, Field(ge=0)] = Field(
        16_384, description="completions that a replica keeps for prompts that come again; 0: none"
    )
    replicas: Positive = Field(1, description="guard replicas")
    cpus_per_replica: Annotated[float, Field(ge=0)] = Field(1.0, description="logical CPUs of a guard replica")
    gpus_per_replica: Annotated[float, Field(ge=0)] = Field(0.0, description="GPUs of a guard replica")
    max_surge_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        0, description="extra guard replicas while a change rolls out; 0: old ones stop first, as on a single GPU"
    )

    @property
    def has_scores(self) -> bool:
        """The engine can tell label probabilities."""
        return self.engine == "one_pass" or (self.engine == "remote" and self.remote.flavour in ("vllm", "sglang"))
