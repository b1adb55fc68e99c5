"""Probabilities of the verdict's labels, from the logits at the positions where the model chose between them.

Knows nothing of models, batches or prompts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from workers.serving.engine.completion import Task
from workers.serving.engine.verdict_draft import (
    CATEGORY_LABELS,
    REFUSAL_LABELS,
    SAFETY_LABELS,
    category_labels,
)

_QUESTIONS: Final = {
    "safety": ("Safety:", SAFETY_LABELS),
    "category": ("Categories:", CATEGORY_LABELS),
    "refusal": ("Refusal:", REFUSAL_LABELS),
}


@dataclass(frozen=True, slots=True)
class _Question:
    name: str
    lead: tuple[int, ...]
    labels: tuple[str, ...]
    # Where the labels' first tokens stand in `LabelScores.token_ids`.
    columns: tuple[int, ...]


class LabelScores:
    """Turns logits of label tokens into probabilities by label; a `temperature` over 1 makes them less certain.

    A label's probability is that of its first token among the question's labels, given all that the model had written
    before. `encode` makes token ids of a text. Raises ValueError if the temperature is not positive, or if this
    tokenizer does not tell a question's labels apart by their first tokens.
    """

    def __init__(self, encode: Callable[[str], Sequence[int]], temperature: float) -> None:
        if not temperature > 0:
            raise ValueError(f"guard.score_temperature {temperature!r} is not above 0")
        self._temperature = temperature
        self._questions: list[_Question] = []
        #: The ids whose logits `of` needs, in its order.
        self.token_ids: list[int] = []
        for name, (lead, labels) in _QUESTIONS.items():
            firsts = [_first_after(encode, lead, label) for label in labels]
            if len(set(firsts)) < len(firsts):
                raise ValueError(f"guard.score_temperature: the tokenizer gives labels of {lead!r} one first token")
            columns = range(len(self.token_ids), len(self.token_ids) + len(firsts))
            self._questions.append(_Question(name, tuple(encode(lead)), labels, tuple(columns)))
            self.token_ids += firsts

    def of(self, written: Sequence[int], label_logits: torch.Tensor, task: Task) -> dict[str, dict[str, float]]:
        """The probabilities for each question that was answered, over the labels that `task` knows.

        `label_logits` has shape (tokens, labels): row i holds the logits of `token_ids` from which token i was chosen.
        """
        scores = {}
        for question in self._questions:
            place = _end_of(written, question.lead)
            if place is not None:
                # What the label lists differ in comes last in them.
                labels = category_labels(task) if question.name == "category" else question.labels
                logits = label_logits[place, list(question.columns[: len(labels)])].double() / self._temperature
                scores[question.name] = dict(zip(labels, logits.softmax(-1).tolist(), strict=True))
        return scores


def _first_after(encode: Callable[[str], Sequence[int]], lead: str, label: str) -> int:
    return encode(f"{lead} {label}")[len(encode(lead))]


def _end_of(written: Sequence[int], lead: tuple[int, ...]) -> int | None:
    """Where the token after `lead` stands; None if `lead` does not occur or nothing follows it."""
    for start in range(len(written) - len(lead)):
        if tuple(written[start : start + len(lead)]) == lead:
            return start + len(lead)
    return None
