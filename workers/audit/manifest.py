"""What a run records about itself: one manifest, and a marker for each block (decision 0014).

A block whose marker exists is done. Knows nothing of files; `workers.audit.run_folder` reads and writes them.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.verdict import Provenance

SCHEMA_VERSION: Literal["1.0"] = "1.0"
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileInput(_Part):
    """One input file as it was when the run began."""

    uri: str
    name: str = Field(description="how rows name it: `source_topic`")
    bytes: Count
    sha256: str
    rows: Count
    malformed: Count = Field(0, description="rows that cannot be read, each a dead letter")
    dialect: dict[str, str | None] | None = Field(None, description="of CSV and TSV, as it was told or found")


class LeftOut(_Part):
    """A file or folder among the inputs that was not read."""

    uri: str
    why: str


class TopicInput(_Part):
    """Offsets of one partition: from `start` up to, not including, `end`."""

    topic: str
    partition: Count
    start: Count
    end: Count


class SampleTaken(_Part):
    """Which rows were taken: those whose event id's digest, by a key, is below a bound of 64 bits."""

    key: str = Field(description="hex digits; so that whoever chooses an event id does not choose whether it is taken")
    asked: str = Field(description="as given: a number, or a percentage")
    stratified_by: str | None = Field(description="column; null: none")
    bounds: dict[str, int] = Field(description="by value of that column; under an empty name where there is none")


class PolicyUsed(_Part):
    """The policy of the whole run."""

    name: str
    version: str
    sha256: str
    length: str = Field(description="signatures of the length policy and of the rule for structure")


class Counts(_Part):
    """Rows and what became of them. `judged` and `deduplicated` count prompts, of which a long text has several."""

    rows: Count = 0
    events: Count = Field(0, description="what the rows hold to be judged; more than rows where all turns are")
    turns_not_judged: Count = Field(0, description="turns that hold a text and are only context; see --turns")
    verdicts: Count = 0
    dead_letters: Count = 0
    skipped: Count = Field(0, description="events that the sample left out, or that --since-run has judged")
    judged: Count = 0
    deduplicated: Count = 0
    by_severity: dict[str, Count] = Field(default_factory=dict)
    by_category: dict[str, Count] = Field(default_factory=dict)
    by_action: dict[str, Count] = Field(default_factory=dict)
    by_reason: dict[str, Count] = Field(default_factory=dict)


class Cost(_Part):
    """What it took. `gpu_seconds` are those of the guard's calls, times the GPUs of an actor."""

    gpu_seconds: Seconds = 0.0
    prompt_tokens: Count = 0
    output_tokens: Count = 0
    wall_seconds: Seconds = Field(0.0, description="of a block: in its actor; of a run: of all its attempts")


class BlockFile(_Part):
    """One Parquet file that a block has written."""

    name: str = Field(description="within the run's folder")
    bytes: Count
    sha256: str


class BlockMarker(_Part):
    """One finished block; its files exist, and are what it wrote."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    block: Count
    attempt: str = Field("", description="names the attempt at the run that did it")
    files: tuple[BlockFile, ...] = ()
    finished_at: str = Field(description="RFC 3339, UTC")
    provenance: Provenance
    counts: Counts
    cost: Cost


class Manifest(_Part):
    """The run. Counts and cost are those of its end; until then, the markers have them."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    run_id: str
    state: Literal["running", "finished"]
    started_at: str = Field(description="RFC 3339, UTC")
    finished_at: str | None = None
    attempts: tuple[str, ...] = Field(description="when it was started and taken up again, RFC 3339, UTC")
    inputs: tuple[FileInput | TopicInput, ...]
    left_out: tuple[LeftOut, ...] = Field((), description="what the arguments name and was not read: the first 1,000")
    left_out_in_all: Count = 0
    mapping: dict[str, str] = Field(description="column by field; empty for a topic")
    turns: str = Field("last", description="of a row, which are judged: last, users or all")
    sample: SampleTaken | None
    since_run: str | None = Field(None, description="run whose verdicts were not made again")
    provenance: Provenance | None = Field(description="null until a block is done")
    policy: PolicyUsed
    versions: dict[str, str]
    block_rows: Annotated[int, Field(gt=0)]
    keep_text: bool = False
    blocks: Count
    counts: Counts = Counts()
    cost: Cost = Cost()


def total_counts(parts: Iterable[Counts]) -> Counts:
    """The sum of some counts, with names in order."""
    numbers: Counter[str] = Counter()
    tables: dict[str, Counter[str]] = {}
    for part in parts:
        for name in Counts.model_fields:
            value = getattr(part, name)
            if isinstance(value, dict):
                tables.setdefault(name, Counter()).update(value)
            else:
                numbers[name] += value
    sorted_tables = {name: dict(sorted(table.items())) for name, table in tables.items()}
    return Counts.model_validate({**numbers, **sorted_tables})


def total_cost(parts: Iterable[Cost]) -> Cost:
    """The sum of some costs."""
    sums: dict[str, float] = dict.fromkeys(Cost.model_fields, 0)
    for part in parts:
        for name in sums:
            sums[name] += getattr(part, name)
    return Cost.model_validate(sums)
