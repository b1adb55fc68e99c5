"""`weir audit report`: a run's figures as one HTML page, and the same as JSON.

The figures are made in `workers.audit`.
"""

from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import ConfigurationError
from workers.cli.terminal import progress_bar, show_json_text
from workers.extras import need

_STDOUT = "-"


def report(
    run: Annotated[str, typer.Argument(help="What `audit run` wrote: a folder, or its URI.")],
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Another run of the same events, to compare with: what it says is before."),
    ] = None,
    include_text: Annotated[
        bool, typer.Option("--include-text", help="Show the texts of examples and of changes, where the run kept them.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the page goes; never over that of another run.")] = Path(
        "report.html"
    ),
    as_json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the same figures there as JSON; -: to stdout.")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FOLDER", help="Write the page's tables there as CSV, for a spreadsheet."),
    ] = None,
    listed: Annotated[
        int, typer.Option("--top", min=1, max=1_000, help="Tenants, languages, conversations and changes listed.")
    ] = 20,
    examples: Annotated[int, typer.Option(min=0, max=1_000, help="Examples in each list for a reviewer.")] = 25,
) -> None:
    """Write a run's report: one HTML page that needs no network, and its figures as JSON.

    Texts are shown only with --include-text, and then only their owner may read what is written; otherwise they have
    names that hold in this report alone. Memory does not grow with the run. --against needs space for temporary files:
    about 100 bytes for each verdict of both runs.
    """
    need("jinja2", "pandas", "pyarrow")
    from workers.audit.report.csv_tables import csv_tables, refuse_other_tables
    from workers.audit.report.files import RunFiles  # pyarrow takes a second that `weir --help` must not
    from workers.audit.report.html import render
    from workers.audit.report.report import Choices, build_report
    from workers.audit.report.written import refuse_other_run, write_whole

    files = [out, *([Path(as_json)] if as_json not in (None, _STDOUT) else [])]
    for path in files:
        if not path.parent.is_dir():
            raise ConfigurationError(f"{path}: there is no such folder")  # before minutes of reading
    if tables is not None and not tables.is_dir():
        raise ConfigurationError(f"{tables}: there is no such folder")
    read = RunFiles(run)
    for path in files:
        refuse_other_run(path, read.manifest.run_id)
    refuse_other_tables(tables, read.manifest.run_id)
    other = RunFiles(against) if against is not None else None
    with progress_bar("rows") as progress:
        made = build_report(read, other, Choices(listed, examples, include_text), progress)
    write_whole(out, render(made), private=made.with_text)
    if as_json == _STDOUT:
        show_json_text(made.model_dump_json(indent=2))
    elif as_json is not None:
        write_whole(Path(as_json), made.model_dump_json(indent=2) + "\n", private=made.with_text)
    if tables is not None:
        for name, text in csv_tables(made).items():
            write_whole(tables / name, text, private=False)
    for warning in made.warnings:
        typer.echo(f"weir: {warning}", err=True)
    typer.echo(
        f"{out.absolute()}: {made.volumes.verdicts:,} verdicts, {made.volumes.dead_letters:,} dead letters", err=True
    )
