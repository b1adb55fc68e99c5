"""`weir check`: would `weir run` run? One line for each thing that it needs.

The checking is done by `workers.tools.inspect.preflight`.
"""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from workers.cli.options import AsJson, Config
from workers.cli.terminal import console, plain, show_json

_COLOURS = {"ok": "green", "fail": "bold red", "skip": "yellow"}


def check(
    skip_model: Annotated[bool, typer.Option("--skip-model", help="Do not load the model.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=2.0, help="Seconds for each check.")] = 10.0,
    model_timeout_s: Annotated[
        float, typer.Option("--model-timeout", min=2.0, help="Seconds to load the model; a download may need more.")
    ] = 300.0,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Check settings, policy, broker, topics, rights, model and telemetry. Exits with 1 if anything would fail."""
    from workers.tools.inspect.preflight import preflight  # kafka-python takes half a second

    findings = []
    out = console()
    for finding in preflight(config, timeout_s, model_timeout_s, skip_model=skip_model):
        findings.append(finding)
        if not as_json:
            colour = _COLOURS[finding.status]
            out.print(f"[{colour}]{finding.status:4}[/]  {escape(plain(f'{finding.name:34}  {finding.found}'))}")
    failed = any(finding.status == "fail" for finding in findings)
    if as_json:
        show_json({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    raise typer.Exit(int(failed))
