"""Settings that are right alone and wrong together are refused before the first record, all at once."""

from typing import Any

import pytest

from schemas.errors import ConfigurationError
from workers.settings.loading import load_settings

SASL = {"security_protocol": "SASL_SSL"}
SERVERS = {"urls": "http://vllm:8000"}
UNSAFE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "dead letters are events": (
        {"topics": {"events": "a,b", "dead_letters": "b"}},
        ["topics.dead_letters=b", "topics.events=a,b"],
    ),
    "verdicts are events": ({"topics": {"events": "a", "verdicts": "a"}}, ["topics.verdicts=a", "topics.events=a"]),
    "verdicts are dead letters": (
        {"topics": {"verdicts": "x", "dead_letters": "x"}},
        ["topics.verdicts=x", "topics.dead_letters=x"],
    ),
    "limit under a chunk": (
        {"limits": {"in_flight_records": 63}, "delivery": {"chunk_size": 64}},
        ["limits.in_flight_records=63", "delivery.chunk_size=64"],
    ),
    "tokens under one text": (
        {"limits": {"in_flight_tokens": 4095}, "length": {"max_tokens": 4096}},
        ["limits.in_flight_tokens=4095", "length.max_tokens=4096"],
    ),
    "bytes under one event": (
        {"limits": {"in_flight_bytes": 99, "max_event_bytes": 100}},
        ["limits.in_flight_bytes=99", "limits.max_event_bytes=100"],
    ),
    "drain over half a poll interval": (
        {"delivery": {"drain_timeout_s": 20.0}, "kafka": {"max_poll_interval_ms": 39_999}},
        ["delivery.drain_timeout_s=20.0", "kafka.max_poll_interval_ms=39999"],
    ),
    "drain over what Serve gives": ({"delivery": {"drain_timeout_s": 24.5}}, ["delivery.drain_timeout_s=24.5", "30 s"]),
    "nothing is judged": ({"guard": {"enabled": False}}, ["guard.enabled=false", "deltas.enabled", "ask.stream"]),
    "nothing could be asked": (
        {"guard": {"enabled": False}, "deltas": {"enabled": True}, "ask": {"enabled": True}},
        ["guard.enabled=false", "ask.stream=true"],
    ),
    "replicas follow a backlog that nobody reads": (
        {"guard": {"enabled": False}, "deltas": {"enabled": True}, "autoscaling": {"enabled": True}},
        ["autoscaling.enabled=true", "guard.enabled=true"],
    ),
    "a shadow of nothing": (
        {"guard": {"enabled": False}, "deltas": {"enabled": True}, "shadow": {"enabled": True, "model": "demo"}},
        ["shadow.enabled=true", "guard.enabled=true"],
    ),
    "heartbeat over a third of the session": (
        {"kafka": {"heartbeat_interval_ms": 3334, "session_timeout_ms": 10_000}},
        ["kafka.heartbeat_interval_ms=3334", "kafka.session_timeout_ms=10000"],
    ),
    "overlap over half a window": (
        {"length": {"overlap_tokens": 2049, "max_tokens": 4096}},
        ["length.overlap_tokens=2049", "length.max_tokens=4096"],
    ),
    "SASL without mechanism": ({"kafka": SASL}, ["kafka.security_protocol=SASL_SSL", "kafka.sasl_mechanism"]),
    "mechanism without SASL": (
        {"kafka": {"sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": "p"}},
        ["kafka.sasl_mechanism=PLAIN", "kafka.security_protocol=PLAINTEXT"],
    ),
    "no user": (
        {"kafka": {**SASL, "sasl_mechanism": "SCRAM-SHA-512", "sasl_password": "hunter2"}},
        ["kafka.sasl_mechanism=SCRAM-SHA-512", "kafka.sasl_username", "kafka.sasl_password"],
    ),
    "no token": (
        {"kafka": {**SASL, "sasl_mechanism": "OAUTHBEARER"}},
        ["kafka.sasl_mechanism=OAUTHBEARER", "kafka.sasl_oauth_token_file"],
    ),
    "remote without servers": ({"guard": {"engine": "remote"}}, ["guard.engine=remote needs guard.remote.urls"]),
    "servers without remote": (
        {"guard": {"remote": SERVERS}},
        ["guard.remote.urls has no effect with guard.engine=one_pass"],
    ),
    "scores of a chat server": (
        {"guard": {"engine": "remote", "score_temperature": 1.0, "remote": {**SERVERS, "flavour": "chat"}}},
        ["guard.remote.flavour=chat", "guard.score_temperature=1.0"],
    ),
    "remote and batch invariant": (
        {"guard": {"engine": "remote", "batch_invariant": True, "remote": SERVERS}},
        ["guard.engine=remote has no guard.batch_invariant"],
    ),
    "drafts for vLLM": (
        {"guard": {"engine": "remote", "remote": {**SERVERS, "drafts": True}}},
        ["guard.remote.flavour=vllm has no guard.remote.drafts=true"],
    ),
    "a call over half of a batch's time": (
        {"guard": {"engine": "remote", "batch_timeout_s": 100.0, "remote": SERVERS}},
        ["guard.remote.timeout_s=60.0", "guard.batch_timeout_s=100.0"],
    ),
    "a candidate's model beside remote": (
        {"guard": {"engine": "remote", "remote": SERVERS}, "shadow": {"enabled": True, "model": "demo"}},
        ["guard.engine=remote has no shadow.model"],
    ),
}
SAFE_NEIGHBOURS: list[dict[str, Any]] = [
    {"guard": {"engine": "remote", "remote": SERVERS}},
    {
        "guard": {
            "engine": "remote",
            "score_temperature": 1.0,
            "remote": {**SERVERS, "flavour": "sglang", "drafts": True},
        }
    },
    {"limits": {"in_flight_records": 64}, "delivery": {"chunk_size": 64}},
    {"limits": {"in_flight_tokens": 4096}, "length": {"max_tokens": 4096}},
    {"limits": {"in_flight_bytes": 100, "max_event_bytes": 100}},
    {"delivery": {"drain_timeout_s": 20.0}, "kafka": {"max_poll_interval_ms": 40_000}},
    {"delivery": {"drain_timeout_s": 24.0}},
    {"kafka": {"heartbeat_interval_ms": 3333, "session_timeout_ms": 10_000}},
    {"length": {"overlap_tokens": 2048, "max_tokens": 4096}},
    {"kafka": {**SASL, "sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": "p"}},
    {"kafka": {**SASL, "sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_file": "/token"}},
]


def refusal(**sections: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**sections)
    return str(caught.value)


@pytest.mark.parametrize("case", UNSAFE)
def test_an_unsafe_pair_is_refused_naming_its_keys_and_values(case: str) -> None:
    sections, named = UNSAFE[case]
    message = refusal(**sections)

    assert [part for part in named if part not in message] == []
    assert "hunter2" not in message


@pytest.mark.parametrize("sections", SAFE_NEIGHBOURS)
def test_the_safe_neighbour_of_an_unsafe_pair_is_taken(sections: dict[str, Any]) -> None:
    assert load_settings(**sections)


def test_all_unsafe_pairs_are_named_at_once() -> None:
    message = refusal(topics={"events": "a", "verdicts": "a"}, delivery={"drain_timeout_s": 200})

    assert all(name in message for name in ("topics.verdicts=a", "drain_timeout_s=200"))
