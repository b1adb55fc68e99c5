"""Starts Ray on this machine or joins a cluster, alike for every Ray job of ours.

Deploys nothing.
"""

import logging
import math
import os
from collections.abc import Mapping

import ray
from ray.job_config import JobConfig

from workers.settings.loading import without_credentials
from workers.telemetry.log import log_event

log = logging.getLogger(__name__)


def start_ray(
    address: str | None, *, cpus: float = 0.0, variables: Mapping[str, str] | None = None, logs: bool, level: int
) -> None:
    """Join a cluster, or start Ray in this process. `ray.shutdown()` ends either.

    Args:
        address: the cluster's; None starts Ray here, with a logical CPU for each core at least.
        cpus: logical CPUs needed, where Ray starts here.
        variables: set in the processes on a cluster, less those with credentials, which would stand in the cluster's
            state and logs; here they inherit all.
        logs: print what Ray's processes write.
        level: from which Ray itself logs in this process.
    """
    if address is None:
        ray.init(
            "local",  # without it, Ray joins whatever cluster an earlier `ray start` left on this machine
            num_cpus=max(os.cpu_count() or 1, math.ceil(cpus)),
            include_dashboard=False,
            job_config=_job(),
            log_to_driver=logs,
            logging_level=level,
        )
    else:
        sent = without_credentials(variables or {})
        if kept := sorted(set(variables or {}) - set(sent)):
            log.warning(log_event("credentials_not_sent", variables=",".join(kept), hint="set them on the nodes"))
        environment = {"env_vars": sent} if sent else None
        ray.init(address, runtime_env=environment, job_config=_job(), log_to_driver=logs, logging_level=level)


def _job() -> JobConfig:
    """A job whose processes do not import from the folder that the command was called in.

    Ray puts that folder in front of their path, where a user's own `schemas`, `workers` or `pipelines` would be taken
    for ours. It leaves it out for jobs that came through Ray Client, whose folder is on another machine; for these it
    also uploads no `working_dir`, and we have none. Giving one would keep the folder out, too, but processes would then
    start elsewhere, and relative paths in the settings would no longer hold.
    """
    return JobConfig(_client_job=True)
