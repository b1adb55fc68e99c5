"""How to reach Kafka: addresses, TLS and SASL of our settings as arguments of a kafka-python client.

Does not decide anything: what a setting means is said in `workers.settings.sections`.
"""

from pathlib import Path
from typing import Any

from kafka.net.sasl.oauth import AbstractTokenProvider

from schemas.errors import ConfigurationError
from workers.settings.sections import KafkaSettings

CONNECT_S = 10.0  # that commands wait for a first answer


class TokenFile(AbstractTokenProvider):
    """Bearer token from a file, read anew at each login: whoever owns the file rotates it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def token(self) -> str:
        """The token, without white space around it."""
        return self._path.read_text(encoding="utf-8").strip()


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Arguments that every client takes: addresses, TLS, SASL."""
    config: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "client_id": settings.client_id,
        "security_protocol": settings.security_protocol,
        "ssl_check_hostname": settings.ssl_check_hostname,
    }
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        if (path := getattr(settings, name)) is not None:
            config[name] = str(path)
    if settings.ssl_password is not None:
        config["ssl_password"] = settings.ssl_password.get_secret_value()
    if settings.api_version is not None:
        config["api_version"] = tuple(int(part) for part in settings.api_version.split("."))
    if settings.sasl_mechanism is not None:
        config["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_oauth_token_file is not None:
            config["sasl_oauth_token_provider"] = TokenFile(settings.sasl_oauth_token_file)
        else:
            config["sasl_plain_username"] = settings.sasl_username
            config["sasl_plain_password"] = _password(settings)
    return config


def _password(settings: KafkaSettings) -> str | None:
    if (path := settings.sasl_password_file) is None:
        return settings.sasl_password.get_secret_value() if settings.sasl_password else None
    try:
        return path.read_text(encoding="utf-8").strip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"kafka.sasl_password_file={path}: {error.strerror}") from None
