"""What a route is: a path, a reader of bodies and a writer of answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.errors import AskRefusedError
from workers.ask.asking import Answer, Item
from workers.ask.exchange import openai_error


class Question(NamedTuple):
    """A body that was read.

    Attributes:
        items: what is to be judged, as events.
        asked: what the writer needs of the body.
    """

    items: Sequence[Item]
    asked: Any = None


class Reply(NamedTuple):
    """What a writer is given.

    Attributes:
        question: as it was read.
        answers: one for each item, in order.
        request_id: of the request.
        created: seconds since the epoch.
    """

    question: Question
    answers: Sequence[Answer]
    request_id: str
    created: int


class Route(NamedTuple):
    """One route.

    Attributes:
        path: of the URL.
        read: makes a question of a JSON object; raises AskRefusedError, naming the field.
        write: makes the answer's JSON of what became of the question.
        refusal: makes the JSON of a refusal.
        takes_failures: the writer says itself of an item that it could not be judged; otherwise that is a refusal.
        is_lenient: the writer can do so where the caller prefers it.
    """

    path: str
    read: Callable[[Mapping[str, Any]], Question]
    write: Callable[[Reply], Any]
    refusal: Callable[[AskRefusedError], Any] = openai_error
    takes_failures: bool = False
    is_lenient: bool = False
