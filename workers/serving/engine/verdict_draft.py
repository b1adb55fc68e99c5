"""Drafts what the model will probably write, from the verdict grammar and from what it has written lately.

A draft is a guess that the model verifies; a bad one costs a pass, never a word of the answer.
Knows nothing of torch, batches or prompts.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from workers.serving.engine.completion import Task

# Traffic changes slowly: a verdict weighs half as much after this many others.
_HALF_LIFE: Final = 128
# The grammar's verdicts together weigh as much as this many seen ones, so a few odd messages change nothing at start.
_PRIOR: Final = 8.0
_LONGEST_KEPT: Final = 48
_MOST_KEPT: Final = 128

TokenSequence = tuple[int, ...]


class VerdictDrafts:
    """Guesses answers as token ids without their end token, one memory per task.

    `encode` makes token ids of a text, `texts` are a task's canonical verdicts, the most expected first. With `adapts`
    off every draft is the same for ever: the first of them first.
    """

    def __init__(
        self, encode: Callable[[str], Sequence[int]], texts: Mapping[Task, Sequence[str]], *, adapts: bool = True
    ) -> None:
        self._adapts = adapts
        self._step = 1.0
        self._weights: dict[Task, dict[TokenSequence, float]] = {}
        self._drafts: dict[tuple[Task, TokenSequence], TokenSequence] = {}
        for task, verdicts in texts.items():
            rest = _PRIOR / 4 / (len(verdicts) - 1)
            # Strictly falling, so that ties go to the more expected one.
            self._weights[task] = {
                tuple(encode(text)): _PRIOR if index == 0 else rest * (1 - index / 100)
                for index, text in enumerate(verdicts)
            }

    def after(self, task: Task, written: Sequence[int]) -> TokenSequence:
        """The likeliest continuation of `written`; empty if nothing known begins so."""
        key = (task, tuple(written))
        if key not in self._drafts:
            self._drafts[key] = self._likeliest(task, key[1])
        return self._drafts[key]

    def note(self, task: Task, answer: Sequence[int]) -> None:
        """Learn from a complete answer (without its end token)."""
        if not self._adapts or not 0 < len(answer) <= _LONGEST_KEPT:
            return
        weights = self._weights[task]
        weights[tuple(answer)] = weights.get(tuple(answer), 0.0) + self._step
        self._step *= 2 ** (1 / _HALF_LIFE)
        if len(weights) > _MOST_KEPT:
            del weights[min(weights, key=weights.__getitem__)]
        if self._step > 2**32:
            self._rescale()
        self._drafts.clear()

    def _likeliest(self, task: Task, written: TokenSequence) -> TokenSequence:
        """Go from token to token, each time to the one with the most weight of known answers behind it."""
        candidates = {ids: weight for ids, weight in self._weights[task].items() if ids[: len(written)] == written}
        draft: list[int] = []
        while candidates:
            index = len(written) + len(draft)
            behind: defaultdict[int | None, float] = defaultdict(float)
            for ids, weight in candidates.items():
                behind[ids[index] if index < len(ids) else None] += weight
            best = max(behind, key=behind.__getitem__)
            if best is None:
                break
            draft.append(best)
            candidates = {ids: weight for ids, weight in candidates.items() if len(ids) > index and ids[index] == best}
        return tuple(draft)

    def _rescale(self) -> None:
        for weights in self._weights.values():
            for ids in weights:
                weights[ids] /= self._step
        self._step = 1.0
