"""`weir audit`: judge history, look at a run, make its report.

Its commands are in `workers.commands.audit_…`.
"""

import typer

from workers.commands.audit_report import report
from workers.commands.audit_run import run
from workers.commands.audit_status import status

app = typer.Typer(no_args_is_help=True)
app.command()(run)
app.command()(status)
app.command()(report)
