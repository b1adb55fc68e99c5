"""Probabilities of the verdict's labels, from the logits at the positions where the model chose between them.

Knows nothing of models, batches or prompts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from workers.serving.engine.completion import Task
from workers.serving.engine.verdict_format import Question


@dataclass(frozen=True, slots=True)
class _Encoded:
    question: Question
    lead: tuple[int, ...]
    # Where the labels' first tokens stand in `LabelScores.token_ids`.
    columns: tuple[int, ...]


class LabelScores:
    """Turns logits of label tokens into probabilities by label; a `temperature` over 1 makes them less certain.

    A label's probability is that of its first token among the question's labels, given all that the model had written
    before. `encode` makes token ids of a text, `questions` are the verdict format's. Raises ValueError if the
    temperature is not positive, or if this tokenizer does not tell a question's labels apart by their first tokens.
    """

    def __init__(
        self, encode: Callable[[str], Sequence[int]], questions: Sequence[Question], temperature: float
    ) -> None:
        if not temperature > 0:
            raise ValueError(f"guard.score_temperature {temperature!r} is not above 0")
        self._temperature = temperature
        self._questions: list[_Encoded] = []
        #: The ids whose logits `of` needs, in its order.
        self.token_ids: list[int] = []
        for question in questions:
            lead = question.lead
            firsts = [_first_after(encode, lead, label) for label in question.labels_of("prompt")]
            if len(set(firsts)) < len(firsts):
                raise ValueError(f"guard.score_temperature: the tokenizer gives labels of {lead!r} one first token")
            columns = range(len(self.token_ids), len(self.token_ids) + len(firsts))
            self._questions.append(_Encoded(question, tuple(encode(lead)), tuple(columns)))
            self.token_ids += firsts

    def of(
        self, written: Sequence[int], label_logits: torch.Tensor | Sequence[Sequence[float]], task: Task
    ) -> dict[str, dict[str, float]]:
        """The probabilities for each question that was answered, over the labels that `task` knows.

        `label_logits` has shape (tokens, labels): row i holds the logits of `token_ids` from which token i was chosen,
        or their log-probabilities, which differ from them by one number a row.
        """
        label_logits = torch.as_tensor(label_logits, dtype=torch.double)
        scores = {}
        for encoded in self._questions:
            index = _index_after(written, encoded.lead)
            if index is not None:
                # Labels that only prompts can get come last.
                labels = encoded.question.labels_of(task)
                logits = label_logits[index, list(encoded.columns[: len(labels)])] / self._temperature
                scores[encoded.question.name] = dict(zip(labels, logits.softmax(-1).tolist(), strict=True))
        return scores


def _first_after(encode: Callable[[str], Sequence[int]], lead: str, label: str) -> int:
    return encode(f"{lead} {label}")[len(encode(lead))]


def _index_after(written: Sequence[int], lead: tuple[int, ...]) -> int | None:
    """The index of the token after `lead`; None if `lead` does not occur or nothing follows it."""
    for start in range(len(written) - len(lead)):
        if tuple(written[start : start + len(lead)]) == lead:
            return start + len(lead)
    return None
