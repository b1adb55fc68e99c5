"""`weir run` and `weir serve`: the Serve application, until a signal asks it to stop.

Both exit with 0 when everything in flight was drained.
"""

import logging
from typing import Annotated

import typer

from workers.cli.options import Config, Model
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
        log.info(log_event("running", topics=",".join(settings.inputs), group=settings.kafka.group_id))
        application.wait()
    raise typer.Exit(0)


def serve(
    model: Model = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: ask.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: ask.port.")] = None,
    config: Config = None,
) -> None:
    """Answer over HTTP, as OpenAI's moderation endpoint does; needs no Kafka. Stops cleanly on SIGTERM and Ctrl-C."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load_settings(config, ask={"enabled": True, **given}).with_model(model)
    configure_logging(settings.telemetry.log_level)
    prepare_ray()
    from workers.serving.running import RunningApplication  # see above

    with RunningApplication(settings, asks_only=True) as application:
        log.info(log_event("running", host=settings.ask.host, port=settings.ask.port))
        application.wait()
    raise typer.Exit(0)
