"""`weir breaker`: see why a running application has stopped releasing, and let it go on.

The asking is done by `workers.tools.inspect.breakers`.
"""

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.breaker.alarms import BreakerView, DeadLetterCounts
from workers.cli.options import AsJson
from workers.cli.terminal import console, show_json
from workers.settings.loading import prepare_ray

app = typer.Typer(no_args_is_help=True)
Timeout = Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds that the workers have to answer.")]


@app.command()
def status(timeout_s: Timeout = 10.0, as_json: AsJson = False) -> None:
    """Show every worker's breaker. Exits with 1 if one is open or does not answer.

    Looks at the Ray cluster of RAY_ADDRESS, or at the one that runs on this machine.
    """
    _ask(timeout_s, as_json=as_json, reset=False)


@app.command()
def reset(timeout_s: Timeout = 10.0, as_json: AsJson = False) -> None:
    """Close every worker's breaker: what was held is released, counts and baseline begin anew.

    Do it once the cause is gone, or if the outcomes are right as they are. Exits with 1 if a worker does not answer.
    """
    _ask(timeout_s, as_json=as_json, reset=True)


def _ask(timeout_s: float, *, as_json: bool, reset: bool) -> None:
    prepare_ray()
    from workers.tools.inspect.breakers import ask_breakers  # Ray reads its environment when imported

    answers = ask_breakers(timeout_s, reset=reset)
    opened = sum(item.view.state == "open" for item in answers.breakers)
    if as_json:
        show_json(
            {
                "were_open" if reset else "open": opened,
                "silent": answers.silent,
                "not_running": answers.not_running,
                "breakers": [{"replica": item.replica, **_entry(item.view)} for item in answers.breakers],
            }
        )
    else:
        _show([(item.replica, item.view) for item in answers.breakers])
        others = [f"{count} {state}" for state, count in answers.not_running.items()]
        silent = [f"{answers.silent} without an answer"] if answers.silent else []
        done = f"{opened} of {len(answers.breakers)} breakers {'were open, all are closed' if reset else 'open'}"
        console().print("; ".join([done, *silent, *others]))
    failed = answers.silent > 0 or not answers.breakers or (opened > 0 and not reset)
    raise typer.Exit(int(failed))


def _entry(view: BreakerView) -> dict[str, Any]:
    return {
        **view._asdict(),
        "failures": view.failures._asdict(),
        "input_errors": view.input_errors._asdict(),
        "drift": None if view.drift is None else view.drift._asdict(),
    }


def _show(breakers: list[tuple[str, BreakerView]]) -> None:
    table = Table("worker", "breaker", "failures", "input errors", "verdict drift", "why")
    for replica, view in breakers:
        open_s = "" if view.open_s is None else f" for {view.open_s:.0f} s"
        why = [f"{view.cause}: {view.reason}"] if view.cause else []
        why += [f"warning: {view.warning}"] if view.warning else []
        table.add_row(
            replica,
            f"{view.state}{open_s}",
            _share(view.failures),
            _share(view.input_errors),
            "" if view.drift is None else f"{view.drift.distance:.3f}, chance {view.drift.chance:.3f}",
            escape("\n".join(why)),
        )
    if breakers:
        console().print(table)


def _share(counts: DeadLetterCounts) -> str:
    run = f", {counts.consecutive} in a row" if counts.consecutive else ""
    return f"{counts.dead_letters} of {counts.records}{run}"
