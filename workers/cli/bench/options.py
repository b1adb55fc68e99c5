"""Options that benchmarks on Ray Serve share.

Measures nothing.
"""

from typing import Annotated

import typer

Model = Annotated[str, typer.Option(help="Hub name, folder, or demo (not a safety classifier).")]
Seconds = Annotated[float, typer.Option(min=0.5, help="Of each run.")]
Rounds = Annotated[int, typer.Option(min=1, help="Runs of each load on each side, in turn.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds within which a message is to be answered.")]
PassMs = Annotated[
    float | None, typer.Option(min=0, help="No model: a batch of any size takes so long, as nearly on a GPU.")
]
Seed = Annotated[int, typer.Option(help="Of the times of arrival.")]
