"""The checks of `weir check` that are about time: will a record still be there when it is judged; who makes topics."""

import time
from collections.abc import Mapping

from schemas.errors import ModerationError
from schemas.record import Partition
from workers.kafka.admin import Admin
from workers.kafka.errors import KafkaError
from workers.kafka.reader import TopicReader
from workers.settings.loading import Settings

_UNSAFE_SHARE = 0.5  # of its retention that a record may have waited


def configs_of(client: Admin, name: str) -> Mapping[str, str]:
    """The configs of a topic that this user may see.

    Raises:
        ModerationError: there is no such topic, or the broker does not tell.
    """
    try:
        found = client.found_topics([name])[name]
    except KafkaError as error:
        raise ModerationError(f"{name}: {type(error).__name__}") from None
    if found is None:
        raise ModerationError(f"{name}: is not there")
    return found.configs


def retention(settings: Settings, client: Admin, name: str) -> str:
    """Whether the group is far enough ahead of what removes records of an input topic.

    Raises:
        ModerationError: records were removed before they were judged, or will be soon.
    """
    told = configs_of(client, name).get("retention.ms")
    kept_ms = -1 if told is None else int(told)
    with TopicReader(settings.kafka, settings.kafka.group_id) as reader:
        ranges = reader.ranges([name])
        committed = reader.committed(ranges)
        _refuse_removed(name, committed, reader.first_offsets(committed))
        if kept_ms > 0:
            since_ms = int(time.time() * 1000 - kept_ms * _UNSAFE_SHARE)
            recent = reader.ranges([name], since_ms)
            late = [partition.number for partition, offset in committed.items() if offset < recent[partition].start]
            if late:
                raise ModerationError(
                    f"{name}: partitions {', '.join(map(str, sorted(late)))} hold records that wait for longer than"
                    f" {_UNSAFE_SHARE:.0%} of retention.ms={kept_ms} and will be removed unjudged"
                )
    if told is None:
        return f"{name}: retention.ms is not told to this user; nothing was removed unjudged so far"
    kept = "for ever" if kept_ms < 0 else f"for {kept_ms / 3_600_000:g} h"
    return f"{name}: records are kept {kept}, and the group has judged all that may go soon"


def _refuse_removed(name: str, committed: Mapping[Partition, int], first: Mapping[Partition, int]) -> None:
    if removed := sum(max(0, first[partition] - offset) for partition, offset in committed.items()):
        raise ModerationError(f"{name}: {removed} records were removed before they were judged")


def topic_creation(client: Admin) -> str:
    """Whether a topic that somebody misspells is made by asking for it."""
    makes = client.broker_config("auto.create.topics.enable")
    if makes == "true":
        return "auto.create.topics.enable=true: other clients make topics by asking for them, Weir's never do"
    return f"auto.create.topics.enable={makes or 'not told to this user'}"
