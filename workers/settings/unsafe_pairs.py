"""Refuses settings that are right alone and wrong together, and says what each pair would break.

Does not read settings.
"""

from pipelines.breaker.rules import BreakerRules
from workers.settings.sections import Sections, ShadowSettings, TopicSettings


def unsafe_pairs(settings: Sections) -> list[str]:
    """What is wrong with the settings, each with the names and values of both."""
    return [message for is_unsafe, message in _pairs(settings) if is_unsafe]


def _pairs(settings: Sections) -> list[tuple[bool, str]]:
    kafka, topics, delivery = settings.kafka, settings.topics, settings.delivery
    limits, length, guard = settings.limits, settings.length, settings.guard
    outputs = (topics.verdicts, topics.dead_letters)
    sasl = kafka.security_protocol.startswith("SASL")
    return [
        (
            "@" in kafka.bootstrap_servers,
            "kafka.bootstrap_servers: host:port is needed; a login is kafka.sasl_username and kafka.sasl_password",
        ),
        (
            topics.dead_letters in topics.events,
            f"topics.dead_letters={topics.dead_letters} is also in topics.events={','.join(topics.events)}",
        ),
        (
            topics.verdicts in topics.events,
            f"topics.verdicts={topics.verdicts} is also in topics.events={','.join(topics.events)}",
        ),
        (outputs[0] == outputs[1], f"topics.verdicts={outputs[0]} equals topics.dead_letters={outputs[1]}"),
        (
            limits.in_flight_records < delivery.chunk_size,
            f"limits.in_flight_records={limits.in_flight_records} is below delivery.chunk_size={delivery.chunk_size},"
            " so a batch can never fill",
        ),
        (
            limits.in_flight_tokens < length.max_tokens,
            f"limits.in_flight_tokens={limits.in_flight_tokens} is below length.max_tokens={length.max_tokens}",
        ),
        (
            limits.in_flight_bytes < limits.max_event_bytes,
            f"limits.in_flight_bytes={limits.in_flight_bytes} is below limits.max_event_bytes={limits.max_event_bytes}",
        ),
        (
            delivery.drain_timeout_s * 1000 > kafka.max_poll_interval_ms / 2,
            f"delivery.drain_timeout_s={delivery.drain_timeout_s} is more than half of"
            f" kafka.max_poll_interval_ms={kafka.max_poll_interval_ms}",
        ),
        (
            delivery.drain_timeout_s > 24,
            f"delivery.drain_timeout_s={delivery.drain_timeout_s} is above 24: Ray Serve cuts a stop off after 30 s",
        ),
        (
            kafka.heartbeat_interval_ms * 3 > kafka.session_timeout_ms,
            f"kafka.heartbeat_interval_ms={kafka.heartbeat_interval_ms} is more than a third of"
            f" kafka.session_timeout_ms={kafka.session_timeout_ms}",
        ),
        (
            length.overlap_tokens * 2 > length.max_tokens,
            f"length.overlap_tokens={length.overlap_tokens} is more than half of length.max_tokens={length.max_tokens}",
        ),
        (
            sasl and kafka.sasl_mechanism is None,
            f"kafka.security_protocol={kafka.security_protocol} needs kafka.sasl_mechanism",
        ),
        (
            not sasl and kafka.sasl_mechanism is not None,
            f"kafka.sasl_mechanism={kafka.sasl_mechanism} has no effect with"
            f" kafka.security_protocol={kafka.security_protocol}",
        ),
        (
            kafka.sasl_mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
            and (kafka.sasl_username is None or (kafka.sasl_password is None and kafka.sasl_password_file is None)),
            f"kafka.sasl_mechanism={kafka.sasl_mechanism} needs kafka.sasl_username and kafka.sasl_password or"
            " kafka.sasl_password_file",
        ),
        (
            kafka.sasl_password is not None and kafka.sasl_password_file is not None,
            "kafka.sasl_password and kafka.sasl_password_file: one of them",
        ),
        (
            kafka.sasl_mechanism == "OAUTHBEARER" and kafka.sasl_oauth_token_file is None,
            "kafka.sasl_mechanism=OAUTHBEARER needs kafka.sasl_oauth_token_file",
        ),
        (
            kafka.sasl_mechanism != "OAUTHBEARER" and bool(kafka.sasl_oauth_extensions),
            f"kafka.sasl_oauth_extensions has no effect with kafka.sasl_mechanism={kafka.sasl_mechanism}",
        ),
        (
            kafka.sasl_mechanism != "GSSAPI" and kafka.sasl_kerberos_domain_name is not None,
            f"kafka.sasl_kerberos_domain_name has no effect with kafka.sasl_mechanism={kafka.sasl_mechanism}",
        ),
        (
            kafka.sasl_mechanism == "AWS_MSK_IAM" and kafka.security_protocol != "SASL_SSL",
            f"kafka.sasl_mechanism=AWS_MSK_IAM needs SASL_SSL, not kafka.security_protocol={kafka.security_protocol}",
        ),
        (
            guard.engine == "reference" and (guard.batch_invariant or guard.score_temperature is not None),
            f"guard.engine={guard.engine} has neither guard.batch_invariant={guard.batch_invariant} nor"
            f" guard.score_temperature={guard.score_temperature}",
        ),
        *_unsafe_remote_pairs(settings),
        (
            not settings.ask.is_local and settings.ask.keys_file is None,
            f"ask.host={settings.ask.host} needs ask.keys_file: without keys only this machine may ask",
        ),
        *_unsafe_breaker_pairs(settings.breaker),
        *_unsafe_autoscaling_pairs(settings),
        *_unsafe_shadow_pairs(settings.shadow, topics),
        *_unsafe_delta_pairs(settings),
        *_unsafe_without_guard(settings),
    ]


def _unsafe_remote_pairs(settings: Sections) -> list[tuple[bool, str]]:
    guard, remote = settings.guard, settings.guard.remote
    is_remote, flavour = guard.engine == "remote", f"guard.remote.flavour={remote.flavour}"
    return [
        (is_remote and not remote.urls, "guard.engine=remote needs guard.remote.urls"),
        (
            not is_remote and bool(remote.urls),
            f"guard.remote.urls has no effect with guard.engine={guard.engine}",
        ),
        (is_remote and guard.batch_invariant, "guard.engine=remote has no guard.batch_invariant"),
        (
            is_remote and not guard.has_scores and guard.score_temperature is not None,
            f"{flavour} has no guard.score_temperature={guard.score_temperature}",
        ),
        (remote.drafts and remote.flavour != "sglang", f"{flavour} has no guard.remote.drafts=true"),
        (
            is_remote and remote.timeout_s * 2 > guard.batch_timeout_s,
            f"guard.remote.timeout_s={remote.timeout_s} is more than half of"
            f" guard.batch_timeout_s={guard.batch_timeout_s}",
        ),
        (
            is_remote and settings.shadow.has_model,
            "guard.engine=remote has no shadow.model and no shadow.revision: its servers run one model",
        ),
    ]


def _unsafe_breaker_pairs(breaker: BreakerRules) -> list[tuple[bool, str]]:
    window = f"breaker.window_records={breaker.window_records}, so the ratio would never count"
    return [
        (
            breaker.failure_min_records > breaker.window_records,
            f"breaker.failure_min_records={breaker.failure_min_records} is above {window}",
        ),
        (
            breaker.input_error_min_records > breaker.window_records,
            f"breaker.input_error_min_records={breaker.input_error_min_records} is above {window}",
        ),
        (
            breaker.drift_baseline_records < breaker.drift_window_records,
            f"breaker.drift_baseline_records={breaker.drift_baseline_records} is below"
            f" breaker.drift_window_records={breaker.drift_window_records}, which is compared with it",
        ),
        (
            breaker.drift_baseline_half_life_s <= breaker.drift_window_s,
            f"breaker.drift_baseline_half_life_s={breaker.drift_baseline_half_life_s} is not above"
            f" breaker.drift_window_s={breaker.drift_window_s}, so the baseline would follow what it is compared with",
        ),
    ]


def _unsafe_autoscaling_pairs(settings: Sections) -> list[tuple[bool, str]]:
    autoscaling, guard, serve = settings.autoscaling, settings.guard, settings.serve
    most = f"autoscaling.max_replicas={autoscaling.max_replicas}"
    return [
        (
            autoscaling.min_replicas > autoscaling.max_replicas,
            f"autoscaling.min_replicas={autoscaling.min_replicas} is above {most}",
        ),
        (
            autoscaling.enabled and guard.replicas > autoscaling.max_replicas,
            f"guard.replicas={guard.replicas} is above {most}",
        ),
        (
            autoscaling.enabled and serve.consumers > autoscaling.max_consumers,
            f"serve.consumers={serve.consumers} is above autoscaling.max_consumers={autoscaling.max_consumers}",
        ),
        (
            autoscaling.enabled and autoscaling.interval_s * 10 > autoscaling.target_seconds_behind,
            f"autoscaling.interval_s={autoscaling.interval_s} is more than a tenth of"
            f" autoscaling.target_seconds_behind={autoscaling.target_seconds_behind}",
        ),
    ]


def _unsafe_delta_pairs(settings: Sections) -> list[tuple[bool, str]]:
    topics = settings.topics
    roles = [(name, "topics.events") for name in topics.events]
    roles += [(topics.verdicts, "topics.verdicts"), (topics.dead_letters, "topics.dead_letters")]
    roles += [(topics.shadow, "topics.shadow"), (topics.deltas, "topics.deltas")]
    others = dict(roles)
    named = dict(roles[:-1])
    return [
        (topics.deltas in named, f"topics.deltas={topics.deltas} is also {named.get(topics.deltas)}"),
        (topics.stream in others, f"topics.stream={topics.stream} is also {others.get(topics.stream)}"),
    ]


def _unsafe_without_guard(settings: Sections) -> list[tuple[bool, str]]:
    """What needs whole messages to be judged."""
    off, ask = not settings.guard.enabled, settings.ask
    return [
        (
            off and not settings.judges_turns,
            "guard.enabled=false needs deltas.enabled=true, or ask.enabled=true and ask.stream=true: nothing would be"
            " judged",
        ),
        (
            off and ask.enabled and not ask.stream,
            "guard.enabled=false with ask.enabled=true needs ask.stream=true: nothing could be asked",
        ),
        (
            off and settings.autoscaling.enabled,
            "autoscaling.enabled=true needs guard.enabled=true: it follows the backlog of topics.events",
        ),
        (
            off and settings.shadow.enabled,
            "shadow.enabled=true needs guard.enabled=true: it is shown what that decides",
        ),
    ]


def _unsafe_shadow_pairs(shadow: ShadowSettings, topics: TopicSettings) -> list[tuple[bool, str]]:
    others = {topics.verdicts: "topics.verdicts", topics.dead_letters: "topics.dead_letters"}
    others |= dict.fromkeys(topics.events, "topics.events")
    return [
        (
            shadow.enabled and not shadow.has_model and shadow.policy_file is None,
            "shadow.enabled=true needs a candidate: shadow.model, shadow.revision or shadow.policy_file",
        ),
        (
            topics.shadow in others,
            f"topics.shadow={topics.shadow} is also {others.get(topics.shadow)}",
        ),
    ]
