"""Deliberate breakages of Weir, each with the test that has to notice it."""

from tests.mutants.of_doors import OF_DOORS
from tests.mutants.of_inputs import OF_INPUTS
from tests.mutants.of_the_way import OF_THE_WAY

MUTANTS = (*OF_THE_WAY, *OF_INPUTS, *OF_DOORS)
