"""What the shadow topic says of a candidate: agreement, what it would have changed, and what was never compared.

Counts come from the summaries, which also cover what agreed; disagreements serve as examples. Shows nothing.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

from schemas.record import SourceRecord
from schemas.shadow import SHADOW_RECORD, Difference, Label, ShadowDisagreement, ShadowJudge, ShadowSummary
from workers.kafka.errors import kafka_faults
from workers.kafka.reader import OffsetsRead, Progress, TopicReader
from workers.settings.loading import Settings


@dataclass
class ShadowComparison:
    """One candidate beside one live judge, over all consumers and summaries.

    Attributes:
        since, until: RFC 3339 times of the first and the last summary; empty where there is none.
        dropped, unanswered: in the sample, and not compared.
        unpublished: disagreements or summaries that are missing here.
    """

    live: ShadowJudge
    candidate: ShadowJudge
    since: str = ""
    until: str = ""
    summaries: int = 0
    agreed: int = 0
    disagreed: int = 0
    dropped: int = 0
    unanswered: int = 0
    unpublished: int = 0
    differences: Counter[Difference] = field(default_factory=Counter)
    pairs: Counter[tuple[Label, Label]] = field(default_factory=Counter)

    @property
    def agreement(self) -> float | None:
        """Share of the compared events that both treat alike; None where there are none."""
        compared = self.agreed + self.disagreed
        return self.agreed / compared if compared else None

    def add(self, summary: ShadowSummary) -> None:
        """Add one summary's counts."""
        self.since = min(self.since or summary.started_at, summary.started_at)
        self.until = max(self.until, summary.ended_at)
        self.summaries += 1
        self.agreed += summary.agreed
        self.disagreed += summary.disagreed
        self.dropped += summary.dropped
        self.unanswered += summary.unanswered
        self.unpublished += summary.unpublished
        self.differences.update(summary.differences)
        for pair in summary.pairs:
            self.pairs[pair.live, pair.candidate] += pair.count

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        pairs = [
            {"live": live, "candidate": candidate, "count": count}
            for (live, candidate), count in self.pairs.most_common()
        ]
        counts = ("summaries", "agreed", "disagreed", "dropped", "unanswered", "unpublished")
        return {
            "live": self.live.model_dump(),
            "candidate": self.candidate.model_dump(),
            "since": self.since,
            "until": self.until,
            "agreement": self.agreement,
            **{name: getattr(self, name) for name in counts},
            "differences": dict(self.differences),
            "pairs": pairs,
        }


@dataclass
class ShadowReport:
    """What a reading of the topic came to.

    Attributes:
        disagreements: records of single events that were read.
        examples: the newest of them.
        foreign: records that are none of the lane's.
    """

    comparisons: list[ShadowComparison]
    disagreements: int
    examples: list[ShadowDisagreement]
    foreign: int

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        return {
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "disagreements": self.disagreements,
            "examples": [example.model_dump(mode="json") for example in self.examples],
            "foreign": self.foreign,
        }


def shadow_report(
    settings: Settings, since_ms: int | None, until_ms: int | None, examples: int, progress: Progress
) -> ShadowReport:
    """Read the shadow topic.

    Args:
        settings: where Kafka is, and the topic.
        since_ms: only what was written from then on.
        until_ms: only what was written before.
        examples: how many of the newest disagreements to keep.
        progress: told of offsets read, and of how many there are.

    Raises:
        ModerationError: the topic does not exist or gives nothing.
    """
    comparisons: dict[tuple[ShadowJudge, ShadowJudge], ShadowComparison] = {}
    newest: deque[ShadowDisagreement] = deque(maxlen=examples)
    disagreements = foreign = 0
    with kafka_faults(settings.kafka), TopicReader(settings.kafka) as reader:
        ranges = reader.ranges([settings.topics.shadow], since_ms, until_ms)
        for record in reader.read(ranges, OffsetsRead(progress, ranges)):
            match _read(record):
                case ShadowSummary() as summary:
                    key = summary.live, summary.candidate
                    comparisons.setdefault(key, ShadowComparison(*key)).add(summary)
                case ShadowDisagreement() as disagreement:
                    disagreements += 1
                    newest.append(disagreement)
                case None:
                    foreign += 1
    ordered = sorted(comparisons.values(), key=lambda comparison: comparison.until, reverse=True)
    return ShadowReport(ordered, disagreements, list(newest), foreign)


def _read(record: SourceRecord) -> ShadowDisagreement | ShadowSummary | None:
    try:
        return SHADOW_RECORD.validate_json(record.value or b"")
    except ValueError:
        return None
