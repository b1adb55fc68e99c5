"""Settings: every wrong value and unknown key is refused by name; the environment wins over the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.errors import ConfigurationError
from workers.settings.loading import (
    CONFIG_VARIABLE,
    Settings,
    load_settings,
    otel_variables,
    ray_address,
    variable_names,
)
from workers.settings.section import leaves_of

WriteConfig = Callable[[str], Path]


@pytest.fixture
def write_config(tmp_path: Path) -> WriteConfig:
    def write(text: str) -> Path:
        path = tmp_path / "weir.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(**sections: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**sections)
    assert caught.value.__cause__ is None
    if caught.value.__context__ is not None:
        assert caught.value.__suppress_context__, "pydantic's own error repeats inputs, secrets too"
    return str(caught.value)


@pytest.mark.parametrize(
    "variable",
    [
        "WEIR_KAFKA__ACKS",
        "WEIR_KAFKA__ENABLE_AUTO_COMMIT",
        "WEIR_KAFKA__GROUPID",
        "WEIR_KAFKA_GROUP_ID",
        "WEIR_KAFKA",
        "WEIR_X",
        "weir_guard__modle",
    ],
)
def test_an_unknown_variable_stops_the_start_by_name(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "hunter2")

    assert refusal().partition("; did you mean")[0] == f"{variable}: unknown setting"


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("WEIR_KAFKA__GROUPID", "WEIR_KAFKA__GROUP_ID"),
        ("WEIR_KAFKA_GROUP_ID", "WEIR_KAFKA__GROUP_ID"),
        ("weir_guard__modle", "WEIR_GUARD__MODEL"),
        ("WEIR_CONFIGS", "WEIR_CONFIG"),
        ("WEIR_KAFKA__ACKS", None),
        ("WEIR_X", None),
    ],
)
def test_a_setting_that_is_nearly_one_is_told_which(
    monkeypatch: pytest.MonkeyPatch, wrong: str, meant: str | None
) -> None:
    monkeypatch.setenv(wrong, "hunter2")

    assert refusal() == f"{wrong}: unknown setting" + (f"; did you mean {meant}?" if meant else "")


def test_every_unknown_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_Y", "hunter2")
    monkeypatch.setenv("WEIR_X", "hunter2")

    assert refusal() == "WEIR_X: unknown setting\nWEIR_Y: unknown setting"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("kafak: {group_id: a}", "kafak: unknown setting"),
        ("kafka: {groupid: a}", "kafka.groupid: unknown setting"),
        ("kafka: {sasl_pasword: hunter2}", "kafka.sasl_pasword: unknown setting"),
        ("guard: {replicas: 0, batch_size: many}", "guard.replicas=0"),
        ("guard: {replicas: 0, batch_size: many}", "guard.batch_size='many'"),
        ("kafka: 7", "kafka: a mapping of settings is needed, found int"),
    ],
)
def test_a_wrong_key_or_value_of_the_file_is_named(write_config: WriteConfig, text: str, named: str) -> None:
    write_config(text)
    message = refusal()

    assert named in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "text", ["kafka: {a: [", "- a\n- b", "kafka: " + "[" * 5000, "just words", "a: b: c", "\x00", "kafka: !!python/x y"]
)
def test_a_file_that_is_no_mapping_of_sections_is_named(write_config: WriteConfig, text: str) -> None:
    write_config(text)

    assert refusal().startswith("weir.yaml: ")


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("WEIR_GUARD__REPLICAS", "three", "guard.replicas='three'"),
        ("WEIR_LENGTH__MAX_TOKENS", "9", "length.max_tokens='9'"),
        ("WEIR_LIMITS__IN_FLIGHT_TOKENS", "-1", "limits.in_flight_tokens='-1'"),
        ("WEIR_KAFKA__SECURITY_PROTOCOL", "TLS", "kafka.security_protocol='TLS'"),
        ("WEIR_KAFKA__API_VERSION", "2", "kafka.api_version='2'"),
        ("WEIR_TOPICS__EVENTS", "a,b c", "b c"),
        ("WEIR_TOPICS__EVENTS", "", "topics.events"),
        ("WEIR_LIMITS__RESUME_RATIO", "1", "limits.resume_ratio='1'"),
        ("WEIR_KAFKA__GROUP_ID", "", "kafka.group_id=''"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str
) -> None:
    monkeypatch.setenv(variable, value)

    assert named in refusal()


def secret_names() -> list[str]:
    """Every setting whose type is a secret's."""
    return [name for name, field in leaves_of(Settings) if SecretStr.__name__ in str(field.annotation)]


def test_there_are_secrets_to_keep() -> None:
    assert secret_names() == ["kafka.ssl_password", "kafka.sasl_password"]


@pytest.mark.parametrize("name", secret_names())
@pytest.mark.parametrize("value", [["hunter2"], 2002, {"hunter2": 1}])
def test_p10_a_secret_of_the_wrong_type_is_not_repeated(name: str, value: object) -> None:
    section, _, key = name.partition(".")
    message = refusal(**{section: {key: value}})

    assert name in message
    assert "hunter2" not in message
    assert "2002" not in message


@pytest.mark.parametrize("name", secret_names())
def test_p10_a_secret_is_in_no_repr_and_no_dump(name: str) -> None:
    section, _, key = name.partition(".")
    sections: dict[str, Any] = {section: {key: "hunter2"}}
    loaded = load_settings(**sections)

    assert "hunter2" not in repr(loaded) + str(loaded) + loaded.model_dump_json() + str(loaded.model_dump())


def test_names_that_others_rely_on_have_their_defaults() -> None:
    loaded = load_settings()

    assert loaded.topics.events == ("chat.events",)
    assert (loaded.topics.verdicts, loaded.topics.dead_letters) == ("moderation.verdicts", "moderation.dlq")
    assert loaded.kafka.group_id == "weir"
    assert loaded.guard.model == "Qwen/Qwen3Guard-Gen-0.6B"
    assert loaded.delivery.mode == "at_least_once"


def test_public_variables_are_accepted() -> None:
    names = "KAFKA__BOOTSTRAP_SERVERS KAFKA__GROUP_ID TOPICS__EVENTS TOPICS__VERDICTS TOPICS__DEAD_LETTERS"
    names += " GUARD__MODEL GUARD__REVISION GUARD__DEVICE GUARD__DTYPE GUARD__ENGINE DELIVERY__MODE POLICY__FILE"

    assert {f"WEIR_{name}" for name in names.split()} <= set(variable_names())


def test_the_environment_wins_over_the_file_and_arguments_over_both_key_by_key(
    monkeypatch: pytest.MonkeyPatch, write_config: WriteConfig
) -> None:
    write_config("kafka: {group_id: file, client_id: file, bootstrap_servers: 'file:1'}")
    monkeypatch.setenv("WEIR_KAFKA__CLIENT_ID", "environment")
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", "environment:1")
    kafka = load_settings(kafka={"bootstrap_servers": "argument:1"}).kafka

    assert (kafka.group_id, kafka.client_id, kafka.bootstrap_servers) == ("file", "environment", "argument:1")


def test_another_file_can_be_named_and_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    monkeypatch.setenv(CONFIG_VARIABLE, str(other))
    assert refusal() == f"{CONFIG_VARIABLE}={other}: no such file"

    other.write_text("kafka: {group_id: other}")

    assert load_settings().kafka.group_id == "other"


def test_event_topics_are_read_from_a_comma_separated_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_TOPICS__EVENTS", "a, b,c")

    assert load_settings().topics.events == ("a", "b", "c")


def test_settings_cannot_be_changed_once_read() -> None:
    loaded = load_settings()
    for target, name in ((loaded, "kafka"), (loaded.kafka, "group_id")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(target, name, None)


def test_foreign_variables_are_handed_on_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "me")
    monkeypatch.setenv("RAY_ADDRESS", "")

    assert otel_variables()["OTEL_SERVICE_NAME"] == "me"
    assert all(name.startswith("OTEL_") for name in otel_variables())
    assert ray_address() is None
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:1")
    assert ray_address() == "ray://head:1"
