"""Figures of offered load, from what became of messages and from the sizes of batches.

Knows nothing of Ray or of how messages were sent.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from workers.bench.serving.open_load import OfferedMessage


@dataclass(frozen=True)
class Measured:
    """One run: what became of its messages, in their order, and the sizes of the batches that the engine got.

    Runs of one `label` were given the same messages.
    """

    load: float
    side: str
    label: str
    fates: Sequence[OfferedMessage]
    batches: Sequence[int]


@dataclass(frozen=True)
class LoadFigures:
    """One run of a load on one side, or several taken together; rates are messages a second.

    Attributes:
        load: what was asked for; `offered` is what chance made of it.
        done: answers by the time from the first arrival to the last answer.
        errors: calls that failed, and messages that the guard could not judge.
        p50_ms, p99_ms: of all but errors; a time-out counts with all of its wait.
        late_p99_ms: how late messages were sent; if not far below the latencies, the sender was too slow.
    """

    load: float
    side: str
    sent: int
    answered: int
    errors: int
    timeouts: int
    offered: float
    done: float
    batches: int
    mean_batch: float
    largest_batch: int
    p50_ms: float
    p99_ms: float
    late_p99_ms: float


@dataclass(frozen=True)
class LoadReport:
    """What was measured.

    Attributes:
        model: as the settings name it, or the stand-in.
        capacity: messages a second of our replica when it always has calls; None where loads were given.
        loads: each load on each side, its rounds taken together.
        different_answers: messages that two sides answered differently, of `compared_answers`.
        settings: what both sides ran with.
        machine: as the replica sees it.
    """

    model: str
    capacity: float | None
    loads: list[LoadFigures]
    runs: list[LoadFigures]
    different_answers: int
    compared_answers: int
    settings: dict[str, object]
    machine: dict[str, object]
    versions: dict[str, str]

    @property
    def is_good(self) -> bool:
        """True where no message ended otherwise than with an answer or a time-out."""
        return not any(figures.errors for figures in self.loads)

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        return asdict(self)


def figures_of(runs: Sequence[Measured], seconds: float) -> LoadFigures:
    """The figures of runs of one load on one side, each of `seconds` seconds."""
    fates = [fate for run in runs for fate in run.fates]
    batches = [size for run in runs for size in run.batches]
    answered = sum(_is_answered(fate) for fate in fates)
    timeouts = sum(fate.timed_out for fate in fates)
    waits = [fate.latency_ms for fate in fates if _is_answered(fate) or fate.timed_out] or [0.0]
    p50, p99 = np.percentile(waits, [50, 99])
    working = sum(_seconds_to_last_answer(run.fates) for run in runs)
    return LoadFigures(
        load=runs[0].load,
        side=runs[0].side,
        sent=len(fates),
        answered=answered,
        errors=len(fates) - answered - timeouts,
        timeouts=timeouts,
        offered=len(fates) / (seconds * len(runs)),
        done=answered / working if answered else 0.0,
        batches=len(batches),
        mean_batch=sum(batches) / max(1, len(batches)),
        largest_batch=max(batches, default=0),
        p50_ms=float(p50),
        p99_ms=float(p99),
        late_p99_ms=float(np.percentile([fate.late_ms for fate in fates], 99)),
    )


def compare_answers(sides: Sequence[Sequence[OfferedMessage]]) -> tuple[int, int]:
    """How many messages got different answers, of how many that more than one side answered; the same order for all.

    An answer is its text and its counts of tokens: texts are few, so they alone would not show that two messages got
    each other's.
    """
    different = compared = 0
    for fates in zip(*sides, strict=True):
        answers = [fate.answer for fate in fates if fate.answer is not None and fate.answer.error is None]
        compared += len(answers) > 1
        different += len({(answer.text, answer.prompt_tokens, answer.output_tokens) for answer in answers}) > 1
    return different, compared


def _is_answered(fate: OfferedMessage) -> bool:
    return fate.answer is not None and fate.answer.error is None


def _seconds_to_last_answer(fates: Sequence[OfferedMessage]) -> float:
    ends = [fate.due_s + fate.latency_ms / 1000 for fate in fates if _is_answered(fate)]
    return max(ends, default=0.0) - fates[0].due_s
