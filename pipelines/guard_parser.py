r"""Reads Qwen3Guard-Gen's raw output to a classification: the whole output, byte for byte, or an error (P3).

    Safety: Safe|Controversial|Unsafe
    Categories: None|<category>(, <category>)*
    Refusal: Yes|No                             response task only

Lines are separated by a single `\n`, with none after the last: greedy decoding stops at `<|im_end|>` right after the
last word, so a trailing newline means that something else was generated or added, and is refused.
Does not search, trim, fold case or repair, and holds no default severity.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from schemas.errors import UnparsableOutputError
from schemas.event import Task
from schemas.verdict import SEVERITY_RANK, Category, Severity

PARSER_VERSION = "1"

SEVERITIES = {str(severity): severity for severity in Severity}
CATEGORIES: dict[Task, dict[str, Category]] = {
    Task.PROMPT: {str(category): category for category in Category},
    Task.RESPONSE: {str(category): category for category in Category if category is not Category.JAILBREAK},
}
REFUSALS = {"Yes": True, "No": False}
_SEVERITY_OF_LINE = {f"Safety: {label}": severity for label, severity in SEVERITIES.items()}
_REFUSAL_OF_LINE = {f"Refusal: {label}": refusal for label, refusal in REFUSALS.items()}
_CATEGORIES = "Categories: "
_NONE = "None"
_LINES = {Task.PROMPT: 2, Task.RESPONSE: 3}


@dataclass(frozen=True, slots=True)
class Classification:
    """What the model said: `categories` in its order, empty only for Safe; `refusal` None only for the prompt task."""

    severity: Severity
    categories: tuple[Category, ...]
    refusal: bool | None


@lru_cache(1024)  # nearly every output is one of a few dozen strings; errors are not kept
def parse_verdict(text: str, task: Task) -> Classification:
    """Read one raw output.

    Args:
        text: everything that the model generated, without its end token.
        task: which of the two grammars applies.

    Raises:
        UnparsableOutputError: where any character departs from the grammar; names the rule, never the output.
    """
    # Not splitlines(): it also splits at \r, \x85, \u2028 and others.
    lines = text.split("\n")
    if len(lines) != _LINES[task]:
        raise UnparsableOutputError(f"lines: {_LINES[task]} are needed for the {task} task, found {len(lines)}")
    severity = _SEVERITY_OF_LINE.get(lines[0])
    if severity is None:
        raise UnparsableOutputError("line 1: not 'Safety: ' and one of the three severities")
    categories = _parse_categories(lines[1], task)
    if (severity is Severity.SAFE) == bool(categories):
        raise UnparsableOutputError("lines 1 and 2: Safe needs the category None, any other severity needs a category")
    if task is Task.PROMPT:
        return Classification(severity, categories, None)
    refusal = _REFUSAL_OF_LINE.get(lines[2])
    if refusal is None:
        raise UnparsableOutputError("line 3: not 'Refusal: Yes' or 'Refusal: No'")
    return Classification(severity, categories, refusal)


def _parse_categories(line: str, task: Task) -> tuple[Category, ...]:
    if not line.startswith(_CATEGORIES):
        raise UnparsableOutputError("line 2: does not start with 'Categories: '")
    listed = line[len(_CATEGORIES) :]
    if listed == _NONE:
        return ()
    known = CATEGORIES[task]
    try:
        categories = tuple(known[name] for name in listed.split(", "))
    except KeyError:
        raise UnparsableOutputError(f"line 2: not a list of categories of the {task} task") from None
    if len(set(categories)) != len(categories):
        raise UnparsableOutputError("line 2: a category is listed twice")
    return categories


def worst(classifications: Iterable[Classification]) -> Classification:
    """The classification of one message from those of its windows, of which there must be at least one.

    Worst severity, the categories of the windows at that severity in order of first mention, and a refusal
    where any window holds one.
    """
    windows = tuple(classifications)
    if len(windows) == 1:  # nearly every message
        return windows[0]
    severity = max((window.severity for window in windows), key=SEVERITY_RANK.__getitem__)
    listed = (category for window in windows if window.severity is severity for category in window.categories)
    refusals = [window.refusal for window in windows if window.refusal is not None]
    return Classification(severity, tuple(dict.fromkeys(listed)), any(refusals) if refusals else None)
