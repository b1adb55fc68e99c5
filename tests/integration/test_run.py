"""`weir run` as its users start it: a process, an environment, real Kafka, real Ray and the demo's model.

Three runs in all: one that is told to stop under load, then two at once; the first is over TLS and SASL.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from schemas.reasons import STAGE_OF, Reason, Stage
from tests.kafka.cluster import KafkaCluster
from tests.kafka.security import USERS, unsigned_token
from tests.workers.serving.ray_state import files_with
from workers.demo.sample import SampleRecord, sample_records
from workers.kafka.connection import group_consumer
from workers.kafka.producer import producer
from workers.kafka.reader import TopicReader, offsets_in
from workers.settings.loading import Settings, load_settings
from workers.tools.dead_letters.dead_letters import scan
from workers.tools.verify.verify import verify

WEIR = str(Path(sys.executable).with_name("weir"))
START_S, STOP_S = 180.0, 40.0
MARK, DEAD_CLUSTER = "TEST_RUN_MARK", "127.0.0.1:1"
MORE = "hello hello "
DEMO = {
    "guard": {"model": "demo", "dtype": "float32", "max_new_tokens": 32, "cpus_per_replica": 0.5},
    "length": {"max_tokens": 1024, "overlap_tokens": 64, "max_windows": 8},
    "limits": {"in_flight_records": 96},
    "delivery": {"chunk_size": 16, "commit_interval_s": 0.2},
    "serve": {"cpus_per_consumer": 0.5},
}


def until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Poll a condition; fails with `what`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for: {what}"
        time.sleep(0.05)


class Place:
    """Topics, a group and the settings to reach them, and what is in the topics."""

    def __init__(self, cluster: KafkaCluster, kafka: dict[str, Any] | None = None) -> None:
        suffix = uuid.uuid4().hex[:8]
        names = {name: f"run-{name}-{suffix}" for name in ("events", "verdicts", "dead_letters")}
        large = {"max.message.bytes": "17000000"}
        admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap.split(","))
        admin.create_topics([NewTopic(name, 4, 1, topic_configs=large) for name in names.values()])
        admin.close()
        given = {"bootstrap_servers": cluster.bootstrap, "group_id": f"run-{suffix}", **(kafka or {})}
        sections = {**DEMO, "kafka": given, "topics": names}
        self.environment = {
            f"WEIR_{section}__{name}".upper(): str(value)
            for section in sections
            for name, value in sections[section].items()
        }
        self.settings: Settings = load_settings(**sections)

    def produce(self, records: list[SampleRecord]) -> None:
        sender = producer(self.settings.kafka)
        for record in records:
            sender.send(self.settings.topics.events[0], record.value, record.key, record.headers)
        sender.flush()
        sender.close()

    def outcomes(self) -> int:
        topics = self.settings.topics
        with TopicReader(self.settings.kafka) as reader:
            return offsets_in(reader.ranges([topics.verdicts, topics.dead_letters]))

    def reasons(self) -> Counter[Reason]:
        return Counter(found.letter.reason for found in scan(self.settings) if found.letter is not None)


class Run:
    """One `weir run`, from its start to its end; what it and its children print goes to one file."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("WEIR_", "RAY_", "OTEL_"))}
        self.mark = uuid.uuid4().hex
        self.log = folder / f"{self.mark}.log"
        # Sockets have short paths, and what somebody's `ray start` left behind must not be joined.
        self.ray = Path(tempfile.mkdtemp(prefix="weir-", dir="/tmp"))
        (self.ray / "ray").mkdir()
        (self.ray / "ray" / "ray_current_cluster").write_text(DEAD_CLUSTER)
        own = {"RAY_TMPDIR": str(self.ray), MARK: self.mark}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [WEIR, "run"], env={**clean, **environment, **own}, cwd=folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_running(self) -> None:
        def is_running() -> bool:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.text()[-3000:]}"
            return '"event": "running"' in self.text()

        until(is_running, "`weir run` to say that it runs", START_S)

    def stop(self, number: signal.Signals) -> int:
        """Send SIGTERM as a supervisor does; Ctrl-C as a terminal does, to the whole process group."""
        (os.killpg if number is signal.SIGINT else os.kill)(self.process.pid, number)
        return self.process.wait(STOP_S)

    def processes(self) -> list[int]:
        """Live processes that this run has started, itself included: they carry its mark in their environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{MARK}={self.mark}".encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def close(self) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.ray, ignore_errors=True)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Place], Run]]:
    """Starts runs and sees to it that nothing of them outlives the tests."""
    runs: list[Run] = []

    def begin(place: Place) -> Run:
        runs.append(Run(place.environment, tmp_path_factory.mktemp("run")))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


class Stopped:
    """What a run left that was told to stop while records went on arriving."""

    def __init__(self, place: Place, start: Callable[[Place], Run]) -> None:
        self.place = place
        self.sample = sample_records(200)
        self.run = start(place)
        place.produce(self.sample)
        self.run.wait_running()
        ended = sum(not record.is_skipped for record in self.sample)
        until(lambda: place.outcomes() >= ended, f"{ended} outcomes", 60)
        self.reasons = place.reasons()
        self.is_over = threading.Event()
        feeding = threading.Thread(target=self._feed)
        feeding.start()
        try:
            until(lambda: place.outcomes() >= ended + 20, "outcomes of what goes on arriving")
            self.code = self.run.stop(signal.SIGTERM)
        finally:
            self.is_over.set()
            feeding.join()
        self.ledger = verify(place.settings, allow_tail=True)

    def _feed(self) -> None:
        text = json.dumps({"event_id": "more", "text": MORE * 30}).encode()
        burst = [SampleRecord(b"k%d" % (i % 10), text, [], None) for i in range(40)]
        self.place.produce(8 * burst)
        while not self.is_over.wait(0.5):
            self.place.produce(burst)


def secured(cluster: KafkaCluster) -> dict[str, Any]:
    """Settings to reach a broker over TLS and SASL."""
    return {
        "bootstrap_servers": cluster.bootstrap_for("SASL_SSL"),
        "security_protocol": "SASL_SSL",
        "ssl_cafile": cluster.ca_file,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "alice",
        "sasl_password": USERS["alice"],
    }


@pytest.fixture(scope="module")
def stopped(secured_kafka: KafkaCluster, start: Callable[[Place], Run]) -> Stopped:
    """The first run, over TLS and SASL."""
    return Stopped(Place(secured_kafka, secured(secured_kafka)), start)


def test_p1_sigterm_under_load_drains_and_exits_with_0_and_nothing_in_flight_is_lost(stopped: Stopped) -> None:
    assert stopped.code == 0, stopped.run.text()[-3000:]
    assert '"left_in_flight": 0' in stopped.run.text()
    assert stopped.ledger.is_proven, stopped.ledger
    assert (stopped.ledger.missing, stopped.ledger.duplicates) == (0, 0)
    assert stopped.ledger.not_yet_judged > 0, "there was nothing left to stop in the middle of"


def test_p1_every_kind_of_record_ends_as_the_sample_says(stopped: Stopped) -> None:
    wanted = Counter(
        record.expected for record in stopped.sample if record.expected is not None and not record.is_skipped
    )
    # What a tiny model writes is its own affair, texts that lead it off the grammar on purpose aside.
    of_model = {reason for reason in Reason if STAGE_OF[reason] is Stage.PARSE}
    bad_input = [Counter({k: n for k, n in found.items() if k not in of_model}) for found in (wanted, stopped.reasons)]
    assert bad_input[0] == bad_input[1]
    assert stopped.reasons.total() >= wanted.total() > 50


def test_a_run_leaves_no_process_behind_and_joins_nobody_s_cluster(stopped: Stopped) -> None:
    assert DEAD_CLUSTER not in stopped.run.text()
    until(lambda: not stopped.run.processes(), f"the end of {stopped.run.processes()}", 10)


def test_p10_a_run_prints_what_its_replicas_do_and_no_text_of_messages(stopped: Stopped) -> None:
    log = stopped.run.text()
    assert "partitions_assigned" in {json.loads(line).get("event") for line in log.splitlines() if '"event"' in line}
    assert "Traceback" not in log
    for canary in (MORE, USERS["alice"]):
        assert canary not in log
        assert files_with(canary, stopped.run.ray) == [], "Ray's logs and state"
    assert files_with("partitions_assigned", stopped.run.ray), "Ray's logs were read"


@pytest.mark.slow
def test_p1_two_runs_at_once_close_their_ledgers_and_ctrl_c_stops_as_sigterm_does(
    stopped: Stopped, kafka: KafkaCluster, start: Callable[[Place], Run]
) -> None:
    plain = Place(kafka)
    first, more = sample_records(120, seed=8), sample_records(100, seed=9)
    ended = sum(not record.is_skipped for record in first + more)
    plain.produce(first)
    runs = [start(stopped.place), start(plain)]
    for run in runs:
        run.wait_running()
    until(lambda: verify(stopped.place.settings).is_closed, "the rest to be judged", 60)
    # The other one must not notice that this one goes.
    assert runs[0].stop(signal.SIGINT) == 0, runs[0].text()[-3000:]
    plain.produce(more)
    until(lambda: plain.outcomes() >= ended, f"{ended} outcomes", 60)
    assert runs[1].stop(signal.SIGINT) == 0, runs[1].text()[-3000:]

    for place in (stopped.place, plain):
        ledger = verify(place.settings)
        assert ledger.is_proven, ledger
        assert (ledger.missing, ledger.not_yet_judged, ledger.duplicates) == (0, 0, 0)
    assert USERS["alice"] not in runs[0].text()
    until(lambda: not runs[0].processes() + runs[1].processes(), "the end of both runs' processes", 10)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("WEIR_GUARD__MODLE", "demo", ("WEIR_GUARD__MODLE",)),
        ("WEIR_GUARD__DTYPE", "int3", ("guard.dtype", "int3")),
        ("WEIR_KAFKA__ENABLE_AUTO_COMMIT", "true", ("WEIR_KAFKA__ENABLE_AUTO_COMMIT: unknown setting",)),
        ("WEIR_TOPICS__DEAD_LETTERS", "chat.events", ("topics.dead_letters=chat.events",)),
        ("WEIR_KAFKA__SASL_MECHANISM", "PLAIN", ("kafka.sasl_mechanism=PLAIN",)),
        ("WEIR_POLICY__FILE", "/nowhere/policy.yaml", ("/nowhere/policy.yaml",)),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_value_before_ray_starts(
    tmp_path: Path, name: str, value: str, named: tuple[str, ...]
) -> None:
    run = Run({name: value}, tmp_path)
    assert run.process.wait(30) == 2
    log, sessions = run.text(), list((run.ray / "ray").glob("session_*"))
    run.close()
    assert [part for part in named if part not in log] == []
    assert log.count("\n") == 1
    assert sessions == []


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("SSL", None), ("SASL_SSL", "PLAIN"), ("SASL_PLAINTEXT", "SCRAM-SHA-256"), ("SASL_SSL", "OAUTHBEARER")],
)
def test_our_clients_connect_by_every_other_way_that_settings_offer(
    secured_kafka: KafkaCluster, tmp_path: Path, protocol: str, mechanism: str | None
) -> None:
    kafka: dict[str, Any] = {"bootstrap_servers": secured_kafka.bootstrap_for(protocol), "security_protocol": protocol}
    if protocol.endswith("SSL"):
        kafka["ssl_cafile"] = secured_kafka.ca_file
    if mechanism == "OAUTHBEARER":
        kafka["sasl_oauth_token_file"] = tmp_path / "token"
        kafka["sasl_oauth_token_file"].write_text(unsigned_token("alice") + "\n")
    elif mechanism is not None:
        kafka |= {"sasl_username": "alice", "sasl_password": USERS["alice"]}
    place = Place(secured_kafka, {**kafka, **({"sasl_mechanism": mechanism} if mechanism else {})})
    place.produce([SampleRecord(b"k", b"{}", [], None)])
    member = group_consumer(place.settings.kafka)
    member.subscribe(list(place.settings.topics.events))
    member.partitions_for_topic(place.settings.topics.events[0])  # a leader without metadata assigns nothing
    until(lambda: bool(member.poll(100)), "a record")
    member.commit()
    member.close()
    assert verify(place.settings).missing == 1  # committed, and judged by nobody
