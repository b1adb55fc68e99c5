"""The application as Ray Serve's declarative configuration, which `serve deploy` and a RayService take.

Only this form can give an application an autoscaling policy of its own. Secrets are left out, because Serve logs
arguments and shows them to every caller; the cluster's processes find them in their own environment or file.
Does not deploy.
"""

from typing import Any

from ray.serve.schema import ServeDeploySchema

from workers.guard.names import APP_NAME
from workers.settings.loading import Settings
from workers.settings.sections import SECRETS

IMPORT_PATH = "workers.serving.app:build_app"
POLICY = "workers.serving.backlog_policy:BacklogPolicy"


def serve_config(settings: Settings, variables: dict[str, str] | None = None) -> ServeDeploySchema:
    """The configuration of given settings.

    Args:
        settings: all settings.
        variables: environment of the replicas, beside what the cluster gives them.
    """
    application: dict[str, Any] = {
        "name": APP_NAME,
        "route_prefix": None,
        "import_path": IMPORT_PATH,
        "args": settings.model_dump(mode="json", exclude_defaults=True, exclude={"kafka": set(SECRETS)}),
        "runtime_env": {"env_vars": variables} if variables else {},
    }
    if settings.autoscaling.enabled:
        application["autoscaling_policy"] = {
            "policy_function": POLICY,
            "policy_kwargs": settings.autoscaling.model_dump(mode="json"),
        }
    return ServeDeploySchema.model_validate({"proxy_location": "Disabled", "applications": [application]})
