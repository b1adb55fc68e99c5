"""The application with a guard that finds all safe, and candidates of every kind for its shadow lane."""

import os
import time
from collections.abc import Sequence
from typing import Any

from ray.serve import Application

from tests.workers.serving.pretend_engine import PretendEngine
from workers.serving import app
from workers.serving.engine.completion import Completion, EngineIdentity, PreparedPrompt
from workers.serving.guard_replica import GuardReplica
from workers.serving.shadow_replica import ShadowReplica
from workers.settings.loading import Settings

SAFE, UNSAFE = "Safety: Safe\nCategories: None", "Safety: Unsafe\nCategories: Violent"


class CandidateEngine(PretendEngine):
    """Does what its model's name says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.identity = EngineIdentity(kind, "r1", "p7", "pretend", "float32", "cpu")

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        match self.identity.model:
            case "raises":
                raise RuntimeError("CUDA error")
            case "hangs":
                time.sleep(600)
            case "dies":
                os._exit(1)
        text = UNSAFE if self.identity.model == "disagrees" else SAFE
        return [Completion(text, None, None, 10, 8, "stop") for _ in prompts]


class PretendGuard(GuardReplica):
    """The real replica with that engine."""

    def __init__(self, settings: Settings, *, has_telemetry: bool = True) -> None:
        if settings.guard.model == "does not load":
            raise ValueError("no such model")
        super().__init__(settings, CandidateEngine(settings.guard.model), has_telemetry=has_telemetry)


class PretendShadow(ShadowReplica):
    """The real replica over that one."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, PretendGuard)


def application_of(settings: Settings) -> Application:
    """As `workers.serving.app:application_of`."""
    kept: tuple[Any, Any] = app.DeployedGuardReplica, app.ShadowReplica
    app.DeployedGuardReplica, app.ShadowReplica = PretendGuard, PretendShadow  # type: ignore[misc]
    try:
        return app.application_of(settings)
    finally:
        app.DeployedGuardReplica, app.ShadowReplica = kept  # type: ignore[misc]
