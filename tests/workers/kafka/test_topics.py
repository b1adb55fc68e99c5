"""Plans of topics: what the settings need, and what is and is not done about a difference."""

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from workers.kafka.admin import FoundTopic
from workers.kafka.topics import (
    DEAD_LETTER_RETENTION_MS,
    HEADER_BYTES,
    TopicPlan,
    WantedTopic,
    compare,
    topic_roles,
    wanted_topics,
)
from workers.settings.loading import load_settings

SETTINGS = load_settings(limits={"max_event_bytes": 1000})
ROLES = topic_roles(SETTINGS)
NOTHING = dict.fromkeys(ROLES)
WANTED = WantedTopic("t", "events", 12, 3, {"cleanup.policy": "delete", "max.message.bytes": "2000"})
SAME = {"cleanup.policy": "delete", "max.message.bytes": "2000"}


def found(partitions: int = 12, replication: int = 3, **configs: str) -> FoundTopic:
    return FoundTopic(partitions, replication, {**SAME, **{key.replace("_", "."): v for key, v in configs.items()}})


def plan(topic: FoundTopic | None, *, allow_growth: bool = False, wanted: WantedTopic = WANTED) -> TopicPlan:
    return compare(wanted, topic, allow_growth=allow_growth)


def test_a_missing_topic_is_created() -> None:
    missing = plan(None)
    assert missing.status == "missing"
    assert missing.changes[0].startswith("create: 12 partitions, replication 3, cleanup.policy=delete")


def test_an_equal_topic_is_fine() -> None:
    assert plan(found()).status == "fine"
    assert plan(found()).changes == []


def test_a_config_that_differs_is_changed() -> None:
    assert plan(found(cleanup_policy="compact")).changes == ["cleanup.policy: compact -> delete"]


@pytest.mark.parametrize(("size", "changes"), [("1999", 1), ("2000", 0), ("9000", 0)])
def test_a_size_may_be_larger_than_needed(size: str, changes: int) -> None:
    assert len(plan(found(max_message_bytes=size)).changes) == changes


@pytest.mark.parametrize(("retention", "changes"), [("10", 1), ("2000", 0), ("-1", 0)])
def test_dead_letters_may_stay_longer_or_for_ever(retention: str, changes: int) -> None:
    wanted = WantedTopic("t", "dead letters", 12, 3, {"retention.ms": "1000"})
    assert len(plan(found(retention_ms=retention), wanted=wanted).changes) == changes


def test_partitions_are_only_added_when_told_to() -> None:
    shy, bold = plan(found(partitions=4)), plan(found(partitions=4), allow_growth=True)
    assert (shy.status, shy.grow, len(shy.left)) == ("differs", False, 1)
    assert (bold.changes, bold.left) == (["partitions: 4 -> 12"], ())


@pytest.mark.parametrize("allow_growth", [False, True])
def test_partitions_are_never_taken_away(allow_growth: bool) -> None:
    shrunk = plan(found(partitions=24), allow_growth=allow_growth)
    assert (shrunk.status, shrunk.grow, shrunk.changes) == ("differs", False, [])
    assert "never" in shrunk.left[0]


def test_another_replication_is_shown_and_left() -> None:
    assert "replication 1, 3 wanted" in plan(found(replication=1)).left[0]


def test_a_dead_letter_topic_holds_the_largest_event_and_its_headers() -> None:
    events, verdicts, letters = wanted_topics(SETTINGS, ROLES, 12, 3, NOTHING)
    assert events.configs["max.message.bytes"] == str(1000 + HEADER_BYTES)
    assert letters.configs["max.message.bytes"] == str(1000 + 2 * HEADER_BYTES)
    assert verdicts.configs["max.message.bytes"] == str(1000 + 2 * HEADER_BYTES), "with any key of an event"
    assert letters.configs["retention.ms"] == str(DEAD_LETTER_RETENTION_MS)


def test_a_dead_letter_topic_holds_whatever_an_event_topic_lets_in() -> None:
    there = {**NOTHING, "chat.events": found(max_message_bytes="5000000")}
    letters = wanted_topics(SETTINGS, ROLES, 12, 3, there)[2]
    assert letters.configs["max.message.bytes"] == str(5_000_000 + HEADER_BYTES)


def test_a_parking_topic_holds_what_a_dead_letter_topic_does() -> None:
    letters, parked = wanted_topics(SETTINGS, ROLES | {SETTINGS.topics.parking: "parked letters"}, 12, 3, NOTHING)[2:]
    assert (parked.name, parked.configs) == (f"{letters.name}.parking", letters.configs)


@pytest.mark.parametrize(("replication", "in_sync"), [(1, None), (2, None), (3, "2"), (5, "2")])
def test_two_copies_acknowledge_where_there_are_three(replication: int, in_sync: str | None) -> None:
    for topic in wanted_topics(SETTINGS, ROLES, 12, replication, NOTHING):
        assert topic.configs.get("min.insync.replicas") == in_sync
        assert topic.configs["cleanup.policy"] == "delete"


def test_a_topic_of_one_copy_is_not_asked_for_two_in_sync() -> None:
    there = {**NOTHING, "chat.events": found(replication=1)}
    assert "min.insync.replicas" not in wanted_topics(SETTINGS, ROLES, 12, 3, there)[0].configs


def test_topics_that_the_policy_routes_to_are_needed_too(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('{name: a, version: "1", topics: {block: [moderation.blocked]}}')
    roles = topic_roles(load_settings(policy={"file": file}))
    assert roles["moderation.blocked"] == "routed verdicts"


def test_a_policy_that_routes_verdicts_into_an_input_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('{name: a, version: "1", topics: {block: [chat.events]}}')
    with pytest.raises(ConfigurationError, match=r"routes verdicts to chat\.events, the events"):
        topic_roles(load_settings(policy={"file": file}))


def test_the_shadow_topic_is_needed_where_the_lane_is_enabled_and_nobody_else_writes_to_it(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('{name: a, version: "1", topics: {block: [moderation.shadow]}}')
    shadow = {"enabled": True, "model": "demo"}

    assert topic_roles(load_settings(shadow=shadow))["moderation.shadow"] == "shadow"
    assert "moderation.shadow" not in ROLES
    with pytest.raises(ConfigurationError, match=r"routes verdicts to moderation\.shadow"):
        topic_roles(load_settings(shadow=shadow, policy={"file": file}))


def test_where_only_turns_are_judged_no_topic_of_whole_messages_is_needed() -> None:
    off = {"enabled": False}
    on_kafka = load_settings(guard=off, deltas={"enabled": True})
    assert topic_roles(on_kafka) == {
        "chat.deltas": "deltas",
        "moderation.stream": "turn verdicts",
        "moderation.dlq": "dead letters",
    }
    assert on_kafka.inputs == ("chat.deltas",)
    over_http = load_settings(guard=off, ask={"enabled": True, "stream": True})
    assert (topic_roles(over_http), over_http.inputs) == ({}, ())
    assert load_settings(deltas={"enabled": True}).inputs == ("chat.events", "chat.deltas")
