"""Bad input of every kind on real Kafka: each record gets its own reason, its neighbours get their verdicts (P6)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import confluent_kafka
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    NewTopic,
    ResourcePattern,
    ResourceType,
)

from pipelines.guard import GuardAnswer, GuardReply, GuardRequest
from schemas.dead_letter import BROKER, OWN
from schemas.reasons import Reason
from schemas.record import Headers
from tests.guards.scripted_guard import PROVENANCE, SAFE, ScriptedGuard, text_of
from tests.integration.ends import DLQ_PARTITIONS, check_all, produced
from tests.kafka.cluster import KafkaCluster
from tests.kafka.security import USERS
from tests.site import Broker, Site, event, wait_until
from workers.demo.corpus import held_out
from workers.demo.sample import OFF_GRAMMAR, SampleRecord, sample_records
from workers.stream.worker import StreamWorker
from workers.tools.verify.verify import verify

LARGE = "17000000"
LENGTH = {"max_tokens": 1024, "overlap_tokens": 64, "max_windows": 8}
NewSite = Callable[..., Site]


class TaskGuard(ScriptedGuard):
    """Answers each task in its own grammar, and the texts it is given off the grammar."""

    def __init__(self, off_grammar: Sequence[str]) -> None:
        super().__init__()
        self._off_grammar = set(off_grammar)

    async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
        answers = [GuardAnswer(self._write(request), None, None, 10, 8, True, {}, 0.0, 1.0) for request in requests]
        return GuardReply(answers, PROVENANCE)

    def _write(self, request: GuardRequest) -> str:
        if text_of(request) in self._off_grammar:
            return "Safety: perhaps"
        return f"{SAFE}\nRefusal: No" if request.conversation[-1]["role"] == "assistant" else SAFE


@pytest.fixture
def new_site(kafka: KafkaCluster) -> Iterator[NewSite]:
    """`new_site(verdicts={"max.message.bytes": "1500"}, missing=("dlq",))` makes a site with topics to measure."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","))
    benches: list[Site] = []

    def make(*, missing: tuple[str, ...] = (), **configs: dict[str, str]) -> Site:
        def create(name: str) -> None:
            kind = name.partition("-")[0]
            if kind not in missing:
                partitions = DLQ_PARTITIONS if kind == "dlq" else 4
                config = {"max.message.bytes": LARGE} | configs.get(kind, {})
                admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config)])

        benches.append(Site(Broker(kafka.bootstrap, None, create)))
        return benches[-1]

    yield make
    for site in benches:
        site.close()
    admin.close()


def not_utf8(site: Site) -> dict[tuple[int, int], Reason | None]:
    """What to expect where the only fault is that some values are no text."""
    return {place: Reason.NOT_UTF8 if (r.value or b"")[:1] == b"\xff" else None for place, r in produced(site).items()}


def finish(site: Site, worker: StreamWorker, count: int) -> None:
    """Wait for all outcomes and stop."""
    site.wait_for(count)
    assert worker.stop(20.0)


def test_p1_p6_every_record_of_the_sample_and_a_body_of_10_mb_end_as_they_should(new_site: NewSite) -> None:
    site, records = new_site(), sample_records()
    body = event("10MB", "x" * 10_000_000)
    records.insert(250, SampleRecord(b"10MB", body, [("kept", b"yes")], Reason.EVENT_TOO_LARGE))
    sender = KafkaProducer(bootstrap_servers=site.settings.kafka.bootstrap_servers, max_request_size=int(LARGE))
    sent = [(sender.send(site.names[0], value, key, headers), expected) for key, value, headers, expected in records]
    sender.flush()
    sender.close()
    expected = {(future.value.partition, future.value.offset): reason for future, reason in sent}

    off_grammar = [talk[-1]["content"] for talk, _ in held_out(7, OFF_GRAMMAR, severity="Off-grammar")]
    worker = site.start(TaskGuard(off_grammar), site.settings_with(length=LENGTH))
    finish(site, worker, len(records))
    check_all(site, expected, skips=True)
    assert len(set(expected.values())) > 15


ODD: list[tuple[bytes | None, bytes | None, Headers, Reason | None]] = [
    (b"k", event("e"), (("h", None), ("h", b"1"), ("h", b"2"), ("", b"nameless"), ("empty", b"")), None),
    (b"k", b"{", (("h", None), ("h", b"1"), ("h", None), ("", b"nameless"), ("empty", b"")), Reason.INVALID_JSON),
    (b"k", b"{", (("raw", b"\xff\x00\xfe"), ("ключ", b"\xd0")), Reason.INVALID_JSON),
    (b"k", b"{", ((OWN + "reason", b"spoofed"), (BROKER + "offset", b"x"), ("h", b"1")), Reason.INVALID_JSON),
    (b"k", b"{", ((OWN + "redrive_count", b"9" * 5000), (OWN + "null_value", b"true")), Reason.INVALID_JSON),
    (b"k", event("e"), (("traceparent", b"\xff\xff"), ("tracestate", None)), None),
    (b"k", b"{", (("traceparent", None), ("tracestate", b"\xff")), Reason.INVALID_JSON),
    (b"k", event("e"), (("content-type", None), ("ce_id", None)), None),
    (None, None, (), Reason.TOMBSTONE),
    (None, None, (("h", None),), Reason.TOMBSTONE),
    (b"", None, (), Reason.TOMBSTONE),
    (None, event("e"), (), None),
    (b"", event("e"), (), None),
    (bytes(range(256)), event("e"), (), None),
    (bytes(range(256)), b"\x00", (), Reason.INVALID_JSON),
    (b"k", b"", (), Reason.TOMBSTONE),
    (b"k" * 100_000, event("e"), (), None),
]


def test_p6_odd_keys_values_and_headers_come_back_byte_for_byte(new_site: NewSite) -> None:
    site = new_site()
    # Only this client can write headers without a value.
    sender = confluent_kafka.Producer({"bootstrap.servers": site.settings.kafka.bootstrap_servers})
    expected: dict[tuple[int, int], Reason | None] = {}
    for key, value, headers, reason in ODD:

        def stored(error: object, message: confluent_kafka.Message, reason: Reason | None = reason) -> None:
            assert error is None
            expected[message.partition(), message.offset()] = reason

        sender.produce(site.names[0], value, key, headers=list(headers), on_delivery=stored)
    assert sender.flush(20) == 0
    by_headers = {tuple(record.headers) for record in produced(site).values()}
    assert by_headers == {headers for _, _, headers, _ in ODD}, "the consumer does not give back what was written"

    kept = site.settings_with(events={"nothing_to_judge": "dead_letter"})
    finish(site, site.start(ScriptedGuard(), kept), len(ODD))
    check_all(site, expected)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_p6_compressed_batches_are_read_and_written(new_site: NewSite, codec: str) -> None:
    site = new_site()
    sender = KafkaProducer(
        bootstrap_servers=site.settings.kafka.bootstrap_servers, compression_type=codec, linger_ms=200
    )
    values = [event(f"e{i}", "hello " * 200) if i % 5 else b"\xff" * 2000 for i in range(50)]
    for i, value in enumerate(values):
        sender.send(site.names[0], value, b"k%d" % (i % 7))
    sender.close()
    worker = site.start(ScriptedGuard(), site.settings_with(kafka={"compression": codec}))
    finish(site, worker, 50)
    check_all(site, not_utf8(site))


def test_p6_a_verdict_too_large_for_its_topic_is_a_dead_letter_and_its_neighbours_are_not(new_site: NewSite) -> None:
    # The limit is one of batches: small verdicts fit alone, though not together.
    site = new_site(verdicts={"max.message.bytes": "1600"})
    wide = event("w" * 256)[:-1] + b', "conversation_id": "%s", "tenant": "%s"}' % (b"c" * 256, b"t" * 256)
    site.produce([wide if i == 11 else event(f"e{i}") for i in range(30)])
    finish(site, site.start(ScriptedGuard()), 30)

    sources = produced(site).items()
    ends = {place: Reason.VERDICT_TOO_LARGE if r.value == wide else None for place, r in sources}
    check_all(site, ends, once=False)
    assert [letter.model_revision for letter in site.dead_letters()] == [PROVENANCE.revision]


@pytest.mark.parametrize("limited", ["topic", "client"])
def test_p6_a_dead_letter_too_large_for_its_topic_loses_its_value_but_not_its_place(
    new_site: NewSite, limited: str
) -> None:
    site = new_site(dlq={"max.message.bytes": "3000"} if limited == "topic" else {})
    settings = site.settings_with(kafka={"max_request_bytes": 3000} if limited == "client" else {})
    keys = {2: b"K" * 5000}
    values = [b"\xff" * (9000 if i in (2, 7) else 10) if i % 5 == 2 else event(f"e{i}") for i in range(20)]
    sender = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers)
    sent = [sender.send(site.names[0], value, keys.get(i, b"k"), partition=1) for i, value in enumerate(values)]
    sender.flush()
    sender.close()
    finish(site, site.start(ScriptedGuard(), settings), 20)

    assert verify(settings).is_proven
    letters = {letter.source.offset: letter for letter in site.dead_letters()}
    assert [letters[sent[i].value.offset].value_dropped for i in (2, 7, 12, 17)] == [True, True, False, False]
    assert [letters[sent[i].value.offset].key for i in (2, 7, 12)] == [None, b"k", b"k"]
    assert {letter.reason for letter in letters.values()} == {Reason.NOT_UTF8}
    assert {verdict["event_id"] for verdict in site.verdicts()} == {f"e{i}" for i in range(20) if i % 5 != 2}
    assert site.committed() == {1: 20}


@pytest.mark.slow
def test_p5_a_missing_topic_of_the_policy_is_named_and_holds_all_until_it_is_there(
    new_site: NewSite, kafka: KafkaCluster, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    site = new_site()
    name = f"blocked-{site.names[0]}"
    policy = tmp_path / "policy.yaml"
    policy.write_text(f'name: x\nversion: "1"\ntopics: {{block: [{name}]}}\n')
    site.produce([event(f"e{i}", "kill" if i == 7 else "hello") for i in range(40)])
    guard = ScriptedGuard(lambda text: "Safety: Unsafe\nCategories: Violent" if text == "kill" else SAFE)
    worker = site.start(guard, site.settings_with(policy={"file": str(policy)}))
    wait_until(lambda: "publish_held" in caplog.text, "the publisher to say that it is held")
    assert name in caplog.text
    assert sum(site.committed().values()) < 40
    assert worker.stuck_reason() is None

    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","))
    admin.create_topics([NewTopic(name, 4, 1)])
    admin.close()
    site.wait_for(40)
    assert {verdict["event_id"] for verdict in site.verdicts()} == {f"e{i}" for i in range(40)}


@pytest.mark.parametrize("missing", [pytest.param("dlq", marks=pytest.mark.slow), "verdicts"])
def test_p5_while_an_output_topic_is_missing_all_is_held_and_nothing_is_lost(
    new_site: NewSite, kafka: KafkaCluster, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    site = new_site(missing=(missing,))
    site.produce([event(f"e{i}") if i % 4 else b"\xff" for i in range(40)])
    worker = site.start(ScriptedGuard())
    wait_until(lambda: "publish_held" in caplog.text, "the publisher to say that it is held")
    held = [r for r in produced(site).values() if (r.value == b"\xff") == (missing == "dlq")]
    committed = site.committed()
    assert all(record.offset >= committed.get(record.partition, 0) for record in held), "committed without an outcome"
    assert worker.stuck_reason() is None

    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap.split(","))
    name = next(name for name in site.names if name.startswith(missing))
    admin.create_topics([NewTopic(name, DLQ_PARTITIONS, 1)])
    admin.close()
    finish(site, worker, 40)
    check_all(site, {place: Reason.NOT_UTF8 if r.value == b"\xff" else None for place, r in produced(site).items()})


@pytest.fixture(scope="module")
def guarded_kafka(_kafka_can_run: None) -> Iterator[KafkaCluster]:
    """One broker that asks who one is and what one may."""
    with KafkaCluster(security=True, authorizer=True) as cluster:
        yield cluster


@pytest.mark.parametrize(
    "denied",
    [
        "verdicts",
        *(pytest.param(what, marks=pytest.mark.slow) for what in ("dlq", "events")),
        "group",
        "transactional id",
    ],
)
def test_p5_while_a_right_is_missing_all_is_held_and_with_it_all_goes_on(
    guarded_kafka: KafkaCluster, denied: str
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=guarded_kafka.bootstrap.split(","))
    create = lambda name: admin.create_topics([NewTopic(name, DLQ_PARTITIONS, 1)])  # noqa: E731
    site = Site(Broker(guarded_kafka.bootstrap, None, create))
    events, verdicts, letters, _ = site.names
    rights = {
        "events": (ResourceType.TOPIC, events, ACLOperation.READ),
        "verdicts": (ResourceType.TOPIC, verdicts, ACLOperation.WRITE),
        "dlq": (ResourceType.TOPIC, letters, ACLOperation.WRITE),
        "group": (ResourceType.GROUP, site.settings.kafka.group_id, ACLOperation.READ),
        "transactional id": (ResourceType.TRANSACTIONAL_ID, site.settings.kafka.group_id, ACLOperation.WRITE),
    }

    def allow(kind: ResourceType, name: str, operation: ACLOperation) -> None:
        way = (
            ACLResourcePatternType.PREFIXED if kind is ResourceType.TRANSACTIONAL_ID else ACLResourcePatternType.LITERAL
        )
        pattern = ResourcePattern(kind, name, way)
        admin.create_acls([ACL("User:alice", "*", operation, ACLPermissionType.ALLOW, pattern)])

    for name in rights.keys() - {denied}:
        allow(*rights[name])
    site.produce([event(f"e{i}") if i % 4 else b"\xff" for i in range(40)])
    login = {
        "bootstrap_servers": guarded_kafka.bootstrap_for("SASL_PLAINTEXT"),
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_username": "alice",
        "sasl_password": USERS["alice"],
    }
    delivery = {"mode": "exactly_once"} if denied == "transactional id" else {}
    worker = site.start(ScriptedGuard(), site.settings_with(kafka=login, delivery=delivery))
    wait_until(lambda: worker.progress.turns > 5, "the worker to go on turning")
    wait_until(lambda: worker.in_flight > 0 or denied in ("events", "group"), "records to be in flight")
    assert not site.records(2 if denied == "dlq" else 1), "written without a right to"
    assert sum(site.committed().values()) < 40
    assert worker.stuck_reason() is None

    allow(*rights[denied])
    finish(site, worker, 40)
    ends = {place: Reason.NOT_UTF8 if r.value == b"\xff" else None for place, r in produced(site).items()}
    check_all(site, ends, once=denied not in ("verdicts", "dlq"))
    site.close()
    admin.close()
