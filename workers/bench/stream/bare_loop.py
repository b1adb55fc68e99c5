"""The baseline of a stream worker: a plain consume-and-produce loop around kafka-python.

It keeps the worker's rule: poll, send with acks=all, wait for every acknowledgement, commit. Judges nothing.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from workers.kafka.connection import group_consumer
from workers.kafka.producer import plain_producer
from workers.settings.loading import Settings

LONG_POLL_MS = 10_000  # a poll that ends in the middle of a join can park a lone consumer for good (3.0.12)


class BareRun(NamedTuple):
    """What the loop took for `records` records, those of the first poll left out."""

    records: int
    wall_s: float
    cpu_s: float


def bare_loop(settings: Settings, names: list[str], events: int, value_of: Callable[[Any], bytes]) -> BareRun:
    """Read all events of a topic and write a record for each; everything is committed then.

    Args:
        settings: where Kafka is, and the group.
        names: topics of events and of what is written.
        events: of the event topic.
        value_of: the value to write for a record of kafka-python's.
    """
    consumer = group_consumer(settings.kafka)
    consumer.subscribe([names[0]])
    sender = plain_producer(settings.kafka)
    done = first = 0
    started = cpu_started = 0.0
    while done < events:
        polled = consumer.poll(LONG_POLL_MS)
        records = [record for batch in polled.values() for record in batch]
        if not records:
            continue
        sent = [sender.send(names[1], value_of(record), record.key, list(record.headers)) for record in records]
        sender.flush()
        for future in sent:
            future.get(0)
        consumer.commit()  # all that was polled
        done += len(records)
        if not first:
            first, started, cpu_started = done, time.perf_counter(), time.process_time()
    run = BareRun(done - first, time.perf_counter() - started, time.process_time() - cpu_started)
    consumer.close()
    sender.close()
    return run
