"""What is undecided, misspelt or contradictory is refused by name, by both Helms."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.helm.refused_combinations import COMBINED
from tests.helm.refused_values import CONTRADICTORY, MISSPELT, UNDECIDED
from tests.helm.rendering import MINIMAL, template_of

Case = tuple[dict[str, Any], list[str]]
ALL = [*UNDECIDED, *MISSPELT, *CONTRADICTORY, *COMBINED]


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = deepcopy(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(merged[key], value) if both else value
    return merged


def paths(values: dict[str, Any]) -> str:
    """The keys of a case, for the test's name."""
    return "+".join(
        f"{key}.{paths(value)}" if isinstance(value, dict) and value else key for key, value in values.items()
    )


@pytest.mark.parametrize("case", ALL, ids=lambda case: paths(case[0])[:80])
def test_it_is_refused_by_name(case: Case) -> None:
    values, named = case
    done = template_of("helm3", laid_over(MINIMAL, values))

    assert done.returncode != 0
    assert [name for name in named if name not in done.stderr] == [], done.stderr


@pytest.mark.parametrize("case", [UNDECIDED[0], MISSPELT[22], CONTRADICTORY[5]], ids=lambda case: paths(case[0])[:80])
def test_helm_4_refuses_alike(case: Case) -> None:
    values, named = case
    done = template_of("helm4", laid_over(MINIMAL, values))

    assert done.returncode != 0
    assert [name for name in named if name not in done.stderr] == [], done.stderr


def test_all_faults_are_said_at_once() -> None:
    done = template_of("helm3", {})

    assert done.stderr.count("must be chosen") == 7


def test_at_least_60_are_tried() -> None:
    assert len(MISSPELT) + len(CONTRADICTORY) >= 60
