"""The application with an engine that takes a set time for each message, so that a test knows what a replica can do."""

import time
from collections.abc import Sequence
from typing import Any

from ray.serve import Application

from tests.workers.serving.pretend_engine import PretendEngine
from workers.serving import app
from workers.serving.engine.completion import Completion, EngineIdentity, PreparedPrompt
from workers.serving.guard_replica import GuardReplica
from workers.settings.loading import Settings

PER_SECOND = 100.0


class PacedEngine(PretendEngine):
    """Says "Safe" to all, a hundred messages a second; its revision is the one that the settings name."""

    def __init__(self, revision: str) -> None:
        super().__init__()
        self.identity = EngineIdentity("paced", revision, "p7", "pretend", "float32", "cpu")

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        time.sleep(len(prompts) / PER_SECOND)
        return [Completion("Safety: Safe\nCategories: None", None, None, 10, 8, "stop") for _ in prompts]


class PacedReplica(GuardReplica):
    """The real replica with that engine."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, PacedEngine(settings.guard.revision or "first"))


def build_app(args: dict[str, Any]) -> Application:
    """As `workers.serving.app:build_app`, in the process that Serve builds applications in."""
    app.DeployedGuardReplica = PacedReplica  # type: ignore[misc]
    return app.build_app(args)
