"""Certificates, users and listener settings of a secured test broker, and what a client needs to reach it.

Does not start a broker. The passwords are for throw-away brokers on the loopback interface.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.kafka.distribution import java

USERS = {"admin": "admin-secret", "alice": "alice-secret", "bob": "bob-secret"}
PROTOCOLS = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")
_SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_STORE_PASSWORD = "weir-test"
_LOGIN = "org.apache.kafka.common.security"


def make_certificates(directory: Path) -> Path:
    """Make a CA and a server certificate signed by it; the path of the CA in PEM.

    The JDK's own tool does it, because a machine that can run Kafka has it and may lack openssl.
    """
    keytool = str(Path(java()).with_name("keytool"))
    store = ["-keystore", str(directory / "server.p12"), "-storetype", "PKCS12", "-storepass", _STORE_PASSWORD]
    key = ["-keyalg", "EC", "-groupname", "secp256r1", "-validity", "30"]
    ca = ["-genkeypair", "-alias", "ca", "-dname", "CN=Weir test CA", "-ext", "bc:c", "-ext", "ku:c=keyCertSign"]
    server = ["-genkeypair", "-alias", "server", "-signer", "ca", "-dname", "CN=localhost"]
    names = ["-ext", "san=dns:localhost,ip:127.0.0.1"]
    pem = directory / "ca.pem"
    for arguments in (ca + key, server + key + names, ["-exportcert", "-rfc", "-alias", "ca", "-file", str(pem)]):
        subprocess.run([keytool, *arguments, *store], check=True, capture_output=True, timeout=60)
    return pem


def listener_properties(directory: Path) -> dict[str, str]:
    """Broker properties of the TLS and SASL listeners; every mechanism on both SASL listeners."""
    plain = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
    logins = {
        "plain": f"{_LOGIN}.plain.PlainLoginModule required {plain};",
        "scram-sha-256": f"{_LOGIN}.scram.ScramLoginModule required;",
        "scram-sha-512": f"{_LOGIN}.scram.ScramLoginModule required;",
        # Without a callback handler Kafka validates unsigned tokens, which is meant for tests only.
        "oauthbearer": f'{_LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="admin";',
    }
    properties = {
        "ssl.keystore.location": str(directory / "server.p12"),
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.password": _STORE_PASSWORD,
        "ssl.key.password": _STORE_PASSWORD,
        "sasl.enabled.mechanisms": ",".join(name.upper() for name in logins),
    }
    for listener in ("sasl_plaintext", "sasl_ssl"):
        for mechanism, login in logins.items():
            properties[f"listener.name.{listener}.{mechanism}.sasl.jaas.config"] = login
    return properties


def authorizer_properties() -> dict[str, str]:
    """Broker properties under which nobody but the plaintext listener and `admin` may do what no ACL allows."""
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",
    }


def format_arguments() -> list[str]:
    """Arguments of the storage tool that create the SCRAM users before the first start."""
    users = [(mechanism, name, password) for mechanism in _SCRAM for name, password in USERS.items()]
    return [
        part
        for mechanism, name, password in users
        for part in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
    ]


def client_settings(protocol: str, mechanism: str | None, user: str, ca_file: Path | None) -> dict[str, Any]:
    """kafka-python's security settings; for OAUTHBEARER the caller adds `sasl_oauth_token_provider` itself."""
    settings: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        settings["ssl_cafile"] = str(ca_file)
    if mechanism is not None:
        settings["sasl_mechanism"] = mechanism
        if mechanism != "OAUTHBEARER":
            settings |= {"sasl_plain_username": user, "sasl_plain_password": USERS[user]}
    return settings


def unsigned_token(subject: str = "alice", lifetime_s: int = 3600) -> str:
    """A JWT without signature, as Kafka's test validator takes it."""
    now = int(time.time())
    parts: tuple[dict[str, object], ...] = (
        {"alg": "none"},
        {"sub": subject, "iat": now - 1, "exp": now + lifetime_s},
    )
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."
