"""Settings as arguments of kafka-python's clients: every login that it offers."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError
from workers.kafka import connection as module
from workers.kafka.connection import connection, group_consumer
from workers.kafka.producer import producer
from workers.settings.loading import load_settings

SSL = {"security_protocol": "SASL_SSL"}


def arguments(**kafka: Any) -> dict[str, Any]:
    return connection(load_settings(kafka={**SSL, **kafka}).kafka)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that are no dependency of ours."""
    monkeypatch.setattr(module, "find_spec", lambda name: ModuleSpec(name, None))


@pytest.mark.usefixtures("installed")
def test_iam_of_aws_has_no_login_of_ours() -> None:
    given = arguments(sasl_mechanism="AWS_MSK_IAM")

    assert given["sasl_mechanism"] == "AWS_MSK_IAM"
    assert [name for name in given if name.startswith("sasl_")] == ["sasl_mechanism"]


@pytest.mark.usefixtures("installed")
def test_kerberos_names_the_brokers_service() -> None:
    given = arguments(sasl_mechanism="GSSAPI", sasl_kerberos_domain_name="example.org")

    assert given["sasl_kerberos_service_name"] == "kafka"
    assert given["sasl_kerberos_domain_name"] == "example.org"
    assert "sasl_plain_password" not in given


@pytest.mark.parametrize(("mechanism", "package"), [("AWS_MSK_IAM", "botocore"), ("GSSAPI", "gssapi")])
def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, mechanism: str, package: str) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=rf"kafka\.sasl_mechanism={mechanism} needs the package {package}"):
        arguments(sasl_mechanism=mechanism)


def test_a_token_goes_with_its_extensions(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t\n", encoding="utf-8")
    given = arguments(
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_file=tmp_path / "token",
        sasl_oauth_extensions="logicalCluster=lkc-1, identityPoolId=pool=1",
    )
    provider = given["sasl_oauth_token_provider"]

    assert (provider.token(), provider.extensions()) == ("t", {"logicalCluster": "lkc-1", "identityPoolId": "pool=1"})


@pytest.mark.parametrize("extensions", ["a", "auth=x", "a1=x", "a=", "a=ü", "a=\x01b"])
def test_extensions_that_rfc_7628_does_not_know_are_refused(extensions: str) -> None:
    with pytest.raises(ConfigurationError, match=r"kafka\.sasl_oauth_extensions"):
        arguments(sasl_mechanism="OAUTHBEARER", sasl_oauth_token_file="t", sasl_oauth_extensions=extensions)


@pytest.mark.parametrize(
    ("kafka", "named"),
    [
        ({"sasl_mechanism": "AWS_MSK_IAM", "security_protocol": "SASL_PLAINTEXT"}, "AWS_MSK_IAM needs SASL_SSL"),
        ({"sasl_mechanism": "GSSAPI", "sasl_oauth_extensions": "a=b"}, "kafka.sasl_oauth_extensions has no effect"),
        (
            {"sasl_mechanism": "AWS_MSK_IAM", "sasl_kerberos_domain_name": "d"},
            "sasl_kerberos_domain_name has no effect",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(kafka: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        arguments(**kafka)

    assert named in str(caught.value)


def test_p10_a_password_file_that_cannot_be_read_is_not_named() -> None:
    """The password may have been written where its file's name should be."""
    with pytest.raises(ConfigurationError) as caught:
        arguments(sasl_mechanism="PLAIN", sasl_username="a", sasl_password_file="hunter2")

    assert str(caught.value) == "kafka.sasl_password_file cannot be read: No such file or directory"


def test_a_member_says_where_it_is() -> None:
    consumer = group_consumer(load_settings(kafka={"client_rack": "eu-1a", "api_version": "2.3"}).kafka)
    try:
        assert consumer.config["client_rack"] == "eu-1a"
    finally:
        consumer.close()


def test_no_client_waits_long_for_a_server_that_is_back() -> None:
    settings = load_settings(kafka={"api_version": "2.3"}).kafka
    consumer, sender = group_consumer(settings), producer(settings)
    try:
        for client in (consumer._client, sender._sender._client):  # noqa: SLF001
            config = client._manager.config  # noqa: SLF001
            assert config["reconnect_backoff_max_ms"] == 1_000
            assert config["socket_connection_setup_timeout_ms"] == 3_000
            assert config["socket_connection_setup_timeout_max_ms"] == 10_000
    finally:
        consumer.close()
        sender.close_at_once(0)
