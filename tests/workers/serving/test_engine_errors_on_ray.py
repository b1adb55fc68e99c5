"""What an engine's error quotes of a message, and the secrets of the settings, are in nothing that Ray keeps (P10)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import serve

from pipelines.guard import GuardRequest
from schemas.errors import GuardCallFailedError
from tests.ray_session import serve_session
from tests.workers.serving.quoting_replica import QuotingReplica
from tests.workers.serving.ray_state import files_with, state_with
from workers.guard.client import GuardClient
from workers.settings.loading import load_settings

CANARY = "canary-text-77"
SECRET = "canary-secret-77"
START_S = 240.0
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.mark.parametrize("level", ["INFO", pytest.param("DEBUG", marks=pytest.mark.slow)])
def test_p10_what_an_engines_error_quotes_is_in_no_file_of_ray(level: str) -> None:
    settings = load_settings(
        guard={"model": "demo"}, telemetry={"log_level": level}, kafka={"sasl_password": SECRET, "ssl_password": SECRET}
    )
    with serve_session(2):
        folder = Path(ray._private.worker._global_node.get_session_dir_path())  # noqa: SLF001
        deployment: Any = serve.deployment(
            QuotingReplica, name="Guard", ray_actor_options={"num_cpus": 0.1}, logging_config={"log_level": level}
        )
        handle = serve.run(deployment.bind(settings), name="canary", route_prefix=None)

        async def ask(text: str) -> str:
            client = GuardClient(handle, START_S)
            with pytest.raises(GuardCallFailedError) as raised:
                await client.judge([GuardRequest(({"role": "user", "content": text},), 5, {})])
            return str(raised.value)

        for where in ("prepare", "run"):
            assert asyncio.run(ask(f"{where} {CANARY}")) == "ValueError"
        assert state_with(SECRET) == []
        assert state_with("Guard"), "the state that Serve keeps was read"

    assert files_with(CANARY, folder) == []
    assert files_with(SECRET, folder) == []
    assert files_with("ERROR", folder), "Serve's logs were read"
