"""One answer that is being written: its tokens, the pages that hold its keys and values, and what was said of them.

A page is right as long as the ids up to its end are what they were. Nothing else is kept that the ids do not tell, so a
session that has lost its pages computes them again and says the same. Knows nothing of the model or of other sessions.
"""

from collections.abc import Mapping, Sequence
from math import exp
from typing import Final

from workers.serving.engine.streaming.grid import TILE, Computed, Page, Stretch
from workers.serving.engine.streaming.heads import Labels
from workers.serving.engine.streaming.turn_text import TurnText
from workers.serving.engine.streaming.verdicts import SAFE, Raising, Role, StreamReason, TokenVerdict

# By role: what its heads say.
RoleLabels = Mapping[Role, Labels]


class Session:
    """The state of one turn; made by `StreamGuard.open`, and opaque to callers but for `error`.

    `prompt` is the ids before the answer; `user_at` the position of the user's closing token among them, `user_end` the
    user's (tokens, characters) before it. `begun` is the answer's text that was there when the session was opened.
    `error` is why it takes no more text, None as long as it does.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        *,
        user_at: int,
        user_end: tuple[int, int],
        text: TurnText,
        begun: str,
        labels: RoleLabels,
        raising: Raising,
    ) -> None:
        self._prompt: Final = list(prompt)
        self._user_at = user_at
        self._user_end = user_end
        self._text = text
        self._begun = begun
        self._labels = labels
        self._raising = raising
        self._logits: dict[int, Sequence[float]] = {}
        self._computed = 0
        self._said = 0
        self._said_user = False
        self.pages: list[Page] = []
        self.error: StreamReason | None = None
        self.is_final = False

    def add(self, delta: str, *, final: bool) -> None:
        """Take in the next text of the answer."""
        changed = len(self._prompt) + self._text.add(self._begun + delta, final=final)
        self._begun = ""
        self.is_final = final
        self._computed = min(self._computed, changed)
        del self.pages[changed // TILE :]
        if self._text.overflows:
            self.error = "context_overflow"

    def evict(self) -> int:
        """Give up all pages; returns how many there were."""
        count = len(self.pages)
        self.pages = []
        return count

    def __len__(self) -> int:
        """Its tokens so far, with what stands before the answer."""
        return self._length

    @property
    def pages_wanted(self) -> int:
        """How many pages it will have when all its tokens are computed."""
        return self._length // TILE

    def next_stretch(self, most_tiles: int) -> Stretch | None:
        """The next tiles to compute, `most_tiles` at most; None where nothing is left to do."""
        if self._computed >= self._length:
            return None
        start = len(self.pages) * TILE
        return Stretch(self.pages, self._ids(start, min(self._length, start + most_tiles * TILE)))

    def take(self, computed: Computed) -> None:
        """Keep what came of `next_stretch`."""
        start = len(self.pages) * TILE
        self.pages += computed.pages
        if not (computed.response.isfinite().all() and computed.query.isfinite().all()):
            self.error = "non_finite_logits"
        if start <= self._user_at < start + len(computed.query) and not self._said_user:
            self._logits[self._user_at] = computed.query[self._user_at - start].tolist()
        first = max(start, len(self._prompt) + self._said)
        for position, row in enumerate(computed.response[max(0, first - start) :].tolist(), first):
            self._logits[position] = row
        self._computed = max(self._computed, start + len(computed.response))

    def verdicts(self) -> list[TokenVerdict]:
        """What is new: tokens that have been settled, then all that are not; the user's turn before them, once."""
        if self.error == "non_finite_logits":
            return []
        found = []
        if not self._said_user:
            found.append(
                self._verdict("user", *self._user_end, self._logits.pop(self._user_at), None, provisional=False)
            )
            self._said_user = True
        raising = self._raising
        for index in range(self._said, self._length - len(self._prompt)):
            position = len(self._prompt) + index
            settled = index < self._text.settled
            verdict = self._verdict(
                "assistant", index, self._text.ends[index], self._logits[position], raising, provisional=not settled
            )
            raising = raising.after(verdict.risk)
            if settled:
                self._raising = raising
                self._said = index + 1
                del self._logits[position]
            found.append(verdict)
        return found

    @property
    def _length(self) -> int:
        """All tokens that the context has room for."""
        return len(self._prompt) + min(len(self._text.ids), self._text.room)

    def _ids(self, start: int, end: int) -> list[int]:
        before = len(self._prompt)
        return [*self._prompt[start:end], *self._text.ids[max(0, start - before) : max(0, end - before)]]

    def _verdict(
        self,
        role: Role,
        index: int,
        offset: int,
        logits: Sequence[float],
        raising: Raising | None,
        *,
        provisional: bool,
    ) -> TokenVerdict:
        labels = self._labels[role]
        risks = _probabilities(labels.risks, logits[: len(labels.risks)])
        categories = _probabilities(labels.categories, logits[len(labels.risks) :])
        risk = max(risks, key=risks.__getitem__)
        return TokenVerdict(
            index=index,
            offset=offset,
            role=role,
            risk=risk,
            category=None if risk == SAFE else max(categories, key=categories.__getitem__),
            probabilities={"risk": risks, "category": categories},
            provisional=provisional,
            raised=risk != SAFE if raising is None else raising.after(risk).raised,
        )


def _probabilities(labels: Sequence[str], logits: Sequence[float]) -> dict[str, float]:
    """Softmax, one number at a time: the same wherever the row stood."""
    highest = max(logits)
    weights = [exp(logit - highest) for logit in logits]
    total = sum(weights)
    return {label: weight / total for label, weight in zip(labels, weights, strict=True)}
