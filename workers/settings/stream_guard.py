"""The settings of the stream guard, which judges turns while they are written, and of its door on Kafka."""

from typing import Annotated, Literal

from pydantic import Field

from workers.settings.section import Positive, PositiveSeconds, Section

LEAST_PAGES = 512  # of a full context of 8,192 tokens


def delta_group(group_id: str) -> str:
    """The consumer group of the Kafka door, beside that of `kafka.group_id`."""
    return f"{group_id}-deltas"


class StreamGuardSettings(Section):
    """Model and replicas that judge turns while they are written; decisions 0021 and 0023."""

    model: str = Field("Qwen/Qwen3Guard-Stream-0.6B", description="hub name of a Stream model, local folder, or demo")
    revision: str | None = Field(None, description="hub commit to pin; of a folder: sha256:…, or a name before it")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:0 …")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="auto: bfloat16 on a GPU; on a CPU what suits it"
    )
    debounce: Literal["paper", "script"] = Field(
        "paper", description="an answer is raised at the second of two tokens in a row: not Safe, or of the same label"
    )
    replicas: Positive = Field(1, description="stream guard replicas")
    cpus_per_replica: Annotated[float, Field(ge=0)] = Field(1.0, description="logical CPUs of a stream guard replica")
    gpus_per_replica: Annotated[float, Field(ge=0)] = Field(0.0, description="GPUs of a stream guard replica")
    max_sessions: Annotated[int, Field(gt=0, le=65_536)] = Field(
        4_096, description="turns that a replica keeps open; more cost a replay, of the tenant that has most first"
    )
    max_pages: Annotated[int, Field(ge=LEAST_PAGES)] | None = Field(
        None, description="pages of 16 tokens that a replica keeps; unset: what half of the free memory holds"
    )
    batch_timeout_s: PositiveSeconds = Field(
        300.0, description="a replica whose round of steps runs longer is replaced"
    )
    turn_characters: Positive = Field(
        1_048_576, description="a turn of more characters, 64 more for each of its frames, ends and is marked"
    )
    held_frames: Positive = Field(256, description="frames of one turn that may wait for a missing one")


class DeltaSettings(Section):
    """Turns that arrive in deltas on Kafka; decision 0023."""

    enabled: bool = Field(False, description="judge turns of topics.deltas while they are written")
    idle_s: PositiveSeconds = Field(
        60.0, description="a turn without a new delta for this long ends with what is known of it, and is marked"
    )
    open_turns: Positive = Field(
        4_096,
        description="turns of one consumer that may be open; of more, those of the tenant that has most end first, idle"
        " for longest",
    )
    open_characters: Positive = Field(
        16_777_216, description="characters of all these turns, with those before them; of more, the same"
    )
    consumers: Positive = Field(1, description="DeltaWorker replicas")
    cpus_per_consumer: Annotated[float, Field(ge=0)] = Field(1.0, description="logical CPUs of a DeltaWorker replica")
