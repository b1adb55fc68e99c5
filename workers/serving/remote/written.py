"""What a server wrote about one prompt, and what every answer is held against before anything of it is used.

Knows no server's form of an answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from schemas.errors import RemoteCallError

# What reading an answer of another form raises.
ANOTHER_FORM: Final = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
_MOST_ID: Final = 2**31


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked of every server alike.

    Attributes:
        max_new_tokens: most tokens of an answer, its end token included.
        end_ids: the ids that end one.
        label_ids: ids whose log-probabilities are wanted at each token; none: no scores.
    """

    max_new_tokens: int
    end_ids: tuple[int, ...]
    label_ids: tuple[int, ...]


class Written(NamedTuple):
    """One answer.

    Attributes:
        token_ids: all that was generated, the end token included; empty where the server gives text only.
        text: of a server that gives text only.
        finished: False where it was cut off at the token limit.
        label_logprobs: log-probabilities of the label ids, a row for each token; None where there are none.
        output_tokens: tokens generated.
    """

    token_ids: Sequence[int]
    text: str
    finished: bool
    label_logprobs: Sequence[Sequence[float]] | None
    output_tokens: int


def expect(is_so: bool, what: str) -> None:
    """Refuse an answer whole where it is not what was asked for.

    Raises:
        RemoteCallError: mismatched, in `what`.
    """
    if not is_so:
        raise RemoteCallError("mismatched", what)


def written_of(ids: Any, *, finished: bool, rows: Any, terms: Terms) -> Written | None:
    """The answer of given ids, or None where the server has to be asked again: it computed what is no number.

    Args:
        ids: what was generated.
        finished: the server says that the model ended it.
        rows: log-probabilities by id for each of them; not looked at without label ids.
        terms: what was asked.

    Raises:
        RemoteCallError: mismatched; what is said and what is there do not go together.
    """
    expect(isinstance(ids, list) and all(type(token) is int and 0 <= token < _MOST_ID for token in ids), "token ids")
    ends = [index for index, token in enumerate(ids) if token in terms.end_ids]
    if finished:
        expect(ends == [len(ids) - 1] and len(ids) <= terms.max_new_tokens, "an end without an end token")
    else:
        # Fewer than the limit: the server has a lower one of its own, and cuts verdicts off.
        expect(not ends and len(ids) == terms.max_new_tokens, "the token limit")
    if not terms.label_ids:
        return Written(ids, "", finished, None, len(ids))
    expect(isinstance(rows, list) and len(rows) == len(ids), "log-probabilities")
    table = [[row[token] for token in terms.label_ids] for row in rows]
    if not all(isinstance(value, int | float) and math.isfinite(value) for row in table for value in row):
        return None
    return Written(ids, "", finished, table, len(ids))
