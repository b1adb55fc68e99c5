"""What an audit report says: every figure of the page, and the JSON beside it.

The page is rendered from this model and from nothing else, so that the two cannot differ.
Shares are of 1, intervals are Wilson's at 95 %, times are RFC 3339 in UTC.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

REPORT_SCHEMA_VERSION = "1.0"
Unit = Literal["hour", "day", "month", "year"]
Counts = dict[str, int]


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunFacts(_Figures):
    """Which run this is, and what judged; counts and cost are those that its blocks tell of."""

    run_id: str
    data: str
    """What was read, in a few words: names of files, or of topics."""
    finished: bool
    started_at: str
    finished_at: str | None
    blocks_done: int
    blocks: int
    inputs: int
    input_bytes: int
    malformed: int
    left_out: dict[str, int]
    """Files and folders among the inputs that were not read, by why."""
    provenance: dict[str, str]
    policy: dict[str, str]
    versions: dict[str, str]
    sample: str | None
    since_run: str | None
    rows: int
    events: int
    """What the rows hold to be judged."""
    turns: str
    turns_not_judged: int
    verdicts: int
    dead_letters: int
    skipped: int
    judged: int
    deduplicated: int
    gpu_seconds: float
    wall_seconds: float | None


class Volumes(_Figures):
    """What was counted in the run's files."""

    verdicts: int
    dead_letters: int
    prompt_tokens: int
    output_tokens: int
    windowed: int
    truncated: int


class Group(_Figures):
    """Verdicts of one tenant, language or conversation; `low` and `high` bound the share of Unsafe.

    A name of None stands for rows that name none.
    """

    name: str | None
    tenant: str | None = None
    rows: int
    severities: Counts
    categories: Counts
    unsafe_share: float
    low: float
    high: float


class Breakdown(_Figures):
    """Groups in the order of the page.

    `listed` and `rest` together hold every verdict, unless `rest` is None: then only the leading ones were looked for.
    `distinct` is the number of groups, a lower bound where `cut`; `alone` of them have one verdict, and are not listed
    where the list is led by shares.
    """

    listed: list[Group]
    rest: Group | None
    distinct: int
    cut: bool
    alone: int = 0


class Bucket(_Figures):
    """Verdicts of one stretch of time."""

    start: str
    severities: Counts
    categories: Counts


class Times(_Figures):
    """Verdicts by the time of their events; what lies outside of the buckets is counted, not drawn."""

    unit: Unit
    buckets: list[Bucket]
    without_time: int
    earlier: int
    later: int


class DeadLetterPlace(_Figures):
    """Where a dead letter came from; the detail names field and rule, never message text."""

    event_id: str | None
    source: str
    detail: str | None


class DeadLetterReason(_Figures):
    """Dead letters of one reason."""

    reason: str
    stage: str | None
    rows: int
    share: float
    first: list[DeadLetterPlace]


class Histogram(_Figures):
    """Scores of one label in bins of equal width from 0 to 1, by the severity that was decided."""

    label: str
    bins: int
    severities: dict[str, list[int]]
    scored: int


class Example(_Figures):
    """One verdict for a reviewer; `text` only if it was asked for and the run kept it; see `text_names`."""

    event_id: str
    verdict_id: str
    tenant: str
    conversation_id: str | None
    occurred_at: str | None
    language: str | None
    task: str
    severity: str
    categories: list[str]
    action: str
    scores: dict[str, float]
    source: str
    text_name: str
    text: str | None


class ExampleList(_Figures):
    """Examples in the order in which they are to be looked at; equal texts are shown once."""

    name: Literal["worst", "borderline"]
    by_score: bool
    examples: list[Example]


class Flip(_Figures):
    """One event whose severity differs between the two runs; `text` as that of an example."""

    event_id: str
    tenant: str
    conversation_id: str | None
    before: str
    after: str
    categories_before: list[str]
    categories_after: list[str]
    action_before: str
    action_after: str
    text_name: str
    text: str | None


class Shift(_Figures):
    """Pairs of one tenant or language: how many are Unsafe in each run, how many changed their severity."""

    name: str | None
    pairs: int
    unsafe_before: int
    unsafe_after: int
    stricter: int
    milder: int


class CategoryShift(_Figures):
    """Pairs in which a category is named by the run before, by this one, by both."""

    name: str
    before: int
    after: int
    both: int


class AuditComparison(_Figures):
    """This run beside an earlier one, event by event. `matrix[i][j]`: earlier severity i, severity j here.

    `changed_text` pairs have one id and two texts: they are left out of everything else.
    """

    against: RunFacts
    against_verdicts: int
    against_dead_letters: int
    pairs: int
    only_here: int
    only_there: int
    changed_text: int
    order: list[str]
    matrix: list[list[int]]
    agreement: float | None
    agreement_low: float
    agreement_high: float
    kappa: float | None
    linear_kappa: float | None
    changed_severity: int
    changed_categories: int
    changed_action: int
    tenants: list[Shift]
    languages: list[Shift]
    groups_cut: bool
    categories: list[CategoryShift]
    flips: list[Flip]


class AuditReport(_Figures):
    """A whole report. `notes` say what was left out and why; `warnings` what does not add up."""

    schema_version: str = REPORT_SCHEMA_VERSION
    made_at: str
    weir_version: str
    run: RunFacts
    volumes: Volumes
    severities: Counts
    categories: Counts
    actions: Counts
    tasks: Counts
    unsafe_share: float
    unsafe_low: float
    unsafe_high: float
    times: Times
    tenants: Breakdown
    languages: Breakdown
    conversations: Breakdown
    dead_letters: list[DeadLetterReason]
    histograms: list[Histogram]
    examples: list[ExampleList]
    with_text: bool
    comparison: AuditComparison | None
    warnings: list[str]
    notes: list[str]
