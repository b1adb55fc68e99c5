"""The `OTEL_…` variables mean what the specification says, and what is not done of it is said."""

from __future__ import annotations

import pytest

from workers.telemetry.export import try_export
from workers.telemetry.variables import otlp_protocol, service_name, shown_endpoint, unsupported

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}

CANARY = "hunter2-canary"


@pytest.mark.parametrize(
    ("otel", "named"),
    [
        ({}, "weir-guard"),
        ({"OTEL_SERVICE_NAME": ""}, "weir-guard"),
        ({"OTEL_SERVICE_NAME": "  "}, "weir-guard"),
        ({"OTEL_SERVICE_NAME": "me"}, "me"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=other"}, "other"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=a, service.name = my%20service ,x=y"}, "my service"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=a"}, "weir-guard"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name="}, "weir-guard"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "nonsense"}, "weir-guard"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=other", "OTEL_SERVICE_NAME": "me"}, "me"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=other", "OTEL_SERVICE_NAME": ""}, "other"),
    ],
)
def test_the_services_name_is_found_in_the_specifications_order(otel: dict[str, str], named: str) -> None:
    assert service_name("weir-guard", otel) == named


@pytest.mark.parametrize(
    ("otel", "protocol"),
    [
        ({}, None),
        (ENDPOINT, "grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, None),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": ""}, "grpc"),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "NONE"}, None),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "console"}, None),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "console,OTLP"}, "grpc"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "HTTP/Protobuf"}, "http/protobuf"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": ""}, "grpc"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, "http/protobuf"),
    ],
)
def test_a_signal_goes_where_its_variables_say(otel: dict[str, str], protocol: str | None) -> None:
    assert otlp_protocol("TRACES", otel) == protocol


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "thrift"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_PROPAGATORS", "b3,baggage,tracecontext"),
        ("OTEL_PROPAGATORS", "none"),
        ("OTEL_PROPAGATORS", "tracecontext"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_SDK_DISABLED", "1"),
        ("OTEL_CONFIG_FILE", "/etc/otel.yaml"),
    ],
)
def test_what_is_not_done_is_said_by_name(name: str, value: str) -> None:
    (said,) = unsupported({name: value})

    assert said.startswith(name)
    assert unsupported({name: ""}) == []


@pytest.mark.parametrize(
    "otel",
    [
        {},
        ENDPOINT,
        {"OTEL_PROPAGATORS": "baggage, TraceContext", "OTEL_SDK_DISABLED": "False", "OTEL_LOGS_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"},
    ],
)
def test_what_is_done_is_not_complained_of(otel: dict[str, str]) -> None:
    assert unsupported(otel) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:hunter2@collector:4318/x?token=hunter2#hunter2", "http://collector:4318/x"),
        ("me:hunter2@collector:4317", "collector:4317"),
        ("collector:4317", "collector:4317"),
    ],
)
def test_p10_an_endpoint_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert shown_endpoint(url) == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", f"authorization: Bearer {CANARY}"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", f"a=b,{CANARY}"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", f"a key={CANARY}"),
        ("OTEL_RESOURCE_ATTRIBUTES", f"team=a,{CANARY}"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://alice:{CANARY}@collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"alice:{CANARY}@collector:4317"),
    ],
)
def test_p10_a_variable_that_holds_a_secret_in_the_wrong_form_is_named_and_quoted_by_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value}
    for variable, text in otel.items():
        monkeypatch.setenv(variable, text)
    (said,) = unsupported(otel)
    try_export(otel, 0.01)

    assert said.startswith(f"{name}: ")
    assert CANARY not in said + caplog.text
