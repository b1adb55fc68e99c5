"""The breaker: stops a worker whose outcomes have gone wrong, before it drains the topic into the dead letters.

Open means that nothing is released or committed until a person says so; it never closes by itself. What opens it, and
that nothing does which a stranger can cause by writing messages, is said in `pipelines.breaker.causes`.

Has no clock; stops nothing itself. May be called from several threads.
"""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

from pipelines.breaker import alarms
from pipelines.breaker.alarms import Alarm, BreakerView
from pipelines.breaker.causes import Judges
from pipelines.breaker.drift import LABELS, VerdictMix, VerdictSlice
from pipelines.breaker.rules import BreakerRules
from schemas.dead_letter import DeadLetter
from schemas.reasons import Reason
from schemas.verdict import Severity
from schemas.verdict_writer import VerdictText

_SLICES = 32
_VERDICT_SLICES = 16
_NO_LETTERS: Mapping[Reason, int] = {}
_NO_VERDICTS: Mapping[Severity, int] = {}


class Breaker:
    """Watches the outcomes of one worker.

    Args:
        rules: when to open.
        policy: digest of the policy that the outcomes come from.
    """

    def __init__(self, rules: BreakerRules, policy: str = "") -> None:
        self._rules = rules
        self._judges = Judges(policy)
        self._judge = ""
        self._lock = threading.Lock()
        self._alarm: Alarm | None = None
        self._warning: Alarm | None = None
        self._begin()

    def _begin(self) -> None:
        rules = self._rules
        self._failures = DeadLetterWindow(rules.window_records, rules.window_s)
        self._input_errors = DeadLetterWindow(rules.window_records, rules.window_s)
        self._verdicts = VerdictSlices(rules.drift_window_records, rules.drift_window_s)
        self._mix = VerdictMix(
            rules.drift_window_records,
            rules.drift_window_s,
            rules.drift_baseline_records,
            rules.drift_baseline_half_life_s,
        )
        self._mix.judge = self._judges.name

    @property
    def is_open(self) -> bool:
        """True while nothing may be released or committed."""
        return self._alarm is not None

    @property
    def reason(self) -> str | None:
        """Why it is open."""
        alarm = self._alarm
        return None if alarm is None else f"the breaker is open: {alarm.cause}: {alarm.reason}"

    def observe(
        self,
        now_s: float,
        *,
        admitted: int = 0,
        letters: Mapping[Reason, int] = _NO_LETTERS,
        severities: Mapping[Severity, int] = _NO_VERDICTS,
        judge: str = "",
    ) -> Alarm | None:
        """Take in what became of some records, before it is released; what an open breaker is shown does not count.

        Args:
            now_s: monotonic seconds.
            admitted: records just taken in that go to the guard.
            letters: records that became dead letters, by reason.
            severities: records that got their verdict, by severity.
            judge: model and prompt that gave the outcomes, in any words; empty where none did.

        Returns:
            An alarm, once: the breaker is open now, or a warning has begun.
        """
        if not self._rules.enabled or self._alarm is not None:
            return None
        with self._lock:
            if judge not in ("", self._judge):
                self._judge = judge
                self._mix.judge = self._judges.now(judge, now_s)
            judged = sum(severities.values())
            self._judges.is_proven |= judged > 0
            failures = input_errors = _NO_LETTERS
            if letters:
                failures, input_errors = self._judges.counting(letters, now_s - self._rules.window_s)
            self._failures.add(now_s, judged, failures)
            self._input_errors.add(now_s, admitted, input_errors)
            alarm = alarms.failure_alarm(self._failures, self._rules, now_s) if failures else None
            if input_errors:
                alarm = alarm or alarms.input_error_alarm(self._input_errors, self._rules, now_s)
            if judged and self._rules.drift_action != "off" and (full := self._verdicts.add(now_s, severities)):
                self._mix.take(full, now_s)
                is_ours = self._judges.changed_since(self._mix.recent_since_s - self._rules.window_s)
                drifted = alarms.drift_alarm(self._mix.measure(), self._rules, now_s, self._warning, is_ours=is_ours)
                alarm = alarm or (None if drifted is self._warning else drifted)
                self._warning = None if drifted is None or drifted.opens else drifted
            if alarm is not None and alarm.opens:
                self._alarm = alarm
            return alarm

    def reset(self) -> Alarm | None:
        """Close it: all that was counted is forgotten, the baseline too. Returns what had opened it."""
        with self._lock:
            alarm, self._alarm, self._warning = self._alarm, None, None
            self._judges.begin_anew()
            self._begin()
            return alarm

    def baseline(self) -> str:
        """The baseline as a short text that outlives the process; empty where there is none yet."""
        return self._mix.baseline

    def restore(self, baselines: Iterable[str]) -> bool:
        """Begin with the baseline of earlier workers, so that a deploy is compared with what was before it.

        Args:
            baselines: what `baseline` gave; texts that it did not give are left out.
        """
        with self._lock:
            is_restored = self._verdicts.open is None and self._mix.restore(baselines)
            self._judges.restore(self._mix.judge)
            return is_restored

    def view(self, now_s: float) -> BreakerView:
        """State and figures."""
        with self._lock:
            seen = alarms.counts_of(self._failures), alarms.counts_of(self._input_errors), self._mix.measure()
            return alarms.view_of(self._alarm, self._warning, *seen, now_s, enabled=self._rules.enabled)


class _Slice:
    """What came in a stretch of time."""

    __slots__ = ("letters", "records", "started_s")

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self.records = 0
        self.letters: Counter[Reason] = Counter()


class DeadLetterWindow:
    """The last records, forgotten a slice at a time, so it may be one part in 32 longer or shorter than asked.

    Args:
        window_records: records to look at.
        window_s: seconds to look back at most.

    Attributes:
        records: records in the window.
        letters: dead letters among them, by reason.
        run: those since a batch last held a record that is none, by reason; any length, any age.
    """

    def __init__(self, window_records: int, window_s: float) -> None:
        self._window_records = window_records
        self._window_s = window_s
        self._slices: deque[_Slice] = deque()
        self.records = 0
        self.letters: Counter[Reason] = Counter()
        self.run: Counter[Reason] = Counter()

    def add(self, now_s: float, passed: int, letters: Mapping[Reason, int]) -> None:
        """Take a batch in: records that passed, and dead letters by reason. The order within a batch is not known,
        so one record that passed ends the run for all of it.
        """
        newest = self._slices[-1] if self._slices else None
        if (
            newest is None
            or newest.records * _SLICES >= self._window_records
            or (now_s - newest.started_s) * _SLICES >= self._window_s
        ):
            newest = _Slice(now_s)
            self._slices.append(newest)
        records = passed + sum(letters.values())
        newest.records += records
        self.records += records
        if passed:
            self.run.clear()
        if letters:
            newest.letters.update(letters)
            self.letters.update(letters)
            if not passed:
                self.run.update(letters)
        while (
            now_s - self._slices[0].started_s > self._window_s
            or self.records - self._slices[0].records >= self._window_records
        ):
            old = self._slices.popleft()
            self.records -= old.records
            self.letters -= old.letters


class VerdictSlices:
    """Gathers verdicts into slices, of which sixteen make a window.

    Args:
        window_records: a window has at least so many verdicts,
        window_s: of at least so many seconds.

    Attributes:
        open: the slice that is not full yet; None before its first verdict.
    """

    def __init__(self, window_records: int, window_s: float) -> None:
        self._window_records = window_records
        self._window_s = window_s
        self.open: VerdictSlice | None = None

    def add(self, now_s: float, severities: Mapping[Severity, int]) -> VerdictSlice | None:
        """Take verdicts in; returns the slice that is full with them, or None."""
        newest = self.open = self.open or VerdictSlice(now_s)
        for index, label in enumerate(LABELS):
            if count := severities.get(label, 0):
                newest.counts[index] += count
                newest.records += count
        if (
            newest.records * _VERDICT_SLICES < self._window_records
            or (now_s - newest.started_s) * _VERDICT_SLICES < self._window_s
        ):
            return None
        self.open = None
        return newest


def counted(outcomes: Sequence[VerdictText | DeadLetter]) -> tuple[Counter[Severity], Counter[Reason]]:
    """Outcomes by severity and by reason, as `observe` takes them."""
    # Not isinstance: pydantic answers that in Python.
    severities = Counter([outcome.severity for outcome in outcomes if type(outcome) is VerdictText])
    letters = [outcome.reason for outcome in outcomes if type(outcome) is DeadLetter]
    return severities, Counter(letters)
