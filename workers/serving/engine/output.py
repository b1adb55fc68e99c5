"""Turns generated ids into the text that the parser sees: everything that the model wrote before its end token.

Knows nothing of the verdict grammar; drops, strips and repairs nothing.
"""

from collections.abc import Collection, Sequence
from itertools import groupby

from tokenizers import Tokenizer

from workers.serving.engine.completion import Completion


def completion_of(
    generated: Sequence[int], *, end_ids: Collection[int], tokenizer: Tokenizer, prompt_tokens: int
) -> Completion:
    """The completion of one prompt. `generated` may be padded after its end token; what follows that is ignored."""
    stop = next((index for index, token_id in enumerate(generated) if token_id in end_ids), None)
    return Completion(
        text=_decoded(generated[:stop], tokenizer),
        error=None,
        scores=None,
        prompt_tokens=prompt_tokens,
        output_tokens=len(generated) if stop is None else stop + 1,
        finish="length" if stop is None else "stop",
    )


def _decoded(token_ids: Sequence[int], tokenizer: Tokenizer) -> str:
    # Control tokens are kept, and ids beyond the vocabulary (models pad it) show as U+FFFD: to leave either out would
    # turn an output that is off the grammar into one that is on it (P3).
    pieces = []
    for known, run in groupby(token_ids, key=lambda token_id: tokenizer.id_to_token(token_id) is not None):
        ids = list(run)
        pieces.append(tokenizer.decode(ids, skip_special_tokens=False) if known else "\ufffd" * len(ids))
    return "".join(pieces)
