"""Keeps completions for prompts that come again, in bounded memory; the least recently used go first.

No prompt is kept: it is found by a digest of its tokens under a secret of this process. So no dump can be looked up in
a list of guesses, and nobody can make two texts that share a verdict. Knows nothing of batches, of Ray or of what the
model wrote.
"""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from secrets import token_bytes
from typing import NamedTuple

from workers.serving.engine.completion import Completion, PreparedPrompt
from workers.telemetry.metrics.instruments import observe_value
from workers.telemetry.metrics.table import CACHE_HITS, CACHE_MISSES, CACHE_SIZE

KEY_BYTES = 16
# A verdict that names every category has some 230 characters. Longer texts are not kept, so that the number of entries
# bounds the memory (P9), whatever is asked.
MAX_CHARACTERS = 512


class Kept(NamedTuple):
    """A completion, and the W3C trace context of the batch that gave it; empty where that was not sampled."""

    completion: Completion
    batch_carrier: Mapping[str, str]


class VerdictCache:
    """Used by one thread; `key_of` by any.

    Args:
        size: completions to keep; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._secret = token_bytes(KEY_BYTES)
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._hits = self._misses = 0
        observe_value(CACHE_HITS, lambda: self._hits)
        observe_value(CACHE_MISSES, lambda: self._misses)
        observe_value(CACHE_SIZE, lambda: len(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def key_of(self, prompt: PreparedPrompt) -> bytes:
        """A key that is equal only for prompts of equal tokens and task; what they share is not hashed again."""
        own = prompt.start.digest + prompt.token_ids[prompt.start.tokens :].tobytes()
        return blake2b(own, digest_size=KEY_BYTES, key=self._secret, person=prompt.task.encode()).digest()

    def find(self, key: bytes) -> Kept | None:
        """What was kept, now the last to go."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def keep(self, key: bytes, completion: Completion, batch_carrier: Mapping[str, str]) -> None:
        """Keep a whole completion. Errors may pass, and what was cut off is no verdict: the next prompt asks again."""
        if completion.error is not None or completion.finish != "stop" or len(completion.text) > MAX_CHARACTERS:
            return
        self._kept[key] = Kept(completion, batch_carrier)
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def count(self, *, hits: int, misses: int) -> None:
        """Note what became of the prompts of one answered call."""
        self._hits += hits
        self._misses += misses
