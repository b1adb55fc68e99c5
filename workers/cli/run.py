"""`weir run`: the Serve application against a real Kafka, until a signal asks it to stop.

Exits 0 when everything in flight was drained and committed.
"""

import logging

import typer

from workers.cli.options import Config
from workers.settings.loading import load_settings, prepare_ray
from workers.telemetry.log import configure_logging, log_event

log = logging.getLogger(__name__)


def run(config: Config = None) -> None:
    """Moderate: consume the event topics, publish verdicts and dead letters. Stops cleanly on SIGTERM and Ctrl-C."""
    settings = load_settings(config)
    configure_logging(settings.telemetry.log_level)
    prepare_ray()
    from workers.serving.running import RunningApplication  # Ray reads its environment when imported

    with RunningApplication(settings) as application:
        log.info(log_event("running", topics=",".join(settings.topics.events), group=settings.kafka.group_id))
        application.wait()
    raise typer.Exit(0)
