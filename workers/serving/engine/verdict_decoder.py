"""Plain greedy decoding in as few passes as drafts allow: token ids of prompts in, token ids of answers out.

In every pass a draft follows what is certain. The model's own choice at each drafted position, the argmax over its
whole vocabulary, is compared with the draft. As far as both agree, the draft *is* what greedy decoding writes, and the
choice after it is one token more. Nothing is forced, so the answer is always the model's.

Knows nothing of tokenizers, texts, or where drafts come from.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch

from workers.serving.engine.completion import DraftCounts, PreparedPrompt, Task
from workers.serving.engine.forward.delegating import Forward
from workers.serving.engine.forward.kept_cache import KeptCache, PrefixCache
from workers.serving.engine.passes import PassLimits, cut_into_passes, run_in_halves

# The rest of a verdict fits into this many more positions; a longer answer gets as many again, and again.
_ROOM: Final = 16
# So that one huge message does not need memory in the square of its length.
_TOKENS_AT_ONCE: Final = 1024
_NOT_FINITE: Final = -1


class Drafts(Protocol):
    """Guesses what comes next, without end tokens, and learns from what came."""

    def after(self, task: Task, written: Sequence[int]) -> Sequence[int]: ...

    def note(self, task: Task, answer: Sequence[int]) -> None: ...


@dataclass(slots=True, eq=False)
class Answer:
    """An answer in the making: `ids` are certain, an end token last if there is one.

    `finite` is False if logits were not, and then nothing else counts. `label_logits` has one tensor per pass, of shape
    (tokens, labels), for all of `ids` together; empty if no labels were asked for. `passes` counts them.
    """

    ids: list[int] = field(default_factory=list)
    finite: bool = True
    label_logits: list[torch.Tensor] = field(default_factory=list)
    passes: int = 0


@dataclass(slots=True, eq=False)
class _Row:
    """A prompt on its way: `filled` counts its own tokens that are in a cache."""

    prompt: PreparedPrompt
    answer: Answer = field(default_factory=Answer)
    filled: int = 0


@dataclass(slots=True, eq=False)
class _Unfinished:
    rows: list[_Row]
    cache: KeptCache


class VerdictDecoder:
    """Decodes batches of prompts. One call at a time.

    `prefixes` are token ids that prompts are likely to begin with; a prompt that begins with none is computed whole.
    `label_ids` are the ids whose logits each answer is to come with. With `batch_invariant`, what a row goes through
    depends on no other row. Raises ValueError if `max_new_tokens` is below 1.
    """

    def __init__(
        self,
        forward: Forward,
        prefixes: Sequence[npt.NDArray[np.int64]],
        drafts: Drafts,
        *,
        end_ids: Collection[int],
        max_new_tokens: int,
        limits: PassLimits,
        label_ids: Sequence[int] = (),
        batch_invariant: bool = False,
    ) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens {max_new_tokens} is below 1")
        self._forward = forward
        self._drafts = drafts
        self._end_ids = frozenset(end_ids)
        self._max_new_tokens = max_new_tokens
        self._limits = limits
        # How many tokens a row goes on with in one pass; 0 for as many as the longest draft of those beside it.
        self._width = _ROOM if batch_invariant else 0
        self.draft_counts = DraftCounts()
        self._label_ids = torch.tensor(label_ids, device=forward.device) if label_ids else None
        with torch.inference_mode():
            shared = [
                (ids, forward.prefix(ids.tolist())) for ids in sorted(prefixes, key=len, reverse=True) if len(ids)
            ]
        self._prefixes = [*shared, (np.empty(0, dtype=np.int64), forward.no_prefix())]

    def compile(self) -> bool:
        """Compile the forward while others may be decoding; False, and all as before, if it cannot be."""
        return self._forward.compile(self._prefixes[0][1])

    def decode(self, prompts: Sequence[PreparedPrompt]) -> list[Answer]:
        """One answer per prompt, in order. Raises torch.OutOfMemoryError if a single prompt does not fit."""
        with torch.inference_mode():
            # Whole batches are tried again, not passes: a pass that failed may have left caches half written.
            return run_in_halves(self._decoded, prompts)

    def _decoded(self, prompts: Sequence[PreparedPrompt]) -> list[Answer]:
        rows = [_Row(prompt) for prompt in prompts]
        groups: defaultdict[tuple[int, Task], list[_Row]] = defaultdict(list)
        for row in rows:
            groups[self._prefix_of(row.prompt), row.prompt.task].append(row)
        for (index, task), group in groups.items():
            self._decode_group(group, self._prefixes[index][1], task)
        for row in rows:
            if row.answer.finite and row.answer.ids[-1] in self._end_ids:
                self._drafts.note(row.prompt.task, row.answer.ids[:-1])
        return [row.answer for row in rows]

    def _prefix_of(self, prompt: PreparedPrompt) -> int:
        """The longest prefix that the prompt begins with and goes on after; the last one is empty."""
        return next(
            index
            for index, (ids, _) in enumerate(self._prefixes)
            if len(ids) < len(prompt) and np.array_equal(prompt.token_ids[: len(ids)], ids)
        )

    def _decode_group(self, rows: Sequence[_Row], prefix: PrefixCache, task: Task) -> None:
        """Decode prompts with one prefix; what the first passes leave unfinished is gathered into common later ones."""
        waiting: list[_Unfinished] = []
        for indices in cut_into_passes([len(row.prompt) - prefix.tokens for row in rows], self._limits):
            waiting.append(self._begin([rows[index] for index in indices], prefix, task))
            if sum(len(some.rows) * some.cache.capacity for some in waiting if some.rows) > self._limits.tokens:
                self._finish(waiting, prefix, task)
                waiting.clear()
        self._finish(waiting, prefix, task)

    def _begin(self, rows: Sequence[_Row], prefix: PrefixCache, task: Task) -> _Unfinished:
        draft = self._draft(task, ())
        own = [row.prompt.token_ids[prefix.tokens :] for row in rows]
        ids = np.zeros((len(rows), max(map(len, own)) + len(draft)), dtype=np.int64)
        for index, tokens in enumerate(own):
            ids[index, : len(tokens)] = tokens
            ids[index, len(tokens) : len(tokens) + len(draft)] = draft
        # The token at a position is chosen by the one before it.
        positions = np.array([len(tokens) - 1 for tokens in own])[:, None] + np.arange(len(draft) + 1)
        logits, cache = self._run_from_start(ids, positions, prefix)
        for row, tokens in zip(rows, own, strict=True):
            row.filled = len(tokens)
        return self._read(rows, cache, logits, [draft] * len(rows), lasting=False)

    def _run_from_start(
        self, ids: npt.NDArray[np.int64], positions: npt.NDArray[np.int64], prefix: PrefixCache
    ) -> tuple[torch.Tensor, KeptCache]:
        first = int(positions.min())
        if ids.shape[1] <= _TOKENS_AT_ONCE or first == 0:
            return self._forward.start(self._on_device(ids), prefix, self._on_device(positions))
        _, cache = self._forward.start(self._on_device(ids[:, : min(first, _TOKENS_AT_ONCE)]), prefix, None)
        while (filled := cache.capacity) + _TOKENS_AT_ONCE < first:
            cache = cache.enlarged(filled + _TOKENS_AT_ONCE)
            self._resumed(ids[:, filled : filled + _TOKENS_AT_ONCE], [filled] * len(ids), prefix, cache, None)
        cache = cache.enlarged(ids.shape[1])
        logits = self._resumed(ids[:, filled:], [filled] * len(ids), prefix, cache, positions - filled)
        return logits, cache

    def _finish(self, waiting: Sequence[_Unfinished], prefix: PrefixCache, task: Task) -> None:
        if not (waiting := [some for some in waiting if some.rows]):
            return
        unfinished = _Unfinished(
            [row for some in waiting for row in some.rows], KeptCache.joined([w.cache for w in waiting])
        )
        while rows := unfinished.rows:
            drafts = [self._draft(task, row.answer.ids) for row in rows]
            if self._width:
                drafts = [draft[: self._width - 1] for draft in drafts]
            ids = np.zeros((len(rows), self._width or 1 + max(map(len, drafts))), dtype=np.int64)
            for index, (row, draft) in enumerate(zip(rows, drafts, strict=True)):
                ids[index, : 1 + len(draft)] = (row.answer.ids[-1], *draft)
            filled = [row.filled for row in rows]
            cache = unfinished.cache
            if (needed := max(filled) + ids.shape[1]) > cache.capacity:
                cache = cache.enlarged(needed + _ROOM)
            positions = np.tile(np.arange(ids.shape[1]), (len(rows), 1))
            logits = self._resumed(ids, filled, prefix, cache, positions)
            for row in rows:
                row.filled += 1
            unfinished = self._read(rows, cache, logits, drafts)

    def _draft(self, task: Task, written: Sequence[int]) -> Sequence[int]:
        # The choice after the draft is one more token.
        return self._drafts.after(task, written)[: self._max_new_tokens - len(written) - 1]

    def _read(
        self,
        rows: Sequence[_Row],
        cache: KeptCache,
        logits: torch.Tensor,
        drafts: Sequence[Sequence[int]],
        *,
        lasting: bool = True,
    ) -> _Unfinished:
        """Take from a pass what is certain now; the rows that need another one, with their part of the cache.

        `lasting` is False for a cache that the next pass may write into.
        """
        choices = choices_of(logits)
        labels = None if self._label_ids is None else logits[..., self._label_ids].float()
        # The only wait for the device in a pass.
        chosen: list[list[int]] = choices.tolist()
        labels = None if labels is None else labels.cpu()
        unfinished = []
        for index, (row, draft) in enumerate(zip(rows, drafts, strict=True)):
            certain = self._certain(row, draft, chosen[index][: len(draft) + 1])
            self.draft_counts.drafted += len(draft)
            self.draft_counts.accepted += certain - 1
            if labels is not None:
                row.answer.label_logits.append(labels[index, :certain])
            if not self._is_complete(row.answer):
                row.filled += certain - 1
                unfinished.append(index)
        if len(unfinished) < len(rows) or not lasting:
            cache = cache.selected(unfinished) if unfinished else KeptCache([], [])
        return _Unfinished([rows[index] for index in unfinished], cache)

    def _certain(self, row: _Row, draft: Sequence[int], chosen: Sequence[int]) -> int:
        """Append what the model wrote to the row's answer, and count it."""
        answer = row.answer
        answer.passes += 1
        for count, token_id in enumerate(chosen, start=1):
            if token_id == _NOT_FINITE:
                answer.finite = False
                return count
            answer.ids.append(token_id)
            if token_id in self._end_ids or count > len(draft) or token_id != draft[count - 1]:
                return count
        raise AssertionError("a pass without a choice")

    def _is_complete(self, answer: Answer) -> bool:
        written = answer.ids
        return not answer.finite or len(written) >= self._max_new_tokens or written[-1] in self._end_ids

    def _resumed(
        self,
        ids: npt.NDArray[np.int64],
        filled: Sequence[int],
        prefix: PrefixCache,
        cache: KeptCache,
        positions: npt.NDArray[np.int64] | None,
    ) -> torch.Tensor | None:
        start = self._on_device(np.array(filled))
        wanted = None if positions is None else self._on_device(positions)
        return self._forward.resume(self._on_device(ids), start, prefix, cache, wanted)

    def _on_device(self, array: npt.NDArray[np.int64]) -> torch.Tensor:
        host = torch.from_numpy(np.ascontiguousarray(array))
        return (
            host
            if self._forward.device.type == "cpu"
            else host.pin_memory().to(self._forward.device, non_blocking=True)
        )


def choices_of(logits: torch.Tensor) -> torch.Tensor:
    """The model's choice at each position of (rows, positions, words): an id, or -1 where a logit is not finite."""
    # The first of equals, as in `argmax`, which takes six times as long on a CPU. NaN, if any, is every extreme.
    high, choices = logits.max(dim=-1)
    return torch.where(high.isfinite() & logits.amin(dim=-1).isfinite(), choices, _NOT_FINITE)
