"""A second, independent reader of the verdict grammar, to compare the parser with.

Written from the model's template alone: it walks the text from left to right and shares neither code nor vocabulary
with `pipelines.guard_parser`. Slow and plain on purpose. Does not say why a text is refused.
"""

from typing import NamedTuple

SEVERITIES = ("Safe", "Unsafe", "Controversial")
CATEGORIES = (
    "Violent",
    "Non-violent Illegal Acts",
    "Sexual Content or Sexual Acts",
    "PII",
    "Suicide & Self-Harm",
    "Unethical Acts",
    "Politically Sensitive Topics",
    "Copyright Violation",
)
PROMPT_ONLY = "Jailbreak"


class Reading(NamedTuple):
    """What a text says; `refusal` is "Yes" or "No", and None for the prompt task."""

    severity: str
    categories: tuple[str, ...]
    refusal: str | None


class _Walk:
    """A position in a text that moves past what was expected."""

    def __init__(self, text: str) -> None:
        self.rest = text

    def takes(self, expected: str) -> bool:
        if self.rest[: len(expected)] != expected:
            return False
        self.rest = self.rest[len(expected) :]
        return True

    def takes_one_of(self, choices: tuple[str, ...]) -> str | None:
        for choice in choices:
            if self.takes(choice):
                return choice
        return None


def read_by_grammar(text: str, *, response: bool) -> Reading | None:
    """The reading of a text, or None where it is not in the language."""
    walk = _Walk(text)
    if not walk.takes("Safety: "):
        return None
    severity = walk.takes_one_of(SEVERITIES)
    if severity is None or not walk.takes("\nCategories: "):
        return None
    categories = _read_categories(walk, severity, CATEGORIES if response else (*CATEGORIES, PROMPT_ONLY))
    if categories is None:
        return None
    refusal = None
    if response:
        if not walk.takes("\nRefusal: "):
            return None
        refusal = walk.takes_one_of(("Yes", "No"))
        if refusal is None:
            return None
    return Reading(severity, categories, refusal) if walk.rest == "" else None


def _read_categories(walk: _Walk, severity: str, known: tuple[str, ...]) -> tuple[str, ...] | None:
    if severity == "Safe":
        return () if walk.takes("None") else None
    listed: list[str] = []
    while True:
        category = walk.takes_one_of(known)
        if category is None or category in listed:
            return None
        listed.append(category)
        if not walk.takes(", "):
            return tuple(listed)
