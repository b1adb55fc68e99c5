"""The load to plan for, the assumptions beside it, and a check that both are possible."""

from dataclasses import dataclass
from math import isfinite

from pipelines.capacity.figures import FAMILY
from schemas.errors import ConfigurationError
from schemas.event import Task

_LEAST_SHARE = 0.001
_PER_SECOND = (1e-6, 1e9)  # beyond these a plan is a slip of the keyboard
_MOST_SPARE = 1_000_000


@dataclass(frozen=True, slots=True)
class Workload:
    """What is to be carried.

    Args:
        messages_per_second: at the peak.
        tokens: of a conversation's own text on average.
        target_ms: within which the guard has to answer, its queue included.
        task: whether prompts or responses are judged.
        unsafe_share: share of verdicts other than Safe, which take a second short pass.
        asks_per_second: items over HTTP at the peak, beside the messages.
    """

    messages_per_second: float
    tokens: float
    target_ms: float
    task: Task = Task.PROMPT
    unsafe_share: float = 0.1
    asks_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is not known from the load.

    Args:
        utilisation: busy share that replicas and consumers are planned for.
        efficiency: share of the data sheet's dense bf16 that a replica reaches; only where nothing was measured.
        overhead_ms: of a pass, beside its arithmetic; only where nothing was measured.
        spare: replicas on top, so that this many may be lost at the peak.
        growth: times that consumers can be multiplied before partitions are too few.
        price: of a GPU hour, in any currency; None for no cost.
    """

    utilisation: float = 0.7
    efficiency: float = 0.4
    overhead_ms: float = 5.0
    spare: int = 1
    growth: int = 4
    price: float | None = None


def refuse_impossible(workload: Workload, assumptions: Assumptions) -> None:
    """Raises ConfigurationError for what cannot be, by its name."""
    refuse_assumptions(assumptions)
    for name in ("messages_per_second", "tokens", "target_ms"):
        refuse_unless_above_zero(name, getattr(workload, name))
    _refuse_no_share("unsafe_share", workload.unsafe_share)
    _refuse_below_zero("asks_per_second", workload.asks_per_second)
    fixed = FAMILY.fixed_tokens(workload.task)
    if workload.tokens + fixed > FAMILY.context_tokens:
        given = f"{workload.tokens:.6g} and the template's {fixed}"
        raise ConfigurationError(f"tokens: {given} do not fit the model's context of {FAMILY.context_tokens:,}")
    least, most = _PER_SECOND
    wanted = workload.messages_per_second
    if not least <= wanted <= most:
        raise ConfigurationError(f"messages_per_second: {wanted} is not from {least:g} to {most:,.0f}")
    if workload.asks_per_second > most:
        raise ConfigurationError(f"asks_per_second: {workload.asks_per_second} is above {most:,.0f}")


def refuse_assumptions(assumptions: Assumptions) -> None:
    """The same for assumptions alone."""
    for name in ("utilisation", "efficiency"):
        share = getattr(assumptions, name)
        refuse_unless_above_zero(name, share)
        _refuse_no_share(name, share)
        if share < _LEAST_SHARE:
            raise ConfigurationError(f"{name}: {share} is below {_LEAST_SHARE}")
    for name in ("overhead_ms", "spare", "price"):
        _refuse_below_zero(name, getattr(assumptions, name) or 0)
    if assumptions.growth < 1:
        raise ConfigurationError(f"growth: {assumptions.growth} leaves consumers without a partition")
    if assumptions.spare > _MOST_SPARE:
        raise ConfigurationError(f"spare: {assumptions.spare} is above {_MOST_SPARE:,}")


def refuse_unless_above_zero(name: str, value: float) -> None:
    """Raises ConfigurationError for a figure that is no number above 0."""
    if not (isfinite(value) and value > 0):
        raise ConfigurationError(f"{name}: {value} is not a number above 0")


def _refuse_no_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigurationError(f"{name}: {value} is not a share from 0 to 1")


def _refuse_below_zero(name: str, value: float) -> None:
    if not (isfinite(value) and value >= 0):
        raise ConfigurationError(f"{name}: {value} is below 0")
