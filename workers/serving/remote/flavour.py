"""The port to a kind of server: how it is asked, and how its answers are read.

Each kind is a module beside this one. Does not call anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from workers.serving.engine.completion import PreparedPrompt
from workers.serving.remote.written import Terms, Written


class Flavour(Protocol):
    """One kind of server. Made once with the terms; keeps nothing of a call.

    Attributes:
        name: its name in the settings.
        path: where prompts are posted.
        health_path: what answers 200 while the server lives; None where nothing does.
        most_prompts: of one call; None for no limit of its own.
    """

    name: ClassVar[str]
    path: ClassVar[str]
    health_path: ClassVar[str | None]
    most_prompts: ClassVar[int | None]

    def __init__(self, terms: Terms) -> None: ...

    def body(self, model: str, prompts: Sequence[PreparedPrompt]) -> dict[str, Any]:
        """What is posted for these prompts."""
        ...

    def read(
        self, answer: Any, asked: Mapping[str, Any], model: str, prompts: Sequence[PreparedPrompt]
    ) -> list[Written | None]:
        """What was written about each prompt, in order; None where that one has to be asked again.

        Args:
            answer: the body, parsed.
            asked: what `body` gave.
            model: the model's name.
            prompts: as they were asked about.

        Raises:
            RemoteCallError: mismatched; the answer is not one to these prompts, and nothing of it may be used.
            LookupError, TypeError, ValueError, AttributeError, ArithmeticError: it has another form.
        """
        ...

    def max_tokens(self, listed: Any) -> int | None:
        """Most tokens of a prompt and its answer, by the model's entry in `/v1/models`; None where it does not say."""
        most = listed.get("max_model_len")
        return most if isinstance(most, int) else None

    def fingerprint(self, answer: Any) -> str | None:  # noqa: ARG002 - most say nothing
        """What changes in answers when the server is another; None where they do not say."""
        return None
