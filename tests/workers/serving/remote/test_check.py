"""`weir check` asks every server, says what each is, and what the behaviour can be pinned to."""

import pytest

from tests.workers.serving.remote.conftest import NewEngine, NewServer
from tests.workers.serving.remote.fake_server import FakeServer
from workers.settings.loading import Settings, load_settings
from workers.tools.inspect.check import CheckResult
from workers.tools.inspect.model_checks import model_checks


def settings_of(*servers: FakeServer) -> Settings:
    urls = ",".join(server.url for server in servers)
    return load_settings(guard={"model": "demo", "engine": "remote", "remote": {"urls": urls}, "max_new_tokens": 64})


def test_all_servers_are_asked_and_the_digest_is_said(new_server: NewServer, new_engine: NewEngine) -> None:
    servers = [new_server(), new_server()]
    digest = new_engine(servers[0]).behaviour_sha256

    device, model = model_checks(settings_of(*servers), 5.0, 20.0, skipped=None)

    assert device == CheckResult("device", "skip", "guard.engine=remote: servers run the model")
    assert model.status == "ok", model.found
    assert model.found == (
        f"demo undeclared+behaviour:{digest[:16]}, remote-vllm, undeclared on remote,"
        f" 2 servers, guard.remote.behaviour_sha256={digest}"
    )


@pytest.mark.parametrize(("state", "why"), [("down", "ClientConnectorError"), ("refused", "status 401")])
def test_a_server_that_cannot_be_used_fails_the_check_beside_one_that_can(
    state: str, why: str, new_server: NewServer
) -> None:
    servers = [new_server(), new_server()]
    if state == "down":
        servers[1].die()
    else:
        servers[1].key = "secret"

    _, model = model_checks(settings_of(*servers), 5.0, 20.0, skipped=None)

    assert model == CheckResult("model", "fail", f"guard.remote.urls: {servers[1].url}: {state}, {why}")


def test_servers_that_are_all_wrong_fail_the_check_at_once(new_server: NewServer) -> None:
    server = new_server()
    server.key = "secret"

    _, model = model_checks(settings_of(server), 5.0, 20.0, skipped=None)

    assert model == CheckResult(
        "model", "fail", f"guard.remote.urls: no server can be used: {server.url}: refused, status 401"
    )
