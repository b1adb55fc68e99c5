"""What somebody may have meant who wrote a name that does not exist.

Suggests only names that are known: never what was written.
"""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

_WHOLE = 0.75
_OWN_PART = 0.7  # of what names do not begin with alike, as the settings of a section do


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean …?` to end an error with, where one of the known names is close; empty where none is.

    Case, and `-` or `.` in place of `_`, make no difference.
    """
    by_form = {_form(name): name for name in known}
    written = _form(wrong)
    for close in get_close_matches(written, by_form, 3, _WHOLE):
        shared = len(written) - len(written.lstrip("_"))
        while shared < min(len(written), len(close)) and written[shared] == close[shared]:
            shared += 1
        begun = written.rfind("_", 0, shared) + 1
        if SequenceMatcher(None, written[begun:], close[begun:]).ratio() >= _OWN_PART:
            return f"; did you mean {by_form[close]}?"
    return ""


def _form(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_").replace("__", "_")
