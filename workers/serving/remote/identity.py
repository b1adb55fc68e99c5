"""Has a server prove what it is: the model's name, its limits, and what it writes about known texts.

A server that does not write what the first one wrote, or what the settings pin, is refused: its verdicts would not be
those that the provenance names.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from schemas.errors import RemoteCallError
from workers.serving.engine.completion import Completion, PreparedPrompt
from workers.serving.remote.canaries import behaviour_of
from workers.serving.remote.endpoint import Endpoint, Proof
from workers.serving.remote.pool import Pool
from workers.serving.remote.written import Written, expect

_MODELS = "/v1/models"


class Identity:
    """What all servers have to be.

    Args:
        served_model: the model's name on them; None: the only one that each serves.
        pinned: digest of their behaviour; None: that of the first that proves itself.
        canaries: prompts of the known texts.
        most_prompts: of one call.
        completion_of: what was written, as text.
        max_tokens_of: see `Flavour.max_tokens`.
    """

    def __init__(
        self,
        served_model: str | None,
        pinned: str | None,
        canaries: Sequence[PreparedPrompt],
        most_prompts: int,
        completion_of: Callable[[Written, PreparedPrompt], Completion],
        max_tokens_of: Callable[[Any], int | None],
    ) -> None:
        self._served_model = served_model
        self._canaries = canaries
        self._most_prompts = most_prompts
        self._completion_of = completion_of
        self._max_tokens_of = max_tokens_of
        self.behaviour_sha256 = pinned
        self.max_tokens: int | None = None
        self._is_first = True

    async def prove(self, pool: Pool, endpoint: Endpoint) -> Proof:
        """Ask a server.

        Raises:
            RemoteCallError: it is gone, busy, or not what it should be.
        """
        endpoint.connection.read_key()
        model, max_tokens = self._model_in(await endpoint.connection.get(_MODELS))
        completions, fingerprints = [], set()
        for start in range(0, len(self._canaries), self._most_prompts):
            prompts = self._canaries[start : start + self._most_prompts]
            written, fingerprint = await pool.ask(endpoint, model, prompts)
            fingerprints.add(fingerprint)
            for item, prompt in zip(written, prompts, strict=True):
                if item is None:
                    raise RemoteCallError("failed", "it gives up on a known text")
                completions.append(self._completion_of(item, prompt))
        expect(len(fingerprints) == 1, "its fingerprint changes from call to call")
        behaviour = await asyncio.to_thread(behaviour_of, completions)
        self._compare(behaviour, max_tokens)
        return Proof(model, max_tokens, fingerprints.pop(), behaviour)

    def _compare(self, behaviour: str, max_tokens: int | None) -> None:
        """Nothing is awaited here: two servers that prove themselves at once are held against one another."""
        expect(
            behaviour == (self.behaviour_sha256 or behaviour),
            f"guard.remote.behaviour_sha256: it behaves as {behaviour}, not as {self.behaviour_sha256}",
        )
        if self._is_first:
            self.max_tokens = max_tokens
        expect(
            self.max_tokens is None or (max_tokens is not None and max_tokens >= self.max_tokens),
            f"its limit of {max_tokens} tokens is below {self.max_tokens}",
        )
        self._is_first = False
        self.behaviour_sha256 = behaviour

    def _model_in(self, listed: Any) -> tuple[str, int | None]:
        try:
            models = {str(item["id"]): item for item in listed["data"]}
        except (LookupError, TypeError):
            raise RemoteCallError("mismatched", f"{_MODELS} lists no models") from None
        name = self._served_model
        if name is None:
            expect(len(models) == 1, f"guard.remote.served_model: {_MODELS} lists {len(models)} models, one is needed")
            (name,) = models
        expect(name in models, f"guard.remote.served_model: {_MODELS} does not list it")
        return name, self._max_tokens_of(models[name])
