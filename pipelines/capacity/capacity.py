"""How many replicas, partitions and consumers a load needs, how large a batch may be, and what it costs.

The answer comes from a measured throughput where there is one, otherwise from the model's shape and the GPU's data
sheet. It says which of the two it is and shows its working.
Knows nothing of clusters and measures nothing.
"""

from dataclasses import dataclass, replace
from math import ceil, floor, isfinite

from pipelines.capacity.figures import (
    CPUS,
    FAMILY,
    GPUS,
    HOST,
    MODELS,
    EngineFigure,
    ModelShape,
)
from pipelines.capacity.load import Assumptions, Workload, refuse_impossible
from pipelines.capacity.work import new_tokens, prompt_tokens, sequence_gb, weights_gb, work_of
from pipelines.fitting.length_policy import MAX_TOKENS
from pipelines.guard import ASK_SHARE, BATCH_SIZE
from pipelines.in_flight import LIMIT
from schemas.errors import ConfigurationError
from schemas.event import Task

_BYTES_PER_TOKEN = 6  # of a record, its JSON included
_USABLE_MEMORY = 0.9
_SECONDS_PER_HOUR = 3_600
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """The answer. `settings` are environment variables; `working` shows how each figure came about, line by line.

    `cost_per_million` is that of a million messages at the planned rate, idle share and spare replicas included.
    `host_cores` are busy with all that the model does not do, the brokers' work left out.
    """

    replicas: int
    consumers: int
    partitions: int
    messages_per_second_per_replica: float
    measured: bool
    source: str
    batch_size: int
    batch_ms: float
    latency_ms: float
    utilisation: float
    host_cores: float
    replica_seconds_per_million: float
    cost_per_million: float | None
    settings: dict[str, str]
    working: tuple[str, ...]


def shown(value: float) -> str:
    """A figure for people: four digits that count, and no powers of ten."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def plan(
    workload: Workload, model: str, gpu: str, figures: tuple[EngineFigure, ...], assumptions: Assumptions
) -> CapacityPlan:
    """Plan for one load.

    Args:
        workload: what is to be carried.
        model: `0.6B`, `4B` or `8B`.
        gpu: a name of `GPUS`, or one that a figure has.
        figures: measured throughputs, the best first; one of this model and GPU is used before any arithmetic.
        assumptions: what is not known from the load.

    Raises:
        ConfigurationError: names the input that is impossible, and what would be possible.
    """
    refuse_impossible(workload, assumptions)
    if model not in MODELS:
        raise ConfigurationError(f"model: {model!r} is not one of {', '.join(MODELS)}")
    shape = MODELS[model]
    rate = _Rate.of(workload, model, gpu, figures, assumptions)
    working = list(rate.working)
    share = _ask_share(workload, assumptions)
    batch = _batch(replace(workload, target_ms=workload.target_ms / (1 + share)), shape, gpu, rate, working)
    batch_ms = rate.floor_ms + batch * rate.message_ms
    replica_rate = 1_000 * batch / batch_ms
    working.append(f"a replica: {batch} messages in {shown(batch_ms)} ms: {shown(replica_rate)} messages/s")
    live, asks = workload.messages_per_second, workload.asks_per_second
    wanted = live + asks
    needed = ceil(wanted / (replica_rate * assumptions.utilisation))
    replicas = needed + assumptions.spare
    busy = wanted / (replicas * replica_rate)
    working.append(
        f"replicas: {shown(wanted)} / ({shown(replica_rate)} x {assumptions.utilisation:.2f}) = {needed}, and"
        f" {assumptions.spare} spare: {replicas}, busy {busy:.0%} of the time"
    )
    if asks:
        working.append(
            f"asks: {shown(asks)}/s of what messages leave at their peak, so guard.ask_share {share:.2f}; batches are"
            " planned shorter by it"
        )
    consumer_us, replica_us = HOST.consumer(batch), HOST.replica(batch)
    consumers = ceil(live * consumer_us / _MILLION / assumptions.utilisation)
    partitions = consumers * assumptions.growth
    working.append(
        f"consumers: {shown(consumer_us)} µs of CPU an event with {batch} in a call, {HOST.source}, a core each:"
        f" {consumers}; partitions: {assumptions.growth} times as many: {partitions}"
    )
    cores = 1 + ceil(wanted / replicas * replica_us / _MILLION)
    working.append(
        f"CPUs of a replica: one for the model, the rest for {shown(replica_us)} µs a message, by the same measurement:"
        f" {cores}"
    )
    host_cores = (live * consumer_us + wanted * replica_us) / _MILLION
    working.append(f"the host's work: {shown(host_cores)} cores at the peak, in consumers and replicas together")
    seconds = replicas / wanted * _MILLION
    price = assumptions.price
    cost = None if price is None else seconds / _SECONDS_PER_HOUR * price
    working.append(
        f"a million messages: {replicas} replicas for {shown(_MILLION / wanted)} s = {shown(seconds)} replica seconds"
        + ("" if price is None or cost is None else f" = {shown(cost)} at {shown(price)} an hour")
    )
    latency_ms = 2 * batch_ms * (1 + share)
    return CapacityPlan(
        replicas,
        consumers,
        partitions,
        replica_rate,
        rate.measured,
        rate.source,
        batch,
        batch_ms,
        latency_ms,
        busy,
        host_cores,
        seconds,
        cost,
        {**_settings(workload, gpu, replicas, consumers, cores, batch, latency_ms), **_ask_settings(share)},
        tuple(working),
    )


def _ask_share(workload: Workload, assumptions: Assumptions) -> float:
    """`guard.ask_share` with which all asks are answered beside live at its peak (decision 0025); 0 without asks."""
    live, asks = workload.messages_per_second, workload.asks_per_second
    if asks == 0:
        return 0.0
    spare = (live + asks) / assumptions.utilisation - live
    return max(ASK_SHARE, ceil(100 * asks / spare - 1e-9) / 100)


def _ask_settings(share: float) -> dict[str, str]:
    return {} if share == 0 else {"WEIR_ASK__ENABLED": "true", "WEIR_GUARD__ASK_SHARE": f"{share:g}"}


@dataclass(frozen=True, slots=True)
class _Rate:
    """What one message and one pass take, and where that is known from."""

    message_ms: float
    floor_ms: float
    measured: bool
    source: str
    working: tuple[str, ...]

    @classmethod
    def of(
        cls, workload: Workload, model: str, gpu: str, figures: tuple[EngineFigure, ...], assumptions: Assumptions
    ) -> "_Rate":
        shape = MODELS[model]
        work = work_of(shape, workload.task, workload.tokens, workload.unsafe_share)
        reckoning = (
            f"a message of {shown(workload.tokens)} tokens: {shown(new_tokens(workload.task, workload.tokens))} through"
            f" the model: {shown(work.body)} layers + {shown(work.head)} output + {shown(work.attention)} attention +"
            f" {shown(work.second_pass)} second pass = {shown(work.total)} GFLOP"
        )
        fitting = [figure for figure in figures if (figure.gpu, figure.model) == (gpu, model)]
        if fitting:
            figure = fitting[0]
            rate = figure.messages_per_second
            if not (isfinite(rate) and rate > 0 and isfinite(1_000 / rate)):
                raise ConfigurationError(f"{figure.source}: {rate} messages/s is not a rate")
            scaled = f"{figure.source}: {shown(rate)} messages/s"
            if figure.tokens is not None:
                there = work_of(shape, Task.PROMPT, figure.tokens, 0.0).total
                rate *= there / work.total
                scaled += f" at {shown(figure.tokens)} tokens ({shown(there)} GFLOP), so {shown(rate)} of these"
            return cls(1_000 / rate, 0.0, True, figure.source, (reckoning, scaled))
        if gpu not in GPUS:
            known = sorted({*GPUS, *(figure.gpu for figure in figures)})
            raise ConfigurationError(
                f"gpu: no figure and no data sheet of {gpu!r} for {model}; known: {', '.join(known)};"
                " of any other, give --rate, the messages/s that you have measured of one replica"
            )
        sheet = GPUS[gpu]
        rate = sheet.tflops * 1_000 * assumptions.efficiency / work.total
        read_ms = weights_gb(shape) / sheet.bandwidth_gb_s * 1_000
        floor_ms = assumptions.overhead_ms + read_ms
        reckoned = (
            f"never measured on {gpu}: {sheet.tflops:,.0f} TFLOP/s dense bf16 x {assumptions.efficiency:.2f} ="
            f" {shown(rate)} messages/s beside {shown(floor_ms)} ms a pass ({shown(read_ms)} ms to read the weights,"
            f" {shown(assumptions.overhead_ms)} ms assumed for launches)"
        )
        return cls(1_000 / rate, floor_ms, False, f"arithmetic from the data sheet of {gpu}", (reckoning, reckoned))


def _batch(workload: Workload, shape: ModelShape, gpu: str, rate: _Rate, working: list[str]) -> int:
    """The largest batch that two passes fit into the target with, and that fits into memory."""
    half = workload.target_ms / 2
    shortest = 2 * (rate.floor_ms + rate.message_ms)
    in_time = floor((half - rate.floor_ms) / rate.message_ms + 1e-9)
    if in_time < 1:
        raise ConfigurationError(
            f"target_ms: {shown(workload.target_ms)} is too short; a message waits for one pass and rides in another,"
            f" at least {shown(shortest)} ms on {gpu}"
        )
    limits = {"the target": in_time, "guard.batch_size": BATCH_SIZE}
    if gpu in GPUS:
        free = _USABLE_MEMORY * GPUS[gpu].memory_gb - weights_gb(shape)
        each = sequence_gb(shape, workload.task, workload.tokens)
        limits["memory"] = floor(free / each)
        if limits["memory"] < 1:
            raise ConfigurationError(
                f"gpu: {gpu} has {shown(GPUS[gpu].memory_gb)} GB; the weights take {shown(weights_gb(shape))} GB and"
                f" one conversation {shown(each)} GB"
            )
    batch = min(limits.values())
    by = ", ".join(f"{name} {limit:,}" for name, limit in limits.items())
    working.append(
        f"batch: {batch}, the least of {by}; latency is that of two passes, one waited for and one ridden in"
    )
    return batch


def _settings(
    workload: Workload, gpu: str, replicas: int, consumers: int, cores: int, batch: int, latency_ms: float
) -> dict[str, str]:
    prompt = prompt_tokens(workload.task, workload.tokens)
    # What is in the pipe at that latency, twice; and enough to fill each replica's running and next batch.
    per_consumer = max(
        2 * workload.messages_per_second * latency_ms / 1_000 / consumers, 2 * batch * replicas / consumers
    )
    records = max(LIMIT.records, 1 << ceil(per_consumer - 1).bit_length())
    return {
        "WEIR_GUARD__REPLICAS": str(replicas),
        "WEIR_GUARD__GPUS_PER_REPLICA": "0" if gpu in CPUS else "1",
        "WEIR_GUARD__CPUS_PER_REPLICA": str(cores),
        "WEIR_GUARD__BATCH_SIZE": str(batch),
        # The longest of a batch counts for all of them; it is longer than the mean.
        "WEIR_GUARD__BATCH_TOKENS": str(ceil(2 * prompt * batch)),
        # A call costs the host as much as 37 messages do: one for each batch.
        "WEIR_DELIVERY__CHUNK_SIZE": str(batch),
        "WEIR_SERVE__CONSUMERS": str(consumers),
        "WEIR_LIMITS__IN_FLIGHT_RECORDS": str(records),
        "WEIR_LIMITS__IN_FLIGHT_TOKENS": str(max(LIMIT.tokens, ceil(2 * records * workload.tokens))),
        "WEIR_LIMITS__IN_FLIGHT_BYTES": str(
            max(LIMIT.bytes, ceil(2 * per_consumer * workload.tokens * _BYTES_PER_TOKEN))
        ),
        **_length_settings(workload),
    }


def _length_settings(workload: Workload) -> dict[str, str]:
    """Judged whole, as the plan reckons it, where the default would cut the load's mean into windows."""
    longest = ceil(2 * workload.tokens)
    if longest <= MAX_TOKENS:
        return {}
    return {"WEIR_LENGTH__MAX_TOKENS": str(min(longest, FAMILY.context_tokens - FAMILY.fixed_tokens(workload.task)))}
