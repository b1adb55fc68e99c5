"""What harmless records lose beside harmful ones: `python -m tests.chaos.shares`, on one real Kafka server.

A worker in this process with a guard that takes 2 ms a call empties four partitions, of which the first has the harm.
A share is the time that the harmless records took in an undisturbed run just before, through the time beside the harm,
by what verdicts say of theirs. A call that hangs holds the records that share it until a probe has overtaken it: the
partitions in it are counted, and the sparse load shows for how long they stand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Producer
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from pipelines.guard import GuardRequest
from schemas.dead_letter import read_dead_letter
from schemas.errors import GuardCallFailedError
from tests.guards.scripted_guard import Gate, ScriptedGuard, text_of
from tests.kafka.cluster import KafkaCluster
from tests.site import Broker, Site

PARTITIONS = 4
ALL = set(range(PARTITIONS))
HARMLESS = ALL - {0}
CALL_S = 0.002
SLOW_S = 0.3
HANG_S = 5.0
DEADLINE_S = 120.0
BIG = b"x" * 1_060_000
TOPIC = {"max.message.bytes": "1114112"}


class Harm(NamedTuple):
    """What is in the records: the text of each by partition and number, its headers, and how the guard takes it."""

    text: Callable[[int, int], str] = lambda _partition, _number: "hello"
    headers: Callable[[int], list[tuple[str, bytes]]] = lambda _number: []
    judged: set[int] = HARMLESS


HARMS = {
    "one hanging call": Harm(lambda partition, number: "HANG" if (partition, number) == (0, 200) else "hello"),
    "one slow tenant": Harm(lambda partition, _: "SLOW" if partition == 0 else "hello"),
    "one poisonous partition": Harm(lambda partition, _: "POISON" if partition == 0 else "hello"),
    "1 in 200 with a huge trace header": Harm(
        headers=lambda number: [("traceparent", BIG)] if number % 200 == 199 else [], judged=ALL
    ),
    "1 in 200 with a huge header that no verdict carries": Harm(  # what reading them costs, of the line above
        headers=lambda number: [("other", BIG)] if number % 200 == 199 else [], judged=ALL
    ),
    "1 in 200 that fails its call": Harm(lambda _, number: "POISON" if number % 200 == 199 else "hello", judged=ALL),
}


class HarmedGuard(ScriptedGuard):
    """Takes its time, hangs, is slow, or fails, by the texts of a call."""

    def __init__(self) -> None:
        super().__init__(script=self._let_pass)
        self.gate = Gate()
        self.held: set[int] = set()

    async def _let_pass(self, requests: Sequence[GuardRequest]) -> None:
        words = [text_of(request).partition(" ") for request in requests]  # a probe of the guard has other words
        texts = {word for word, _, _ in words}
        if "HANG" in texts:
            self.held = {int(partition) for _, _, partition in words}
            await self.gate.passed()
        if "POISON" in texts:
            raise GuardCallFailedError("poison")
        await asyncio.sleep(SLOW_S if "SLOW" in texts else CALL_S)


class Emptied(NamedTuple):
    """When the outcomes of each partition were sent, in ms, and which partitions shared the call that hung."""

    times: dict[int, list[int]]
    held: set[int]

    def took_ms(self, partitions: set[int]) -> int:
        """From the first outcome of all to the last of some partitions."""
        return max(max(self.times[one]) for one in partitions) - min(map(min, self.times.values()))


def run(cluster: KafkaCluster, admin: KafkaAdminClient, events: int, harm: Harm) -> Emptied:
    """Empty the partitions."""
    site = Site(Broker(cluster.bootstrap, None, lambda name: _create(admin, name)))
    guard = HarmedGuard()
    try:
        sender = Producer({"bootstrap.servers": cluster.bootstrap, "message.max.bytes": 2_000_000, "linger.ms": 5})
        for number in range(events):
            for partition in range(PARTITIONS):
                text = f"{harm.text(partition, number)} {partition}"
                value = json.dumps({"event_id": f"{partition}-{number}", "text": text})
                sender.produce(site.names[0], value, b"k%d" % partition, partition, headers=harm.headers(number))
            if number % 100 == 0:
                sender.flush()
        sender.flush()
        site.start(guard, site.settings_with(delivery={"chunk_size": 64}))
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until and not _are_done(site, events, harm.judged):
            time.sleep(0.2)
        guard.gate.open()
        times: defaultdict[int, list[int]] = defaultdict(list)
        for record in site.records(1):
            times[json.loads(record.value or b"")["source"]["partition"]].append(record.timestamp_ms)
        for record in site.records(2):
            times[read_dead_letter(record).source.partition].append(record.timestamp_ms)
        return Emptied(times, guard.held)
    finally:
        guard.gate.open()
        site.close()


def _create(admin: KafkaAdminClient, name: str) -> None:
    admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=TOPIC)])


def _are_done(site: Site, events: int, partitions: set[int]) -> bool:
    committed = site.committed()
    return all(committed.get(partition, 0) >= events for partition in partitions)


def stands(cluster: KafkaCluster, admin: KafkaAdminClient, rate: float) -> tuple[float, int, int]:
    """Seconds that harmless partitions stand at most, with a sparse load and a call that hangs; calls; records."""
    site = Site(Broker(cluster.bootstrap, None, lambda name: _create(admin, name)))
    guard = HarmedGuard()
    try:
        site.start(guard, site.settings_with(delivery={"chunk_size": 64}))
        sender = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 0})
        begun, sent, opens = time.monotonic(), 0, None
        while (now := time.monotonic()) < begun + HANG_S + 5:
            while sent < (now - begun) * rate:
                partition = sent % PARTITIONS
                text = "HANG" if sent == int(2 * rate) // PARTITIONS * PARTITIONS else "hello"
                opens = now + HANG_S if text == "HANG" else opens
                value = json.dumps({"event_id": f"{sent}", "text": f"{text} {partition}"})
                sender.produce(site.names[0], value, b"k", partition)
                sent += 1
            sender.poll(0.002)
            if opens is not None and now > opens:
                guard.gate.open()
        sender.flush()
        guard.gate.open()
        site.wait_for(sent)
        times: defaultdict[int, list[int]] = defaultdict(list)
        for record in site.records(1):
            times[json.loads(record.value or b"")["source"]["partition"]].append(record.timestamp_ms)
        gaps = [
            later - earlier
            for partition in range(1, PARTITIONS)
            for earlier, later in zip(sorted(times[partition]), sorted(times[partition])[1:], strict=False)
        ]
        return max(gaps) / 1e3, len(guard.calls), sent
    finally:
        guard.gate.open()
        site.close()


def main() -> None:
    """Print each harm's shares, and their medians."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.shares", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=6_000, help="of each partition")
    parser.add_argument("--rate", type=float, default=400.0, help="records a second of the sparse load")
    parser.add_argument("--harm", choices=[*HARMS], nargs="*", default=[*HARMS], help="all of them if left out")
    chosen = parser.parse_args()
    shares: defaultdict[str, list[float]] = defaultdict(list)
    with KafkaCluster(1, message_max_bytes=2_000_000) as cluster:
        admin: Any = KafkaAdminClient(bootstrap_servers=cluster.bootstrap.split(","))
        run(cluster, admin, 500, Harm())  # warms up
        for number in range(chosen.rounds):
            alone = run(cluster, admin, chosen.events, Harm())
            _say(f"round {number + 1}: {PARTITIONS * chosen.events} undisturbed in {alone.took_ms(ALL)} ms")
            for name in chosen.harm:
                harm = HARMS[name]
                found = run(cluster, admin, chosen.events, harm)
                share = alone.took_ms(harm.judged) / found.took_ms(harm.judged)
                shares[name].append(share)
                _say(f"  {name}: {share:.2f}; {len(found.held & HARMLESS)} harmless partitions in a call that hung")
            if "one hanging call" in chosen.harm:
                longest, calls, sent = stands(cluster, admin, chosen.rate)
                _say(f"  sparse, a call hangs {HANG_S:.0f} s: others stand {longest:.2f} s; {calls} calls of {sent}")
        admin.close()
    for name, found_shares in shares.items():
        _say(f"{name}: median {statistics.median(found_shares):.2f} of {len(found_shares)} rounds")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is a command


if __name__ == "__main__":
    main()
