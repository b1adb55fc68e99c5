"""`weir bench audit`: rows a second of the audit lane with a guard that answers at once, beside bare Ray Data."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from workers.cli.options import AsJson, Config
from workers.cli.terminal import console, show_json
from workers.settings.loading import load_settings, prepare_ray
from workers.telemetry.log import configure_logging


def audit(
    rows: Annotated[int, typer.Option(min=1_000, help="Rows of each run.")] = 200_000,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each side, alternating.")] = 3,
    actors: Annotated[int, typer.Option(min=1, help="Of both sides.")] = 2,
    block_rows: Annotated[int, typer.Option(min=1, help="Of both sides: of a block, and of a batch.")] = 4_096,
    folder: Annotated[Path | None, typer.Option(help="Where files are written; default: a temporary folder.")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Rows read, rendered, parsed and written a second, beside bare Ray Data `map_batches` doing the same."""
    settings = load_settings(config)
    prepare_ray()
    configure_logging("ERROR")
    from workers.audit.actors import Pool, ray_for  # Ray takes seconds
    from workers.audit.lane import used_policy
    from workers.bench.audit import InstantAnswers, run_audit_bench

    errors = Console(stderr=True)
    pool = Pool(actors, 1.0, 0.0)
    with ray_for(None, pool, {}, logs=False), tempfile.TemporaryDirectory(dir=folder, prefix="weir-audit-") as name:
        result = run_audit_bench(
            Path(name),
            rows,
            runs,
            pool,
            block_rows,
            used_policy(settings),
            InstantAnswers(settings),
            settings.limits.max_event_bytes,
            lambda text: errors.print(text),
        )
    if as_json:
        show_json(result.to_dict())
        return
    table = Table("", "rows/s, each run", title=f"{rows:,} rows, {actors} actors")
    for side in ("audit", "bare"):
        table.add_row(side, "  ".join(f"{rate:,.0f}" for rate in getattr(result, side)))
    table.add_row("ratio of medians", f"{result.ratio:.2f}")
    table.add_row("memory of the actors, MiB, by quarter", "  ".join(map(str, result.memory)))
    console().print(table)
