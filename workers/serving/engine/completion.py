"""The port of the model: what an engine is given, what it returns, and which errors belong to one conversation alone.

Knows nothing of torch, tokenizers or any particular engine, and does not parse what the model wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Message: TypeAlias = Mapping[str, object]
Conversation: TypeAlias = Sequence[Message]
Task: TypeAlias = Literal["prompt", "response"]
Finish: TypeAlias = Literal["stop", "length"]
CompletionError: TypeAlias = Literal[
    "not_rendered",
    "unsupported_role",
    "empty_conversation",
    "context_overflow",
    "invalid_text",
    "non_finite_logits",
    "rejected",
]

# The chat template leaves a message out, or shows a text other than the message's own.
NOT_RENDERED: Final = "not_rendered"
# A role that no template knows, or a last message that is neither the user's nor the assistant's.
UNSUPPORTED_ROLE: Final = "unsupported_role"
EMPTY_CONVERSATION: Final = "empty_conversation"
# The prompt and the longest answer do not fit into the model's context, or the prompt into the engine's limit.
CONTEXT_OVERFLOW: Final = "context_overflow"
# A content that is not a string, or that has no UTF-8 form (a lone surrogate).
INVALID_TEXT: Final = "invalid_text"
NON_FINITE_LOGITS: Final = "non_finite_logits"
# A server that judges known texts refuses this one.
REJECTED: Final = "rejected"


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote about one conversation, or why there is nothing.

    `text` is the whole output up to its end token, unparsed; it is empty where `error` is set. `scores` maps a question
    ("safety", "category", "refusal") to probabilities by label, and is None where the engine does not compute them.
    `prompt_tokens` is 0 where the conversation was refused before it was tokenised. `output_tokens` counts the end
    token. `finish` is "stop" at an end token, "length" at the token limit, None where nothing was generated.
    """

    text: str
    error: CompletionError | None
    scores: dict[str, dict[str, float]] | None
    prompt_tokens: int
    output_tokens: int
    finish: Finish | None

    @classmethod
    def failed(cls, error: CompletionError, *, prompt_tokens: int = 0) -> "Completion":
        """The completion of a conversation that gets none, for a reason that is its own."""
        return cls(text="", error=error, scores=None, prompt_tokens=prompt_tokens, output_tokens=0, finish=None)


class SharedStart(NamedTuple):
    """What all prompts of one layout begin with: how many tokens, and a digest of them that stands for them."""

    tokens: int = 0
    digest: bytes = b""


_NOTHING_SHARED: Final = SharedStart()


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPrompt:
    """A rendered and tokenised conversation: `token_ids` is a read-only int64 array of shape (tokens,)."""

    token_ids: npt.NDArray[np.int64]
    task: Task
    start: SharedStart = field(default=_NOTHING_SHARED, kw_only=True)

    def __len__(self) -> int:
        return int(self.token_ids.shape[0])


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """All that a verdict's text depends on beside the conversation; part of every verdict's provenance.

    `model` is the name the engine was loaded by. `revision` is the hub's commit hash, the revision that was asked for,
    or, for a folder, "sha256:" and the first 16 hex digits of its weights' digest. `prompt_sha256` covers the chat
    template and the tokenizer. `engine` is the engine's name in the settings.
    """

    model: str
    revision: str
    prompt_sha256: str
    engine: str
    dtype: str
    device: str


@dataclass(slots=True)
class DraftCounts:
    """Tokens that were drafted since the start, and those of them that the model itself then chose."""

    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What a batch is run for.

    Attributes:
        carrier: W3C trace context of its span; empty where none of its messages is sampled.
        is_live: a live message is in it.
    """

    carrier: Mapping[str, str]
    is_live: bool


class Engine(Protocol):
    """Judges conversations with one model; a failure of one is that one's `Completion`, never an exception.

    What `run` and `judge` do raise (a lost device, out of memory with a single prompt) says nothing about a
    conversation: the backend is broken.
    """

    @property
    def identity(self) -> EngineIdentity: ...

    @property
    def concurrency(self) -> int:
        """Calls of `run` at a time; one for an engine that has a device of its own."""
        return 1

    @property
    def batch_size(self) -> int | None:
        """Prompts of one `run` at most, where the engine knows better than the settings."""
        return None

    @property
    def draft_counts(self) -> DraftCounts:
        """How drafting has gone. May be asked from any thread; engines that draft nothing inherit this one."""
        return DraftCounts()

    @property
    def template_text(self) -> tuple[str, ...]:
        """What the chat template writes around contents: what stands before each, and its tags."""
        return ()

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        """Render and tokenise one conversation, or say why that cannot be done.

        Pure CPU work that never raises for bad content. May be called from many threads at once, also during `run`.
        """
        ...

    def prepare_all(self, conversations: Sequence[Conversation]) -> list[PreparedPrompt | Completion]:
        """The same for many, in order. Engines inherit this one, or do it faster together."""
        return [self.prepare(conversation) for conversation in conversations]

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        """Judge one batch; one completion per prompt, in order. As many calls at a time as `concurrency` says."""
        ...

    def run_for(self, prompts: Sequence[PreparedPrompt], context: BatchContext) -> list[Completion]:  # noqa: ARG002
        """`run`, with what an engine that has others do its work passes on; the rest inherit this one."""
        return self.run(prompts)

    def close(self) -> None:
        """End what the engine has running beside `run`; engines that have nothing inherit this one."""
        return

    def judge(self, conversations: Sequence[Conversation]) -> list[Completion]:
        """Prepare and run; one completion per conversation, in order. Engines inherit this one."""
        prepared = self.prepare_all(conversations)
        judged = iter(self.run([item for item in prepared if isinstance(item, PreparedPrompt)]))
        return [item if isinstance(item, Completion) else next(judged) for item in prepared]
