"""Has the mix of verdicts moved? Compares recent verdicts with a slowly forgetting baseline of those before them.

The distance of two mixes is their total variation: half the sum of the differences, which is the smallest share of
verdicts that must have changed their label. The mix of n independent verdicts of three labels is more than t away from
the true one with a probability of at most 6 exp(-2 n t²): Hoeffding (1963) on each of the 2³ - 2 sets of labels, as in
Weissman et al., "Inequalities for the L1 Deviation of the Empirical Distribution" (HP Labs, 2003). That much is allowed
to chance on either side. To compare two windows of one stream is the idea of ADWIN: Bifet and Gavaldà, "Learning from
Time-Changing Data with Adaptive Windowing" (SDM 2007); ours have a fixed length, because a moving cut costs more.

Decides nothing.
"""

import json
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.verdict import Severity

LABELS = tuple(Severity)
_BASELINE_SPANS = 10  # of the recent window, before a baseline counts: what one fetch brings may be of one tenant
_CHANCE = 1e-9  # of a false alarm, per look and side: of a million windows, 16 looks each, 3 % would see one
_SPREAD = math.log((2 ** len(Severity) - 2) / _CHANCE) / 2
_KEY = "weir_mix"
_JUDGE = "judge"
_LONGEST = 256
_HEAVIEST = 1e15


class Drift(NamedTuple):
    """Two mixes, as shares by label, and how far they are apart.

    Attributes:
        distance: total variation, 0 to 1.
        chance: how much of it may be chance.
        records: recent verdicts.
    """

    distance: float
    chance: float
    recent: dict[Severity, float]
    baseline: dict[Severity, float]
    records: int


class VerdictSlice:
    """Verdicts of a stretch of time, by label."""

    __slots__ = ("counts", "records", "started_s")

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self.counts = [0] * len(LABELS)
        self.records = 0


class VerdictMix:
    """Recent verdicts and their baseline. A verdict is in one of the two, never in both.

    Args:
        window_records: recent are at least so many verdicts,
        window_s: of at least so many seconds.
        baseline_records: evidence that a baseline needs.
        half_life_s: after so long a verdict counts half in the baseline.

    Attributes:
        judge: what gives the verdicts, in a short name; kept beside the baseline, to be known again.
        baseline: the baseline as a short text for `restore`; empty while there is too little to keep.
    """

    def __init__(self, window_records: int, window_s: float, baseline_records: int, half_life_s: float) -> None:
        self._window_records = window_records
        self._window_s = window_s
        self._baseline_records = baseline_records
        self._half_life_s = half_life_s
        self._recent: deque[VerdictSlice] = deque()
        self._counts = [0] * len(LABELS)
        self._records = 0
        self._baseline = [0.0] * len(LABELS)
        self._baseline_since_s: float | None = None
        self._baseline_at_s = 0.0
        self._is_baseline_ready = False
        self._recent_to_s = 0.0
        self.judge = ""
        self.baseline = ""

    @property
    def recent_since_s(self) -> float:
        """When the oldest of the recent verdicts came."""
        return self._recent[0].started_s if self._recent else self._recent_to_s

    def take(self, newest: VerdictSlice, now_s: float) -> None:
        """Take a full slice in; the oldest ones go over to the baseline."""
        self._recent.append(newest)
        self._recent_to_s = now_s
        self._records += newest.records
        self._counts = [a + b for a, b in zip(self._counts, newest.counts, strict=True)]
        while len(self._recent) > 1 and self._is_enough(
            self._records - self._recent[0].records, now_s - self._recent[1].started_s
        ):
            self._settle(self._recent.popleft(), now_s)
        self.baseline = self._baseline_text()

    def measure(self) -> Drift | None:
        """The distance, or None while there is too little to compare."""
        weight = sum(self._baseline)
        if not self._recent or not self._is_enough(self._records, self._recent_to_s - self._recent[0].started_s):
            return None
        if weight < self._baseline_records or not self._is_baseline_ready:
            return None
        recent = [count / self._records for count in self._counts]
        baseline = [part / weight for part in self._baseline]
        return Drift(
            distance=sum(abs(a - b) for a, b in zip(recent, baseline, strict=True)) / 2,
            # A forgotten verdict weighs less than one, so the weight is at most the number of independent ones.
            chance=math.sqrt(_SPREAD / self._records) + math.sqrt(_SPREAD / weight),
            recent=dict(zip(LABELS, recent, strict=True)),
            baseline=dict(zip(LABELS, baseline, strict=True)),
            records=self._records,
        )

    def restore(self, baselines: Iterable[str]) -> bool:
        """Begin with the mean of what was kept; texts of other origin are left out. True where one was of use.

        Only for a mix that has seen nothing yet.
        """
        if self._recent:
            return False
        read = [found for text in baselines if (found := _read(text)) is not None]
        kept = [mix for mix, _ in read if sum(mix) >= self._baseline_records]
        if not kept:
            return False
        self.judge = next((judge for _, judge in read if judge), "")
        self._baseline = [sum(parts) / len(kept) for parts in zip(*kept, strict=True)]
        self._is_baseline_ready = True
        self.baseline = self._baseline_text()
        return True

    def _baseline_text(self) -> str:
        if sum(self._baseline) < self._baseline_records or not self._is_baseline_ready:
            return ""
        kept = {_KEY: [round(part, 1) for part in self._baseline], **({_JUDGE: self.judge} if self.judge else {})}
        return json.dumps(kept, separators=(",", ":"))

    def _is_enough(self, records: int, span_s: float) -> bool:
        return records >= self._window_records and span_s >= self._window_s

    def _settle(self, old: VerdictSlice, now_s: float) -> None:
        """Hand the oldest slice of the recent ones over to the baseline."""
        self._records -= old.records
        self._counts = [a - b for a, b in zip(self._counts, old.counts, strict=True)]
        if self._baseline_since_s is None:
            self._baseline_since_s, self._baseline_at_s = old.started_s, now_s
        kept = 0.5 ** ((now_s - self._baseline_at_s) / self._half_life_s)
        self._baseline = [part * kept + count for part, count in zip(self._baseline, old.counts, strict=True)]
        self._baseline_at_s = now_s
        if now_s - self._baseline_since_s >= _BASELINE_SPANS * self._window_s:
            self._is_baseline_ready = True


def _read(text: str) -> tuple[Sequence[float], str] | None:
    """What `baseline` wrote, else None: other tools may write where it is kept."""
    if _KEY not in text or len(text) > _LONGEST:
        return None
    try:
        kept = json.loads(text)
        mix, judge = kept[_KEY], kept.get(_JUDGE)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    is_mix = isinstance(mix, list) and len(mix) == len(LABELS)
    if not is_mix or not all(type(part) in (int, float) and 0 <= part <= _HEAVIEST for part in mix):
        return None
    return [float(part) for part in mix], judge if isinstance(judge, str) else ""
