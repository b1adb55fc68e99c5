"""A secret is in no error of a malformed setting, in no pickle, and in nothing that Ray is told (P10)."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.errors import ConfigurationError
from workers.settings.loading import (
    Settings,
    load_settings,
    secrets_handed_down,
    variable_names,
    without_credentials,
)

CANARY = "hunter2-canary"
LOGIN = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "alice"}
# Texts of a file, with the canary where somebody's password would be.
FILES = {
    "section as list": f"kafka:\n  - sasl_username: alice\n  - sasl_password: {CANARY}\n",
    "section as text": f"kafka: |\n  sasl_username: alice\n  sasl_password: {CANARY}\n",
    "section in one line": f"kafka: sasl_password={CANARY}\n",
    "file as list": f"- kafka:\n    sasl_password: {CANARY}\n",
    "file as text": f"sasl_password={CANARY}\n",
    "setting as list": f"kafka:\n  sasl_password_file: [{CANARY}]\n",
    "setting as mapping": f"kafka: {{sasl_username: {{sasl_password: {CANARY}}}}}\n",
    "setting of another as list": f"kafka: {{group_id: [sasl_password, {CANARY}]}}\n",
    "setting of another section": f"guard: {{model: {{sasl_password: {CANARY}}}}}\n",
    "unknown name": f"kafka:\n  sasl_pass: {CANARY}\n",
    "value for a name": f"kafka:\n  sasl_password {CANARY}: yes\n",
    "secret set and password": f"kafka: {{sasl_mechanism: {CANARY}}}\n",
    "open quote": f'kafka:\n  sasl_password: "{CANARY}\n',
    "two colons": f"kafka:\n  sasl_password: {CANARY}: x\n",
    "alias": f"kafka:\n  sasl_password: *{CANARY}\n",
    "anchors": f"kafka:\n  sasl_username: &{CANARY} a\n  sasl_password: &{CANARY} b\n  client_id: [\n",
    "tag": f"kafka:\n  sasl_password: !{CANARY}\n",
    "tag and value": f"kafka:\n  sasl_password: !!int {CANARY}\n",
    "date": f"kafka:\n  sasl_password: !!timestamp {CANARY}\n",
    "binary": f"kafka:\n  sasl_password: !!binary {CANARY}é\n",
    "directive": f"%{CANARY}\nkafka: {{}}\n",
    "given twice": f"kafka:\n  sasl_password: a\n  sasl_password: {CANARY}\n",
    "given twice as names": f"kafka:\n  ? {CANARY} {CANARY}\n  : 1\n  ? {CANARY} {CANARY}\n  : 2\n",
    "both": f"kafka: {{sasl_password: {CANARY}, sasl_password_file: /run/{CANARY}}}\n",
    "control character": f"kafka: {{sasl_password: {CANARY}\x07}}\n",
    "flow": f"kafka: {{sasl_password: {CANARY}\n",
    "escape": f'kafka: {{sasl_password: "\\q{CANARY}"}}\n',
    "tabs": f"kafka:\n\tsasl_password: {CANARY}\n",
}


def refusal(**sections: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**sections)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def test_p10_a_login_in_the_servers_address_is_refused_and_not_quoted() -> None:
    message = refusal(kafka={"bootstrap_servers": f"kafka:9092,alice:{CANARY}@kafka:9092"})

    assert message.startswith("kafka.bootstrap_servers: host:port is needed")
    assert CANARY not in message


@pytest.mark.parametrize("name", FILES)
def test_p10_no_file_that_is_refused_is_quoted(name: str) -> None:
    Path("weir.yaml").write_text(FILES[name], encoding="utf-8")
    message = refusal()

    assert CANARY not in message
    assert "canary" not in message


def test_what_is_wrong_is_still_said() -> None:
    said = {name: (Path("weir.yaml").write_text(text, encoding="utf-8"), refusal())[1] for name, text in FILES.items()}

    assert said["section as list"] == "kafka: a mapping of settings is needed, found list"
    assert said["unknown name"] == "kafka.sasl_pass: unknown setting; did you mean kafka.sasl_password?"
    assert said["value for a name"] == "kafka.(no name): unknown setting"
    assert said["alias"] == "weir.yaml: found undefined alias …, line 2, column 18"
    assert said["setting as list"].startswith("kafka.sasl_password_file=(hidden): ")
    assert "expected <block end>, but found" in refusal_of("a: b\n- c\n")


def refusal_of(text: str) -> str:
    Path("weir.yaml").write_text(text, encoding="utf-8")
    return refusal()


@pytest.mark.parametrize("value", [[{CANARY: 1}], {CANARY: 1}, {"a": {"b": CANARY}}, [[CANARY]]])
def test_p10_no_setting_of_the_wrong_shape_is_quoted(value: object) -> None:
    for name in variable_names().values():
        given = value
        for key in reversed(name.split(".")):
            given = {key: given}
        Path("weir.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
        message = refusal()

        assert CANARY not in message, name
        assert name in message


@pytest.mark.parametrize("text", [f'{{"sasl_password": "{CANARY}"}}', f'["{CANARY}"]', f"{CANARY}: ["])
def test_p10_no_variable_of_a_login_is_quoted(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WEIR_KAFKA__LINGER_MS", "x")
    for variable, name in variable_names().items():
        if name.startswith(("kafka.sasl", "kafka.ssl")):
            monkeypatch.setenv(variable, text)

    assert CANARY not in refusal()


def test_p10_a_pickle_has_no_secret_and_a_process_that_inherits_it_finds_it_again() -> None:
    settings = load_settings(kafka={**LOGIN, "sasl_password": CANARY, "ssl_password": CANARY + "2"})
    pickled = pickle.dumps(settings)

    assert CANARY.encode() not in pickled
    assert CANARY.encode() not in pickle.dumps(settings.kafka)
    assert pickle.loads(pickled).kafka.sasl_password is None
    with secrets_handed_down(settings):
        found = pickle.loads(pickled)
    assert found == settings
    assert isinstance(found, Settings)
    assert found.kafka.sasl_password is not None
    assert found.kafka.sasl_password.get_secret_value() == CANARY
    assert not [name for name, value in os.environ.items() if CANARY in value]


def test_what_was_in_the_environment_is_there_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_KAFKA__SASL_PASSWORD", "before")
    with secrets_handed_down(load_settings(kafka={**LOGIN, "sasl_password": CANARY})):
        assert os.environ["WEIR_KAFKA__SASL_PASSWORD"] == CANARY

    assert os.environ["WEIR_KAFKA__SASL_PASSWORD"] == "before"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={CANARY}"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", f"x={CANARY}"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", f"x={CANARY}"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"https://me:{CANARY}@collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"https://collector:4317/v1?token={CANARY}"),
    ],
)
def test_p10_credentials_of_telemetry_are_not_for_rays_state(name: str, value: str) -> None:
    harmless = {"OTEL_EXPORTER_OTLP_ENDPOINT_": "http://collector:4317", "OTEL_SERVICE_NAME": "weir"}

    assert without_credentials({name: value, **harmless}) == harmless
