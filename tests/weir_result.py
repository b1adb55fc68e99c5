"""What one run of `weir` gave back."""

import json
import logging
from typing import Any

from typer.testing import CliRunner

from workers.cli.app import app


class Result:
    """One run of `weir`."""

    def __init__(self, *arguments: str, stdin: str | bytes = "") -> None:
        root = logging.getLogger()
        handlers = root.handlers[:]
        result = CliRunner().invoke(app, list(arguments), input=stdin)
        # Of the command, whose stderr is closed by now.
        root.handlers[:] = [handler for handler in root.handlers if handler in handlers]
        unforeseen = result.exception is not None and not isinstance(result.exception, SystemExit)
        assert not unforeseen, f"a traceback: {result.exception!r}"
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]
