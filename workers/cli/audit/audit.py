"""`weir audit`: judge history, look at a run, make its report.

Its commands are the other modules of this folder.
"""

import typer

from workers.cli.audit.report import report
from workers.cli.audit.run import run
from workers.cli.audit.status import status

app = typer.Typer(no_args_is_help=True)
app.command()(run)
app.command()(status)
app.command()(report)
