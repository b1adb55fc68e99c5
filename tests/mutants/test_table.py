"""The mutants fit the code as it is: else `make mutants` would prove nothing."""

import ast
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_breaks_one_place_and_its_test_is_there(mutant: Mutant) -> None:
    sound = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert sound.count(mutant.sound) == 1
    if mutant.file.endswith(".py"):
        ast.parse(sound.replace(mutant.sound, mutant.broken))
    file, _, name = mutant.test.partition("::")
    assert any(f"{start}{name}" in (ROOT / file).read_text(encoding="utf-8") for start in ("def ", "")), mutant.test


def test_mutants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12
