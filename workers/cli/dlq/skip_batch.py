"""`weir dlq skip-batch`: gives up a batch that no consumer can read.

The asking is done by `workers.tools.dead_letters.skip_batch`.
"""

from typing import Annotated

import typer

from workers.cli.options import AsJson
from workers.cli.terminal import plain, show_json
from workers.settings.loading import prepare_ray


def skip_batch(
    topic: Annotated[str, typer.Argument(help="Input topic.")],
    partition: Annotated[int, typer.Argument(help="Its partition that waits.", min=0)],
    timeout_s: Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds that the workers have.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Give up the batch that a partition waits for, now and not after limits.unreadable_after_s.

    Its records become dead letters without their bytes, and the partition goes on behind it. Exits with 1 if the
    partition waits for none.

    Asks the workers on the Ray cluster of RAY_ADDRESS, or on the one that runs on this machine.
    """
    prepare_ray()
    from workers.tools.dead_letters.skip_batch import skip  # Ray reads its environment when imported

    given_up = skip(topic, partition, timeout_s)
    if as_json:
        show_json({"topic": topic, "partition": partition, "given_up": given_up})
    elif given_up is None:
        typer.echo(plain(f"{topic}-{partition}: no worker waits for a batch there whose end is known"))
    else:
        typer.echo(plain(f"{topic}-{partition}: offsets {given_up[0]} to {given_up[1] - 1} become dead letters"))
    raise typer.Exit(int(given_up is None))
