"""How many servers a load needs that run the model themselves, and how many guard replicas ask them.

A server's throughput is measured, never reckoned: how it batches is its own affair. Measures nothing.
"""

from dataclasses import dataclass
from math import ceil

from pipelines.capacity.capacity import shown
from pipelines.capacity.figures import HOST
from pipelines.capacity.load import Assumptions, Workload, refuse_impossible, refuse_unless_above_zero
from pipelines.in_flight import LIMIT
from schemas.errors import ConfigurationError

PROMPTS_PER_CALL = 32
LEAST_CALLS = 2  # of a replica on a server: one is generated for while the next is on its way
MOST_SERVERS = 64  # that `guard.remote.urls` takes
MOST_CALLS = 128  # of a replica, on all servers together; see `workers.serving.remote.engine`
_MILLION = 1_000_000
_SECONDS_PER_HOUR = 3_600


@dataclass(frozen=True, slots=True)
class ServersPlan:
    """The answer; see `pipelines.capacity.capacity.CapacityPlan`.

    `calls` are those of one guard replica on one server at a time. `cost_per_million` is of servers alone.
    """

    servers: int
    replicas: int
    consumers: int
    partitions: int
    calls: int
    prompts_per_call: int
    latency_ms: float
    utilisation: float
    host_cores: float
    server_seconds_per_million: float
    cost_per_million: float | None
    settings: dict[str, str]
    working: tuple[str, ...]


def plan_servers(workload: Workload, rate: float, call_ms: float, assumptions: Assumptions) -> ServersPlan:
    """Plan for one load.

    Args:
        workload: what is to be carried.
        rate: messages/s measured of one server under this very load.
        call_ms: milliseconds that a call of 32 prompts takes there at that rate.
        assumptions: what is not known from the load; `price` is that of a server's hour.

    Raises:
        ConfigurationError: names the input that is impossible, and what would be possible.
    """
    refuse_impossible(workload, assumptions)
    for name, value in (("server_rate", rate), ("call_ms", call_ms)):
        refuse_unless_above_zero(name, value)
    latency_ms = 2 * call_ms
    if latency_ms > workload.target_ms:
        raise ConfigurationError(
            f"target_ms: {shown(workload.target_ms)} is too short; a message waits for one call and rides in another,"
            f" at least {shown(latency_ms)} ms"
        )
    wanted, share = workload.messages_per_second, assumptions.utilisation
    needed = ceil(wanted / (rate * share))
    servers = needed + assumptions.spare
    if servers > MOST_SERVERS:
        raise ConfigurationError(
            f"server_rate: {shown(rate)} messages/s make {servers:,} servers, guard.remote.urls takes {MOST_SERVERS}:"
            f" plan for {shown(MOST_SERVERS * rate * share)} messages/s at most, for a part of the topics"
        )
    working = [
        f"servers: {shown(wanted)} / ({shown(rate)} x {share:.2f}) = {needed}, and {assumptions.spare} spare: {servers}"
    ]
    consumer_us, replica_us = HOST.consumer(PROMPTS_PER_CALL), HOST.replica(PROMPTS_PER_CALL)
    replicas = ceil(wanted * replica_us / _MILLION / share)
    consumers = ceil(wanted * consumer_us / _MILLION / share)
    working.append(
        f"guard replicas: {shown(replica_us)} µs of CPU a message, {HOST.source}, a core each: {replicas}; consumers:"
        f" {shown(consumer_us)} µs, a core each: {consumers}"
    )
    # Little's law for a server that runs at the measured rate, shared by the replicas.
    under_way = rate * call_ms / 1_000 / PROMPTS_PER_CALL
    most = MOST_CALLS // servers
    calls = max(LEAST_CALLS, ceil(under_way / replicas))
    if calls > most:
        replicas = max(replicas, ceil(under_way / most))
        calls = max(LEAST_CALLS, ceil(under_way / replicas))
    working.append(
        f"calls: {shown(rate)} messages/s for {shown(call_ms)} ms are {shown(under_way)} calls of {PROMPTS_PER_CALL} on"
        f" a server, {calls} of each replica, which has {calls * servers} of {MOST_CALLS} in all"
    )
    seconds = servers / wanted * _MILLION
    price = assumptions.price
    records = 2 * servers * calls * replicas * PROMPTS_PER_CALL / consumers
    return ServersPlan(
        servers,
        replicas,
        consumers,
        consumers * assumptions.growth,
        calls,
        PROMPTS_PER_CALL,
        latency_ms,
        wanted / (servers * rate),
        wanted * (consumer_us + replica_us) / _MILLION,
        seconds,
        None if price is None else seconds / _SECONDS_PER_HOUR * price,
        {
            "WEIR_GUARD__ENGINE": "remote",
            "WEIR_GUARD__REMOTE__CALLS": str(calls),
            "WEIR_GUARD__REMOTE__PROMPTS_PER_CALL": str(PROMPTS_PER_CALL),
            "WEIR_GUARD__REPLICAS": str(replicas),
            "WEIR_GUARD__GPUS_PER_REPLICA": "0",
            "WEIR_GUARD__CPUS_PER_REPLICA": "1",
            "WEIR_DELIVERY__CHUNK_SIZE": str(PROMPTS_PER_CALL),
            "WEIR_SERVE__CONSUMERS": str(consumers),
            "WEIR_LIMITS__IN_FLIGHT_RECORDS": str(max(LIMIT.records, 1 << (ceil(records) - 1).bit_length())),
        },
        tuple(working),
    )
