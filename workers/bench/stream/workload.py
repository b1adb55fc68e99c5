"""What the benchmarks of the stream worker run on: their own topics, made-up events, and this machine.

Measures nothing.
"""

import json
import multiprocessing
import platform
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, NamedTuple

from schemas.errors import ModerationError
from workers.bench.chat import chat_words
from workers.bench.engine.processor import processor
from workers.kafka.admin import Admin, NewTopic
from workers.kafka.producer import producer
from workers.settings.loading import Settings, load_settings

FEWEST_WORDS, MOST_WORDS = 3, 30
Step = Callable[[str], None]


def bench_name() -> str:
    """A name that no topic or group has."""
    return f"bench-{uuid.uuid4().hex[:8]}"


@contextmanager
def bench_topics(
    client: Admin, names: Sequence[str], partitions: int, configs: Mapping[str, str] | None = None
) -> Iterator[None]:
    """With these topics, of one replica each; they are deleted afterwards.

    Raises:
        ModerationError: the broker refuses one.
    """
    if faults := client.create([NewTopic(name, partitions, 1, configs or {}) for name in names]):
        raise ModerationError("; ".join(faults))
    try:
        yield
    finally:
        client.delete_topics(list(names))


def bench_settings(sections: dict[str, dict[str, object]], names: list[str]) -> Settings:
    """Settings with the benchmark's own topics and a new group."""
    kafka = {**sections["kafka"], "group_id": bench_name()}
    topics = {"events": (names[0],), "verdicts": names[1], "dead_letters": names[2]}
    rest: dict[str, Any] = {name: section for name, section in sections.items() if name != "kafka"}
    return load_settings(kafka=kafka, topics=topics, **rest)


class BenchEvent(NamedTuple):
    """One record of the event topic."""

    key: bytes
    value: bytes
    traceparent: bytes


def bench_events(events: int, share: int = 100, texts: Iterable[str] | None = None) -> Iterator[BenchEvent]:
    """Chat-length events, the same each time; `event-7` is the eighth. One in `share` is sampled, none if that is 0.

    `texts` are to be judged in place of made-up chat.
    """
    random = Random(1)
    given = None if texts is None else iter(texts)
    for index in range(events):
        text = " ".join(chat_words(random, FEWEST_WORDS, MOST_WORDS)) if given is None else next(given)
        value = {"event_id": f"event-{index}", "conversation_id": f"c-{index % 5000}", "tenant": "bench", "text": text}
        flags = "01" if share and index % share == 0 else "00"
        context = f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-{flags}".encode()
        yield BenchEvent(b"c-%d" % (index % 5000), json.dumps(value).encode(), context)


def produce_events(
    settings: Settings, topic: str, events: int, share: int = 100, texts: Iterable[str] | None = None
) -> None:
    """Write `bench_events`."""
    sender = producer(settings.kafka)
    for event in bench_events(events, share, texts):
        sender.send(topic, event.value, event.key, [("traceparent", event.traceparent)])
    sender.flush()
    sender.close()


def machine() -> str:
    """Processor, cores and Python, in words."""
    return f"{processor()}, {multiprocessing.cpu_count()} cores, Python {platform.python_version()}"
