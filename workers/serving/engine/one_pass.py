"""The fast engine: one pass for a usual message, and the text of plain greedy decoding for every message.

Knows nothing of how batches are gathered, and does not parse what the model wrote.
"""

import dataclasses
import threading
from collections.abc import Sequence
from typing import Final

import torch

from workers.serving.engine.completion import (
    NON_FINITE_LOGITS,
    Completion,
    Conversation,
    DraftCounts,
    Engine,
    EngineIdentity,
    PreparedPrompt,
)
from workers.serving.engine.forward.graphs import with_graphs
from workers.serving.engine.forward.suffix_forward import SuffixForward, refuse_other_models
from workers.serving.engine.loading import LoadedModel, load_model
from workers.serving.engine.output import completion_of
from workers.serving.engine.passes import PassLimits
from workers.serving.engine.prefix import PromptFrame, derive_frames
from workers.serving.engine.prompt import PromptBuilder
from workers.serving.engine.scores import LabelScores
from workers.serving.engine.verdict_decoder import Answer, VerdictDecoder
from workers.serving.engine.verdict_draft import VerdictDrafts
from workers.serving.engine.verdict_format import QWEN3GUARD_GEN, VerdictFormat

# A CPU is busy with a few messages, its caches are small, and padding costs it nothing; a GPU wants thousands of tokens
# to be busy at all.
_CPU_LIMITS: Final = PassLimits(tokens=1280, rows=8, padding=1.0)
_GPU_LIMITS: Final = PassLimits(tokens=32_768, rows=256, padding=0.1, small_rows=32)
# A command that judges a few messages and ends is over before compiling would pay.
_MESSAGES_UNTIL_COMPILING: Final = 256
_ONE_BY_ONE: Final = PassLimits(tokens=1, rows=1, padding=0.0)


def limits_of(device: torch.device) -> PassLimits:
    """How large a pass is on this device."""
    return _GPU_LIMITS if device.type == "cuda" else _CPU_LIMITS


def invariant_passes(forward: SuffixForward, *, compiled: bool) -> tuple[SuffixForward, PassLimits]:
    """A forward, and how large its passes may be so that nothing of a message depends on what else is in its batch."""
    invariant = forward.invariant(compiled=compiled)
    return (forward, _ONE_BY_ONE) if invariant is None else (invariant, _CPU_LIMITS)


class OnePassEngine(Engine):
    """Judges with drafted and verified verdicts; see `Engine` for the contract. Built by `load`.

    Texts are those of `ReferenceEngine`. In bf16 near-ties are the exception, as between any two ways to run the model:
    the order of summation can flip them, and which way one falls can depend on the batch. `batch_invariant` removes
    that dependence: drafts never change, what is compiled is compiled before the first message, and messages share a
    pass only where it was seen, when the model was loaded, that not a bit of one depends on the others (on a CPU).
    Without `score_temperature`, `scores` is None; a temperature of 1 leaves the model's probabilities as they are. With
    `compiled`, parts of the model are compiled in a thread of their own once the engine has been busy for a while, and
    used from then on; where that fails, a warning says so and nothing changes.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        max_new_tokens: int = 128,
        max_prompt_tokens: int | None = None,
        score_temperature: float | None = None,
        batch_invariant: bool = False,
        compiled: bool = True,
        verdict_format: VerdictFormat = QWEN3GUARD_GEN,
    ) -> None:
        limit = loaded.max_positions - max_new_tokens
        if limit < 1:
            raise ValueError(f"max_new_tokens {max_new_tokens} leaves no room in a context of {loaded.max_positions}")
        refuse_other_models(loaded.name, loaded.model)
        # Not the model: nothing needs the weights that were copied.
        self._tokenizer, self._end_ids = loaded.tokenizer.backend_tokenizer, loaded.end_ids
        self._builder = PromptBuilder(loaded.tokenizer, max_tokens=min(limit, max_prompt_tokens or limit))
        self._frames = derive_frames(self._builder)
        self._scores = (
            None
            if score_temperature is None
            else LabelScores(self._encode, verdict_format.questions, score_temperature)
        )
        forward, limits = SuffixForward(loaded.model), limits_of(loaded.device)
        if batch_invariant:
            forward, limits = invariant_passes(forward, compiled=compiled)
        self._decoder = VerdictDecoder(
            with_graphs(forward, settled=batch_invariant or not compiled),
            list({frame.prefix.tobytes(): frame.prefix for frame in self._frames}.values()),
            VerdictDrafts(self._encode, verdict_format.texts, adapts=not batch_invariant),
            end_ids=loaded.end_ids,
            max_new_tokens=max_new_tokens,
            limits=limits,
            batch_invariant=batch_invariant,
            label_ids=self._scores.token_ids if self._scores else (),
        )
        self._until_compiling = _MESSAGES_UNTIL_COMPILING if compiled and not batch_invariant else None
        self._identity = loaded.identity("one_pass", self._builder.sha256)

    @classmethod
    def load(
        cls,
        model: str,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        max_new_tokens: int = 128,
        max_prompt_tokens: int | None = None,
        score_temperature: float | None = None,
        batch_invariant: bool = False,
        compiled: bool = True,
    ) -> "OnePassEngine":
        """Load a hub name, a folder or "demo"; lengths are in tokens. Raises ValueError for wrong settings."""
        return cls(
            load_model(model, revision=revision, device=device, dtype=dtype),
            max_new_tokens=max_new_tokens,
            max_prompt_tokens=max_prompt_tokens,
            score_temperature=score_temperature,
            batch_invariant=batch_invariant,
            compiled=compiled,
        )

    @property
    def identity(self) -> EngineIdentity:
        return self._identity

    @property
    def draft_counts(self) -> DraftCounts:
        return self._decoder.draft_counts

    @property
    def frames(self) -> tuple[PromptFrame, ...]:
        """What the prompts of each opening share, or why they share nothing."""
        return self._frames

    @property
    def template_text(self) -> tuple[str, ...]:
        return self._builder.template_text()

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        return self._builder.prepare(conversation)

    def prepare_all(self, conversations: Sequence[Conversation]) -> list[PreparedPrompt | Completion]:
        return self._builder.prepare_all(conversations)

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        self._compile_when_busy(len(prompts))
        # Equal prompts have equal answers.
        keys = [prompt.token_ids.tobytes() for prompt in prompts]
        distinct = dict(zip(keys, prompts, strict=True))
        judged = {
            key: self._judgement(prompt, answer)
            for (key, prompt), answer in zip(
                distinct.items(), self._decoder.decode(list(distinct.values())), strict=True
            )
        }
        return [judged[key] for key in keys]

    def _compile_when_busy(self, messages: int) -> None:
        if self._until_compiling is None:
            return
        self._until_compiling -= messages
        if self._until_compiling <= 0:
            self._until_compiling = None
            threading.Thread(target=self._decoder.compile, name="weir-compile", daemon=True).start()

    def _judgement(self, prompt: PreparedPrompt, answer: Answer) -> Completion:
        if not answer.finite:
            return Completion.failed(NON_FINITE_LOGITS, prompt_tokens=len(prompt))
        completion = completion_of(
            answer.ids,
            end_ids=self._end_ids,
            tokenizer=self._tokenizer,
            prompt_tokens=len(prompt),
        )
        if self._scores is None:
            return completion
        scores = self._scores.of(answer.ids, torch.cat(answer.label_logits), prompt.task)
        return dataclasses.replace(completion, scores=scores)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids
