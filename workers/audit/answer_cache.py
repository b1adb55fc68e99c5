"""Keeps the guard's answers for conversations that come again; the least recently used go first. No text is kept.

Like `workers.serving.verdict_cache`, but in front of the guard: what is found here costs neither a call nor a slot in a
batch.
"""

from collections import OrderedDict
from hashlib import blake2b

from pydantic_core import to_json

from pipelines.guard import Conversation, GuardAnswer, Judged

KEY_BYTES = 16
MAX_CHARACTERS = 512  # longer outputs are no verdicts; so the number of entries bounds the memory


def key_of(conversation: Conversation) -> bytes:
    """A key that is equal only for conversations that are rendered alike."""
    return blake2b(to_json(conversation), digest_size=KEY_BYTES).digest()


class AnswerCache:
    """Used by one actor.

    Args:
        size: answers to keep; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[bytes, Judged] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: bytes) -> Judged | None:
        """What was kept, now the last to go."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def keep(self, key: bytes, judged: Judged) -> None:
        """Keep a whole answer; errors may pass, and what was cut off is no verdict."""
        answer = judged.result
        if not isinstance(answer, GuardAnswer) or answer.error is not None or not answer.finished:
            return
        if len(answer.text) > MAX_CHARACTERS:
            return
        self._kept[key] = judged
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
