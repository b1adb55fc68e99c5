"""What somebody may have meant who wrote a name that does not exist.

Suggests only names that are known: never what was written.
"""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from operator import itemgetter

_WHOLE = 0.75
_OWN_PART = 0.7  # of names in a section, which all begin alike


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean …?` to end an error with, where one of the known names is close; empty where none is.

    Case, and `-` in place of `_`, make no difference.
    """
    by_form = {_form(name): name for name in known}
    written = _form(wrong)
    close = [(_likeness(written, form), form) for form in get_close_matches(written, by_form, 5, _WHOLE)]
    likeness, form = max(close, key=itemgetter(0), default=(0.0, ""))  # of those alike, the closest as a whole
    return f"; did you mean {by_form[form]}?" if likeness >= _OWN_PART else ""


def _likeness(written: str, form: str) -> float:
    """How alike two names are, of two in a section less the section."""
    if "." in written and "." in form:
        written, form = written.rpartition(".")[2], form.rpartition(".")[2]
    return SequenceMatcher(None, written, form).ratio()


def _form(name: str) -> str:
    return name.lower().replace("-", "_").replace("__", ".")
