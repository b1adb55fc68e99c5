"""The table of faults in README.md names scenarios and files that exist, and every scenario is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
FOLDER = Path(__file__).parent
TABLE = (FOLDER / "README.md").read_text(encoding="utf-8")


def functions_in(*files: Path) -> dict[str, set[str]]:
    """Names of the test functions, and of their arguments."""
    return {
        node.name: {argument.arg for argument in node.args.args}
        for file in files
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_test_that_the_table_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", TABLE))
    assert named - functions_in(*TESTS.rglob("test_*.py")).keys() == set()
    assert len(named) > 35


def test_every_file_that_the_table_names_exists() -> None:
    named = re.findall(r"`((?:tests/)?\w[\w/]*\.py)`", TABLE)
    missing = [name for name in named if not (FOLDER / name).exists() and not (TESTS.parent / name).exists()]
    assert missing == []


def test_every_scenario_is_in_the_table() -> None:
    scenarios = {name for name, needs in functions_in(*FOLDER.glob("test_*.py")).items() if "new_arena" in needs}
    assert {name for name in scenarios if f"`{name}`" not in TABLE} == set()
    assert len(scenarios) >= 25


def test_ci_runs_fifteen_scenarios_at_least_and_some_in_exactly_once_mode() -> None:
    sources = [file.read_text(encoding="utf-8") for file in FOLDER.glob("test_*.py")]
    marks = [mark for source in sources for mark in re.findall(r"\bpytest\.mark\.ci\b.*$", source, re.MULTILINE)]
    assert len(marks) >= 15
    assert sum("EXACTLY_ONCE" in mark for mark in marks) >= 5
