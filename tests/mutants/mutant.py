"""What a mutant is."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One breakage.

    Attributes:
        name: what the broken code does.
        file: where.
        sound: text of the sound code; occurs once in the file.
        broken: what stands there instead.
        test: file and name of a test that must fail; all parameters of it are run.
    """

    name: str
    file: str
    sound: str
    broken: str
    test: str
