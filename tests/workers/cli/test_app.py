"""The command line: what a user sees, and what a script that calls it can rely on."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.documents import documents
from schemas.reasons import Reason
from schemas.record import SourceRecord
from tests.samples.outcomes import letter_of, verdict_of, written
from tests.weir_result import Result
from workers.cli.terminal import plain
from workers.demo.broker import EmbeddedBroker
from workers.kafka import reader
from workers.kafka.moments import milliseconds_of
from workers.kafka.producer import producer
from workers.settings.loading import Settings, load_settings
from workers.settings.sections import TopicSettings

TOPICS = TopicSettings()
SECRET = "the quick brown secret"
COMMANDS = (
    "run", "check", "classify", "verify", "schema", "topics", "topics plan", "topics apply", "dlq", "dlq list",
    "dlq show", "dlq redrive", "dlq purge",
    "breaker", "breaker status", "breaker reset",
)  # fmt: skip


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """Two events with a verdict and a dead letter, and one foreign record among the dead letters."""
    with EmbeddedBroker((*TOPICS.events, TOPICS.verdicts, TOPICS.dead_letters)) as broker:
        sender = producer(
            load_settings(kafka={"bootstrap_servers": broker.bootstrap_servers, "api_version": "2.3"}).kafka
        )
        for number in range(2):
            value = json.dumps({"event_id": "e", "text": SECRET, "tenant": "kids"}).encode()
            stored = sender.send(TOPICS.events[0], value, b"k", partition=0).get(10)
            headers = (("x-note", SECRET.encode()), ("traceparent", b"00-aa-bb-01"))
            record = SourceRecord(stored.topic, 0, stored.offset, stored.timestamp, b"k", value, headers)
            outcome = letter_of(record, Reason.TOO_LONG, "messages: \x1b[31mred") if number else verdict_of(record)
            output = written(outcome, b"k", TOPICS)
            sender.send(output.topic, output.value, output.key, output.headers, partition=output.partition)
        sender.send(TOPICS.dead_letters, b"foreign", None, [], partition=1)
        sender.flush()
        sender.close()
        yield broker


@pytest.fixture
def on_broker(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("WEIR_KAFKA__API_VERSION", broker.api_version)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = Result(*command.split(), "--help")
    assert result.code == 0
    assert "Usage:" in result.out


def test_the_version_is_that_of_the_distribution() -> None:
    result = Result("--version")
    assert (result.code, bool(re.fullmatch(r"weir \d+\.\d+\.\d+\n", result.out))) == (0, True)


def test_the_package_runs_as_a_module_does() -> None:
    said = [sys.executable, "-m", "workers", "--version"]
    found = subprocess.run(said, check=True, capture_output=True, text=True, timeout=60)
    assert found.stdout == Result("--version").out


def test_help_loads_no_client_and_no_model_library() -> None:
    slow = ("torch", "ray", "transformers", "kafka", "pyarrow", "numpy")
    code = f"import sys, workers.cli.app; print(*(name for name in {slow} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == []


@pytest.mark.parametrize(
    "arguments", [("verify",), ("topics", "plan"), ("dlq", "list"), ("classify", "x"), ("check", "--skip-model")]
)
def test_an_unknown_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP", "x")
    result = Result(*arguments)
    if arguments[0] == "check":
        assert (result.code, "WEIR_KAFKA__BOOTSTRAP: unknown setting" in result.out) == (1, True)
        return
    assert (result.code, result.out, result.err) == (2, "", "weir: WEIR_KAFKA__BOOTSTRAP: unknown setting\n")


def test_several_wrong_settings_are_still_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_LIMITS__RESUME_RATIO", "7")
    monkeypatch.setenv("WEIR_GUARD__DTYPE", "int3")
    result = Result("verify")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "guard.dtype='int3'" in result.err
    assert "limits.resume_ratio='7'" in result.err


def test_the_settings_file_is_chosen_by_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, other = tmp_path / "chosen.yaml", tmp_path / "other.yaml"
    chosen.write_text("kafka: {group_id: from-chosen, bootstrap_servers: '127.0.0.1:1'}")
    other.write_text("kafka: {group_id: from-other}")
    monkeypatch.setenv("WEIR_CONFIG", str(other))
    result = Result("check", "--skip-model", "--timeout", "2", "--config", str(chosen))
    assert "group from-chosen" in result.out
    assert load_settings(chosen).kafka.group_id == "from-chosen"
    assert Settings().kafka.group_id == load_settings().kafka.group_id == "from-other"


@pytest.mark.parametrize("command", ["verify", "run"])
def test_a_settings_file_that_is_not_there_is_named(tmp_path: Path, command: str) -> None:
    result = Result(command, "--config", str(tmp_path / "none.yaml"))
    assert (result.code, result.err) == (2, f"weir: --config={tmp_path}/none.yaml: no such file\n")


def test_check_goes_on_after_a_failure_and_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("WEIR_POLICY__FILE", "/none.yaml")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
    started = time.monotonic()
    result = Result("check", "--skip-model", "--timeout", "2", "--json")
    assert time.monotonic() - started < 8
    checks = {check["name"]: check for check in result.json["checks"]}
    assert (result.code, result.json["ok"]) == (1, False)
    assert [name for name, check in checks.items() if check["status"] == "fail"] == [
        "policy", "broker", "telemetry",
    ]  # fmt: skip
    assert (checks["session"]["status"], checks["session"]["found"]) == ("skip", "no broker to have one with")
    assert "127.0.0.1:1" in checks["broker"]["found"]
    assert checks[f"topic {TOPICS.dead_letters}"]["status"] == "skip"


def test_check_names_the_candidate_and_loads_its_model_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variables = {"KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "GUARD__MODEL": "demo", "AUTOSCALING__ENABLED": "true"}
    variables |= {"SHADOW__ENABLED": "true", "SHADOW__SHARE": "0.05", "SHADOW__MODEL": str(tmp_path / "none")}
    for name, value in variables.items():
        monkeypatch.setenv(f"WEIR_{name}", value)
    result = Result("check", "--timeout", "2", "--json")
    checks = {check["name"]: check for check in result.json["checks"]}
    assert (checks["model"]["status"], checks["shadow model"]["status"]) == ("ok", "fail")
    assert str(tmp_path / "none") in checks["shadow model"]["found"]
    assert checks["shadow"]["found"].startswith(
        f"0.05 of the events to moderation.shadow: 1 replicas of {tmp_path}/none,"
    )
    assert checks["autoscaling"]["found"] == "1 to 8 guard replicas, 1 to 8 consumers, for 60 s behind at most"


def test_check_names_a_candidates_policy_and_keys_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_ASK__ENABLED", "true")
    monkeypatch.setenv("WEIR_ASK__KEYS_FILE", "/none.yaml")
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("WEIR_SHADOW__ENABLED", "true")
    monkeypatch.setenv("WEIR_SHADOW__POLICY_FILE", "/none.yaml")
    result = Result("check", "--skip-model", "--timeout", "2", "--json")
    failed = [check["name"] for check in result.json["checks"] if check["status"] == "fail"]
    assert failed == ["shadow", "ask", "broker"]


@pytest.mark.parametrize("words", [("trace", "e"), ("shadow", "report"), ("dlq", "list")])
def test_a_broker_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setattr(reader, "CONNECT_S", 0.3)
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    result = Result(*words)
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert line.startswith("weir: kafka.bootstrap_servers=127.0.0.1:1: ")


@pytest.mark.usefixtures("on_broker")
def test_verify_proves_and_says_so() -> None:
    shown, proven = Result("verify"), Result("verify", "--allow-tail", "--json")
    assert (shown.code, proven.code) == (0, 0)
    assert "ledger closed: 2 in, 1 verdicts, 1 dead letters, 0 skipped, 1 foreign" in shown.out
    assert proven.json["promises"] == {"P1": True, "P3": True, "P7": True, "P8": True}


@pytest.mark.usefixtures("on_broker")
def test_verify_reads_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    once = Result("verify", "--no-duplicates", "--isolation", "read_uncommitted", "--json")
    assert (once.code, once.json["promises"]["once"]) == (0, True)
    assert Result("verify", "--from", "0:1", "--to", "0:2", "--json").json["inputs"] == 1
    assert Result("verify", "--from", "1:0", "--from", "0:2", "--json").json["inputs"] == 0
    for arguments in (("--from", "yesterday"), ("--to", "1h", "--to", "2h"), ("--isolation", "serializable")):
        refused = Result("verify", *arguments)
        assert (refused.code, refused.out) == (2, "")
    assert Result("verify", "--from", "99:0").err == "weir: partition 99: not of an input topic\n"
    monkeypatch.setenv("WEIR_POLICY__FILE", "/none.yaml")
    assert Result("verify").err.startswith("weir: policy file /none.yaml")


def test_verify_refutes_with_exit_code_1(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("WEIR_KAFKA__API_VERSION", broker.api_version)
    monkeypatch.setenv("WEIR_TOPICS__EVENTS", TOPICS.verdicts)  # as if the one verdict were an event
    monkeypatch.setenv("WEIR_TOPICS__VERDICTS", TOPICS.events[0])
    result = Result("verify")
    assert result.code == 1
    assert "refuted" in result.out
    assert "ledger open" in result.out
    assert SECRET not in result.out


@pytest.mark.usefixtures("on_broker")
def test_dlq_list_counts() -> None:
    result = Result("dlq", "list", "--json")
    assert result.code == 0
    assert (result.json["count"], result.json["foreign"]) == (1, 1)
    assert result.json["by_reason"][0]["reason"] == "too_long"
    assert result.json["by_source_topic"] == {TOPICS.events[0]: 1}
    assert "1 dead letters of chat.events 1; 1 foreign records" in Result("dlq", "list").out
    assert "too_long" not in Result("dlq", "list", "--tenant", "adults").out


@pytest.mark.usefixtures("on_broker")
def test_dlq_list_names_each_record_on_a_line() -> None:
    entries = Result("dlq", "list", "--records", "--json").lines
    assert [entry.get("reason") for entry in entries if "foreign" not in entry] == ["too_long"]
    text = Result("dlq", "list", "--records").out
    assert "chat.events-0-1  too_long" in text
    assert len(text.splitlines()) == 2
    assert "messages: \\x1b[31mred" in text  # as it stands, a terminal would obey it


@pytest.mark.usefixtures("on_broker")
@pytest.mark.parametrize("place", ["0:0", "chat.events-0-1", "moderation.dlq-0-0"])
def test_p10_dlq_show_holds_no_content_unless_asked(place: str) -> None:
    for arguments in (("dlq", "show", place), ("dlq", "show", place, "--json")):
        result = Result(*arguments)
        assert result.code == 0
        assert "too_long" in result.out
        assert "00-aa-bb-01" in result.out
        assert SECRET not in result.out
        assert "\x1b" not in result.out
    assert SECRET in Result("dlq", "show", place, "--include-value").out
    entry = Result("dlq", "show", place, "--json", "--include-value").json
    assert json.loads(entry["value"])["text"] == SECRET
    assert entry["headers"]["x-note"] == SECRET


@pytest.mark.usefixtures("on_broker")
def test_dlq_show_shows_a_foreign_record_as_one() -> None:
    assert Result("dlq", "show", "1:0", "--json").json["foreign"].startswith("header ")
    assert Result("dlq", "show", "9:9").err == "weir: 9:9: no such dead letter in moderation.dlq\n"


@pytest.mark.usefixtures("on_broker")
def test_a_topic_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_TOPICS__DEAD_LETTERS", "nowhere")
    result = Result("dlq", "list")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("weir: topic nowhere: does not exist")


def test_schema_prints_the_documents() -> None:
    texts = documents()
    assert Result("schema").out.split() == list(texts)
    assert Result("schema", "--json").json == texts
    for name, text in texts.items():
        assert Result("schema", name).out == text
    assert Result("schema", "verdict").json["title"] == "Verdict"
    assert Result("schema", "nothing").code == 2


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("1970-01-01T00:00:01Z", 1000), ("1970-01-01T00:00:01", 1000), ("1970-01-01T01:00:00+01:00", 0)],
)
def test_a_time_without_a_zone_is_utc(text: str, milliseconds: int) -> None:
    assert milliseconds_of(text) == milliseconds


def test_a_time_may_be_an_age() -> None:
    assert abs(time.time() * 1000 - milliseconds_of("90m") - 90 * 60_000) < 5000
    assert Result("dlq", "list", "--since", "yesterday").code == 2


def test_text_from_outside_cannot_drive_a_terminal() -> None:
    assert plain("a\x1b[2J\x9b\u202eb\nc") == "a\\x1b[2J\\x9b\\u202eb\nc"
