"""Records that are cheap to send and dear to hold, on real Kafka: they end as pointers, and their neighbours' verdicts
come, within the memory of a small pod (P9).
"""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka
import pytest

from schemas.reasons import Reason
from tests.guards.scripted_guard import ScriptedGuard
from tests.memory_group import memory_group
from tests.site import Site, event, wait_until
from tests.workers.telemetry.measured_member import MeasuredMember

MIB = 2**20


def rss_mib() -> int:
    fields = Path("/proc/self/status").read_text(encoding="utf-8").split()
    return int(fields[fields.index("VmRSS:") + 1]) // 1024


@contextmanager
def growth() -> Iterator[list[int]]:
    """The highest memory of this process above what it was, MiB."""
    base, most, is_over = rss_mib(), [0], threading.Event()

    def look() -> None:
        while not is_over.wait(0.01):
            most[0] = max(most[0], rss_mib() - base)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        yield most
    finally:
        is_over.set()
        watch.join()


def sender_to(site: Site) -> confluent_kafka.Producer:
    """One record a batch, which may be huge once it is decompressed."""
    return confluent_kafka.Producer(
        {
            "bootstrap.servers": site.settings.kafka.bootstrap_servers,
            "compression.type": "zstd",
            "batch.num.messages": 1,
            "message.max.bytes": 400 * MIB,
        }
    )


def test_p9_bombs_end_as_pointers_in_bounded_memory_and_harmless_records_are_judged_meanwhile(
    kafka_site: Site,
) -> None:
    site = kafka_site
    sender = sender_to(site)
    bomb = event("bomb", "a" * 60 * MIB)
    for _ in range(8):
        sender.produce(site.names[0], bomb, partition=0)
        sender.produce(site.names[0], event("headers"), headers=[("h", None)] * 100_000, partition=0)
        assert sender.flush(30) == 0
    del bomb
    for number in range(40):
        sender.produce(site.names[0], event(f"e{number}"), partition=number % 2)
    assert sender.flush(30) == 0

    with growth() as most:
        worker = site.start(ScriptedGuard())
        site.wait_for(56)
        assert worker.stop(10.0)

    assert most[0] < 200, "MiB, of 480 and more that are there"
    assert {verdict["event_id"] for verdict in site.verdicts()} == {f"e{number}" for number in range(40)}
    letters = site.dead_letters()
    assert [(letter.reason, letter.value_dropped, letter.value) for letter in letters] == [
        (Reason.EVENT_TOO_LARGE, True, b"")
    ] * 16
    assert {letter.detail.partition(" ")[0] for letter in letters} == {"record:", "headers:"}


@pytest.mark.slow
def test_p9_a_consumer_of_a_gibibyte_survives_bombs_and_judges_a_harmless_partition_meanwhile(
    kafka_site: Site,
) -> None:
    site = kafka_site
    sender = sender_to(site)
    bomb = event("bomb", "a" * 100 * MIB)
    deep = b'{"event_id":"deep","text":"a","x":' + b"[" * 900_000
    for _ in range(30):
        sender.produce(site.names[0], bomb, partition=0)
        sender.produce(site.names[0], event("headers"), headers=[("h", None)] * 300_000, partition=0)
        sender.produce(site.names[0], deep, partition=0)
        sender.produce(site.names[0], event("objects", "a")[:-1] + b',"x":[' + b"{}," * 300_000 + b"{}]}", partition=0)
        assert sender.flush(60) == 0
    del bomb
    for number in range(40):
        sender.produce(site.names[0], event(f"e{number}"), partition=1)
    assert sender.flush(30) == 0

    with memory_group(1024 * MIB) as group:
        member = MeasuredMember(site.settings, {})
        group.add(member.process.pid)
        try:
            wait_until(lambda: member.report().completed == 160, "all records to end")
            assert member.stop()
        finally:
            member.kill()
        assert group.kills == 0
        sys.stdout.write(f"most memory of a consumer: {group.peak // MIB} MiB\n")

    ids = {verdict["event_id"] for verdict in site.verdicts()}
    assert ids == {"objects", *(f"e{number}" for number in range(40))}
    reasons = Counter(letter.reason for letter in site.dead_letters())
    assert reasons == {Reason.EVENT_TOO_LARGE: 60, Reason.NESTED_TOO_DEEPLY: 30}
