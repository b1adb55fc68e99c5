"""One frozen model for each component: its settings, their defaults, and a sentence on each.

`workers.settings.loading` reads the environment.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from pipelines.breaker.rules import BreakerRules
from pipelines.fitting.length_policy import MAX_TOKENS, MIN_TOKENS, Mode
from pipelines.guard import CHUNK_SIZE
from pipelines.in_flight import LIMIT
from workers.settings.ask import AskSettings
from workers.settings.guard_section import GuardSettings as GuardSettings
from workers.settings.section import Positive, PositiveSeconds, Ratio, Section
from workers.settings.stream_guard import DeltaSettings, StreamGuardSettings

TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$", max_length=249)]
# How a message may end that is traced for it, whatever its producer decided.
MessageEnd = Literal["dead_letter", "not_safe", "slow"]
TenantName = Annotated[str, Field(pattern=r"^[^_]", max_length=128)]
_PARKING = ".parking"
# Of Kafka's section.
SECRETS = frozenset({"ssl_password", "sasl_password"})


class KafkaSettings(Section):
    """Connection and group membership."""

    bootstrap_servers: str = Field("localhost:9092", description="host:port, comma-separated")
    group_id: str = Field("weir", min_length=1, description="consumer group")
    group_instance_id: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9._-]{1,200}$",
        description="static membership: the id of consumer n is this and -n, and a restart within session_timeout_ms"
        " moves no partition",
    )
    client_id: str = Field("weir", description="client id of consumer and producer")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="as Kafka names it"
    )
    ssl_cafile: Path | None = Field(None, description="PEM file of the certificate authority")
    ssl_certfile: Path | None = Field(None, description="PEM file of the client certificate")
    ssl_keyfile: Path | None = Field(None, description="PEM file of the client key")
    ssl_password: SecretStr | None = Field(None, description="password of the client key")
    ssl_check_hostname: bool = Field(True, description="compare the broker's name with its certificate")
    sasl_mechanism: (
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM", "GSSAPI"] | None
    ) = Field(
        None,
        description="needed by the SASL protocols; AWS_MSK_IAM needs the package botocore and AWS credentials, GSSAPI"
        " the package gssapi and a ticket",
    )
    sasl_username: str | None = Field(None, description="for PLAIN and SCRAM")
    sasl_password: SecretStr | None = Field(None, description="for PLAIN and SCRAM")
    sasl_password_file: Path | None = Field(
        None, description="file with the password, in place of it; read when a client is made"
    )
    sasl_oauth_token_file: Path | None = Field(None, description="file with the bearer token, read at each login")
    sasl_oauth_extensions: Annotated[dict[str, str], NoDecode] = Field(
        {}, description="extensions sent with the token, name=value, comma-separated"
    )
    sasl_kerberos_service_name: str = Field("kafka", min_length=1, description="for GSSAPI: the brokers' service")
    sasl_kerberos_domain_name: str | None = Field(
        None, description="for GSSAPI: domain of that service; the broker's name if unset"
    )
    client_rack: str | None = Field(
        None, min_length=1, description="where this consumer is; brokers let it read from a replica in the same place"
    )
    api_version: str | None = Field(
        None, pattern=r"^\d+\.\d+$", description="broker protocol version, e.g. 2.3; asked from the broker if unset"
    )
    auto_offset_reset: Literal["earliest", "latest"] = Field("earliest", description="where a new group starts")
    session_timeout_ms: Positive = Field(45_000, description="a member without a heartbeat for this long is expelled")
    heartbeat_interval_ms: Positive = Field(3_000, description="time between heartbeats")
    max_poll_interval_ms: Positive = Field(300_000, description="a member that does not poll for this long is expelled")
    max_poll_records: Positive = Field(500, description="records taken by one poll")
    fetch_max_bytes: Positive = Field(16 * 2**20, description="bytes of one fetch")
    linger_ms: Annotated[int, Field(ge=0)] = Field(5, description="wait for more records before a batch is produced")
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "none", description="compression of produced batches"
    )
    max_request_bytes: Positive = Field(
        16 * 2**20, description="largest produced record; dead letters beyond it lose their value, not their place"
    )

    @field_validator("sasl_oauth_extensions", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if not all(mark for _, mark, _ in pairs):
            raise ValueError("name=value is needed, comma-separated")
        return {name.strip(): content.strip() for name, _, content in pairs}

    @field_validator("sasl_oauth_extensions")
    @classmethod
    def _as_rfc_7628_has_them(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if not re.fullmatch("[A-Za-z]+", name) or name == "auth":
                raise ValueError("a name is letters, and not auth")
            if not re.fullmatch(r"[\x21-\x7e \t\r\n]+", content):
                raise ValueError("a value is of printable ASCII characters")
        return value

    def __getstate__(self) -> dict[Any, Any]:
        """Without secrets: what is pickled lies in Ray's state."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], **dict.fromkeys(SECRETS)}}


class TopicSettings(Section):
    """Topic names."""

    events: Annotated[tuple[TopicName, ...], NoDecode, Field(min_length=1)] = Field(
        ("chat.events",), description="input topics, comma-separated"
    )
    verdicts: TopicName = Field("moderation.verdicts", description="result topic")
    dead_letters: TopicName = Field("moderation.dlq", description="dead-letter topic")
    shadow: TopicName = Field("moderation.shadow", description="where the shadow lane writes, if enabled")
    deltas: TopicName = Field("chat.deltas", description="where turns arrive while they are written, if enabled")
    stream: TopicName = Field("moderation.stream", description="where it is said of them what they are")

    @property
    def parking(self) -> str:
        """Where dead letters go that have been put back too often; the parking topic's is itself."""
        return self.dead_letters.removesuffix(_PARKING) + _PARKING

    @field_validator("events", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class DeliverySettings(Section):
    """How records are handed over."""

    mode: Literal["at_least_once", "exactly_once"] = Field("at_least_once", description="delivery promise")
    chunk_size: Positive = Field(CHUNK_SIZE, description="events of one guard call")
    call_timeout_s: PositiveSeconds = Field(
        1_800.0, description="a guard call that takes longer, its wait in the replica's queue included, is tried again"
    )
    max_attempts: Positive = Field(3, description="tries of a record that fails alone")
    max_crashes: Positive = Field(3, description="replica deaths under a record alone, before it is quarantined")
    backoff_initial_s: PositiveSeconds = Field(0.1, description="first wait while something is down, jittered")
    backoff_max_s: PositiveSeconds = Field(10.0, description="longest such wait")
    commit_interval_s: PositiveSeconds = Field(2.0, description="time between commits")
    drain_timeout_s: PositiveSeconds = Field(20.0, description="longest drain on revoke and stop")


class EventSettings(Section):
    """What becomes of events that are special."""

    nothing_to_judge: Literal["skip", "dead_letter"] = Field(
        "skip", description="a null value, or no text but white space: counted and no more, or a dead letter"
    )
    structure_in_text: Literal["judge_parts", "dead_letter"] = Field(
        "judge_parts",
        description="a text with roles or tags as the chat template writes them: each part, too, or refused",
    )


class LimitSettings(Section):
    """Bounds on what is held in memory (P9)."""

    max_event_bytes: Positive = Field(
        1_048_576, description="larger values are dead letters, however much of one is old turns"
    )
    unreadable_after_s: PositiveSeconds | None = Field(
        600.0, description="a batch that cannot be read for so long becomes dead letters without its bytes; null: never"
    )
    in_flight_records: Positive = Field(LIMIT.records, description="partitions pause at this many records")
    in_flight_bytes: Positive = Field(LIMIT.bytes, description="partitions pause at this many bytes")
    in_flight_tokens: Positive = Field(LIMIT.tokens, description="partitions pause at this many estimated tokens")
    resume_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="a paused partition resumes below this share of what is left"
    )


class LengthSettings(Section):
    """What happens to conversations longer than the model should read."""

    mode: Mode = Field("window", description="length policy")
    max_tokens: Annotated[int, Field(ge=MIN_TOKENS)] = Field(
        MAX_TOKENS, description="estimated tokens judged in one piece"
    )
    overlap_tokens: Annotated[int, Field(ge=0)] = Field(256, description="overlap of neighbouring windows")
    max_windows: Positive = Field(32, description="a text of more windows is a dead letter")


class PolicySettings(Section):
    """From classification to action."""

    file: Path | None = Field(None, description="policy YAML; built-in default policy if unset")


class TelemetrySettings(Section):
    """Spans and logs; exporters are set by the standard OTEL_ variables."""

    process_span: Literal["child", "link"] = Field("child", description="relation to the producer's span")
    always_sample: Annotated[tuple[MessageEnd, ...], NoDecode] = Field(
        ("dead_letter", "not_safe", "slow"),
        description="ends for which a message is traced, whatever its producer decided; empty: none",
    )
    slow_s: PositiveSeconds = Field(
        30.0, description="a message that takes this long from its poll to its verdict is slow"
    )
    span_directory: Path | None = Field(
        None, description="write spans into this folder as well, as a collector's file exporter would"
    )
    recent_spans_mib: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="MiB of its newest spans that each replica keeps for `weir trace`, collector or not; 0: none"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="log level")
    tenants: Annotated[tuple[TenantName, ...], NoDecode, Field(max_length=64)] = Field(
        (),
        description="tenants that metrics tell apart, comma-separated; all others count as one; unset: none is named",
    )

    @field_validator("always_sample", "tenants", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) and value else value or ()


class HealthSettings(Section):
    """When a worker counts as stuck (P12)."""

    progress_timeout_s: PositiveSeconds = Field(120.0, description="a consumer that is stuck for this long is replaced")
    progress_factor: Annotated[float, Field(ge=1)] = Field(
        20.0, description="so is one stuck for this many times its longest recent wait, from 10 s on"
    )
    dead_man_s: PositiveSeconds = Field(60.0, description="stop consuming after this long without a Serve health check")


class ServeSettings(Section):
    """The Serve application."""

    consumers: Positive = Field(1, description="StreamWorker replicas")
    cpus_per_consumer: Annotated[float, Field(ge=0)] = Field(1.0, description="logical CPUs of a StreamWorker replica")


class AutoscalingSettings(Section):
    """Replicas that follow the backlog, see `pipelines.autoscaling`; decision 0012 explains the figures."""

    enabled: bool = Field(
        False,
        description="guard replicas and consumers follow the backlog; they begin as guard.replicas and"
        " serve.consumers say",
    )
    target_seconds_behind: PositiveSeconds = Field(60.0, description="no record should be unfinished for longer")
    min_replicas: Annotated[int, Field(ge=0)] = Field(
        1, description="fewest guard replicas; 0: none while there is nothing to judge"
    )
    max_replicas: Positive = Field(8, description="most guard replicas")
    max_consumers: Positive = Field(8, description="most consumers; the fewest are serve.consumers")
    replicas_per_consumer: Positive = Field(
        8, description="guard replicas that one consumer can keep busy: limits.in_flight_records over two batches each"
    )
    replica_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="records a second of a busy guard replica, until that has been measured"
    )
    startup_s: PositiveSeconds = Field(
        60.0, description="from the order of a guard replica to its first answer, until that has been measured"
    )
    interval_s: PositiveSeconds = Field(2.0, description="a change of load is decided on within two of these")
    upscale_delay_s: Annotated[float, Field(ge=0)] = Field(
        0.0, description="more replicas must be wanted for this long before they are ordered"
    )
    downscale_delay_s: Annotated[float, Field(ge=0)] = Field(
        120.0, description="fewer replicas must be wanted for this long before any stops"
    )
    downscale_to_zero_delay_s: Annotated[float, Field(ge=0)] = Field(
        600.0, description="no replica must be wanted for this long before the last one stops"
    )


class ShadowSettings(Section):
    """A candidate model, revision or policy that judges a sample of live traffic and decides nothing; decision 0015."""

    enabled: bool = Field(False, description="have a candidate judge a sample of live traffic; it decides nothing")
    share: Ratio = Field(0.01, description="share of the judged events, chosen by topic, partition and offset")
    model: str | None = Field(None, description="the candidate's model: hub name, local folder, or demo")
    revision: str | None = Field(None, description="its hub revision; alone: another revision of guard.model")
    policy_file: Path | None = Field(
        None, description="the candidate's policy; without a model, it is applied to the live guard's answers"
    )
    replicas: Positive = Field(1, description="guard replicas of the candidate's model, as large as guard's own")
    queue_records: Positive = Field(1_024, description="records that wait for the candidate; more are left out")
    timeout_s: PositiveSeconds = Field(
        30.0, description="records that the candidate has not answered by then are left out"
    )
    summary_interval_s: PositiveSeconds = Field(60.0, description="time between two summaries of a consumer")

    @property
    def has_model(self) -> bool:
        """The candidate has replicas of its own."""
        return self.enabled and (self.model is not None or self.revision is not None)


class Sections(Section):
    """All sections."""

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    guard: GuardSettings = GuardSettings()
    delivery: DeliverySettings = DeliverySettings()
    events: EventSettings = EventSettings()
    limits: LimitSettings = LimitSettings()
    length: LengthSettings = LengthSettings()
    policy: PolicySettings = PolicySettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    health: HealthSettings = HealthSettings()
    breaker: BreakerRules = BreakerRules()
    serve: ServeSettings = ServeSettings()
    autoscaling: AutoscalingSettings = AutoscalingSettings()
    shadow: ShadowSettings = ShadowSettings()
    ask: AskSettings = AskSettings()
    stream_guard: StreamGuardSettings = StreamGuardSettings()
    deltas: DeltaSettings = DeltaSettings()

    @property
    def judges_turns(self) -> bool:
        """Something needs the stream guard: the door on Kafka, or that on HTTP."""
        return self.deltas.enabled or self.ask.judges_turns

    @property
    def inputs(self) -> tuple[str, ...]:
        """Topics that `weir run` reads."""
        events = self.topics.events if self.guard.enabled else ()
        return (*events, self.topics.deltas) if self.deltas.enabled else events

    def with_guard(self, **chosen: object) -> Self:
        """The settings with some of the guard's given here; these are not checked."""
        return self.model_copy(update={"guard": self.guard.model_copy(update=chosen)})

    def with_model(self, model: str | None) -> Self:
        """The settings with another model, of no particular revision; None leaves them as they are."""
        return self if model is None else self.with_guard(model=model, revision=None)

    def candidate(self) -> Self:
        """The settings as the shadow lane's candidate has them: what it names is its own, all else is live's."""
        shadow = self.shadow
        candidate = self
        if shadow.has_model:
            candidate = self.with_guard(model=shadow.model or self.guard.model, revision=shadow.revision)
        if shadow.policy_file is not None:
            candidate = candidate.model_copy(update={"policy": PolicySettings(file=shadow.policy_file)})
        return candidate
