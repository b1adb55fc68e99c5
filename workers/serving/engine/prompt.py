"""Turns a conversation into token ids: the tokenizer's own chat template, filled in so that message text stays text.

P4 is kept here. The template is rendered once for each sequence of roles, with a probe in place of each content. That
tells which characters of the prompt are the template's and which are a message's. Control tokens are looked for only in
the template's; everything else is encoded by a tokenizer without added tokens. So nothing that a message says can
become a control token, and no escaping is needed that a message could imitate. Where the template is not proven to
print contents as they are, the real conversation is rendered as well and must equal the filled-in template character by
character, which exposes a template that drops, cuts or rewrites a content.

Knows nothing of models, devices or verdicts.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, TypeAlias

from jinja2 import TemplateError
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from workers.serving.engine.completion import (
    CONTEXT_OVERFLOW,
    EMPTY_CONVERSATION,
    INVALID_TEXT,
    NOT_RENDERED,
    UNSUPPORTED_ROLE,
    Completion,
    CompletionError,
    Conversation,
    PreparedPrompt,
    Task,
)
from workers.serving.engine.prompt_pieces import ContentSlot, PromptPieces, has_proven_seams, pieces_of
from workers.serving.engine.template_proof import only_prints_contents
from workers.serving.engine.word_memory import WordMemory

_LOG: Final = logging.getLogger(__name__)
_TASKS: Final[dict[str, Task]] = {"user": "prompt", "assistant": "response"}
_KNOWN_ROLES: Final = frozenset({"system", "user", "assistant", "tool"})
# Private-use characters name the message. The unusual spaces around them show whether the template trims contents;
# plain spaces could be the template's own.
_PROBE: Final = "\u2003\ue000{index}\ue001\u2002"
_PROBE_PATTERN: Final = re.compile("(\u2003?)\ue000([0-9]+)\ue001(\u2002?)")
# Plans are kept for common role sequences only, so that long conversations cannot fill the memory (P9).
_CACHED_PLANS: Final = 256
_LONGEST_CACHED_PLAN: Final = 32
_TAG: Final = re.compile(r"<[^<>\n]+>")
_CHECK_CONTENT: Final = " A few  words, caf\u00e9, e\u0301, \u4f60\u597d, \U0001f600 and 3 digits: 123?\n"


@dataclass(frozen=True, slots=True)
class ControlToken:
    """A control token that the template itself wrote."""

    token_id: int
    text: str


# A prompt in order; a plain string is the template's own text.
PromptPlan: TypeAlias = tuple[str | ControlToken | ContentSlot, ...]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How conversations of one sequence of roles are laid out, and how that is tokenised."""

    plan: PromptPlan
    pieces: PromptPieces


@dataclass(frozen=True, slots=True)
class _LaidOut:
    """A conversation on its way: its prompt's texts still have to be tokenised."""

    task: Task
    pieces: PromptPieces
    texts: list[str]


class PromptBuilder:
    """Builds the prompts of one tokenizer. Safe to use from many threads at once.

    `max_tokens` is the longest prompt, in tokens, that the engine takes; None for no limit. `template_options` are
    given to the chat template. Raises ValueError if there is no chat template, if it does not render a user's and an
    assistant's turn, or if this tokenizer does not let control tokens be told from text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_tokens: int | None = None,
        template_options: Mapping[str, object] | None = None,
    ) -> None:
        if not tokenizer.chat_template:
            raise ValueError(f"guard.model {tokenizer.name_or_path!r}: the tokenizer has no chat template")
        specification = specification_of(tokenizer)
        self._tokenizer = tokenizer
        # None: no `add_generation_prompt`, as in the call of Qwen3Guard-Gen's card.
        self._template_options: dict[str, Any] = dict(template_options or {})
        self._max_tokens = max_tokens
        self._control_ids: dict[str, int] = {token["content"]: token["id"] for token in specification["added_tokens"]}
        # Longest first: of two tokens that start at one place the tokenizer itself takes the longer.
        alternatives = "|".join(map(re.escape, sorted(self._control_ids, key=len, reverse=True)))
        self._control_pattern = re.compile(f"({alternatives or '(?!)'})")
        self._plain = Tokenizer.from_str(json.dumps({**specification, "added_tokens": []}))
        self._cached_layout = lru_cache(maxsize=_CACHED_PLANS)(self._derive_layout)
        template = tokenizer.get_chat_template()
        self._only_prints = only_prints_contents(template)
        self._at_seams = has_proven_seams(specification)
        self._words = WordMemory()
        if not (self._only_prints and self._at_seams):
            _LOG.warning(
                "prompts are %s: of this %s it is not proven what messages leave unchanged",
                "rendered one by one" if self._at_seams else "tokenised whole",
                "chat template" if self._at_seams else "tokenizer",
            )
        self._check(Tokenizer.from_str(json.dumps(specification)))
        digest = hashlib.sha256(template.encode() + b"\0" + json.dumps(specification, sort_keys=True).encode())
        self.sha256: Final = digest.hexdigest()

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        """Render and tokenise one conversation; never raises for anything that a conversation holds."""
        return self.prepare_all([conversation])[0]

    def prepare_all(self, conversations: Sequence[Conversation]) -> list[PreparedPrompt | Completion]:
        """The same for many, in order: their own texts, or what is new of them, are tokenised together."""
        laid_out = [self._laid_out(conversation) for conversation in conversations]
        texts = [text for item in laid_out if isinstance(item, _LaidOut) for text in item.texts]
        if self._at_seams:
            encoded = iter(self._words.encode(texts, self._plain))
        else:
            encoded = (encoding.ids for encoding in self._plain.encode_batch_fast(texts, add_special_tokens=False))
        return [item if isinstance(item, Completion) else self._prepared(item, encoded) for item in laid_out]

    def plan(self, roles: tuple[str, ...]) -> PromptPlan | None:
        """How the template lays out a conversation of these roles; None where it leaves a message out."""
        layout = self._layout(roles)
        return None if layout is None else layout.plan

    def template_text(self) -> tuple[str, ...]:
        """What the template writes between contents, before the first and behind the last: its line there, its tags."""
        written: list[str] = []
        for roles in (("user",), ("user", "assistant"), ("user", "assistant", "user")):
            plan = self.plan(roles) or ()
            slots = [index for index, part in enumerate(plan) if isinstance(part, ContentSlot)]
            around = [
                "".join(part for part in plan[start + 1 : end] if isinstance(part, str))
                for start, end in pairwise([-1, *slots, len(plan)])
            ]
            written += (around[0].rpartition("\n")[2], *around[1:-1], *_TAG.findall("".join(around)))
        return tuple(dict.fromkeys(written))

    def _laid_out(self, conversation: Conversation) -> _LaidOut | Completion:
        messages = _checked_messages(conversation)
        if isinstance(messages, str):
            return Completion.failed(messages)
        roles, contents = zip(*messages, strict=True)
        layout = self._layout(roles)
        if layout is None:
            return Completion.failed(NOT_RENDERED)
        if not self._only_prints and self._render(roles, contents) != _filled(layout.plan, contents):
            return Completion.failed(NOT_RENDERED)
        return _LaidOut(_TASKS[roles[-1]], layout.pieces, layout.pieces.filled(contents))

    def _prepared(self, item: _LaidOut, encoded: Iterator[list[int]]) -> PreparedPrompt | Completion:
        token_ids = item.pieces.joined([next(encoded) for _ in item.texts])
        if self._max_tokens is not None and len(token_ids) > self._max_tokens:
            return Completion.failed(CONTEXT_OVERFLOW, prompt_tokens=len(token_ids))
        return PreparedPrompt(token_ids, item.task, start=item.pieces.start)

    def _layout(self, roles: tuple[str, ...]) -> _Layout | None:
        return self._cached_layout(roles) if len(roles) <= _LONGEST_CACHED_PLAN else self._derive_layout(roles)

    def _derive_layout(self, roles: tuple[str, ...]) -> _Layout | None:
        plan = self._derive_plan(roles)
        if plan is None:
            return None
        return _Layout(plan, pieces_of(list(_spans(plan)), self._encode_plain, at_seams=self._at_seams))

    def _derive_plan(self, roles: tuple[str, ...]) -> PromptPlan | None:
        rendered = self._render(roles, [_PROBE.format(index=index) for index in range(len(roles))])
        if rendered is None:
            return None
        plan: list[str | ControlToken | ContentSlot] = []
        shown: set[int] = set()
        end = 0
        for probe in _PROBE_PATTERN.finditer(rendered):
            plan += self._split_at_controls(rendered[end : probe.start()])
            plan.append(ContentSlot(int(probe[2]), trims_left=not probe[1], trims_right=not probe[3]))
            shown.add(int(probe[2]))
            end = probe.end()
        plan += self._split_at_controls(rendered[end:])
        return tuple(plan) if len(shown) == len(roles) else None

    def _split_at_controls(self, literal: str) -> list[str | ControlToken]:
        parts = [part for part in self._control_pattern.split(literal) if part]
        return [ControlToken(self._control_ids[part], part) if part in self._control_ids else part for part in parts]

    def _render(self, roles: Sequence[str], contents: Sequence[str]) -> str | None:
        chat = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        try:
            return str(self._tokenizer.apply_chat_template(chat, tokenize=False, **self._template_options))
        except TemplateError:  # how templates refuse an order of roles
            return None

    def _encode_plain(self, text: str) -> list[int]:
        token_ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids if text else []
        return token_ids

    def _check(self, full: Tokenizer) -> None:
        setting = f"guard.model {self._tokenizer.name_or_path!r}"
        for roles in (("user",), ("user", "assistant")):
            layout = self._layout(roles)
            contents = [_CHECK_CONTENT] * len(roles)
            rendered = self._render(roles, contents)
            if layout is None or rendered is None or rendered != _filled(layout.plan, contents):
                raise ValueError(f"{setting}: the chat template does not render the turns {roles}")
            pieces = layout.pieces
            token_ids = pieces.joined([self._encode_plain(text) for text in pieces.filled(contents)])
            if token_ids.tolist() != full.encode(rendered, add_special_tokens=False).ids:
                raise ValueError(f"{setting}: the tokenizer's added tokens do more than stand for their own text")
        for text in self._control_ids:
            if not set(self._control_ids.values()).isdisjoint(self._encode_plain(text)):
                raise ValueError(f"{setting}: the tokenizer makes the control token {text!r} from plain text")


def _spans(plan: PromptPlan) -> Iterator[int | list[str | ContentSlot]]:
    """The plan with all between two control tokens in one: the template's text and a message's, as they are encoded."""
    span: list[str | ContentSlot] = []
    for part in plan:
        if isinstance(part, ControlToken):
            yield from ([span] if span else [])
            yield part.token_id
            span = []
        else:
            span.append(part)
    yield from ([span] if span else [])


def _filled(plan: PromptPlan, contents: Sequence[str]) -> str:
    return "".join(_shown(part, contents) for part in plan)


def _shown(part: str | ControlToken | ContentSlot, contents: Sequence[str]) -> str:
    match part:
        case str():
            return part
        case ControlToken():
            return part.text
        case ContentSlot():
            return part.shown(contents)


def _checked_messages(conversation: Conversation) -> list[tuple[str, str]] | CompletionError:
    """The (role, content) pairs of a conversation that can be tried with the template, or what is wrong with it."""
    if not conversation:
        return EMPTY_CONVERSATION
    messages: list[tuple[str, str]] = []
    error: CompletionError | None = None
    for message in conversation:
        # Nearly always a dict, of which Python can tell at once that it is a mapping.
        given: Mapping[str, object] = message if type(message) is dict or isinstance(message, Mapping) else {}
        role, content = given.get("role"), given.get("content")
        if not isinstance(role, str) or role not in _KNOWN_ROLES:
            return UNSUPPORTED_ROLE
        if not isinstance(content, str) or not has_utf8(content):
            error = INVALID_TEXT  # a role that nobody knows, further on, is the graver error
        else:
            messages.append((role, content))
    if role not in _TASKS:
        return UNSUPPORTED_ROLE
    return messages if error is None else error


def has_utf8(text: str) -> bool:
    """Whether a text has a UTF-8 form: no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def specification_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The tokenizer as JSON, without the truncation and padding that callers may have left switched on."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"guard.model {tokenizer.name_or_path!r}: {type(tokenizer).__name__} is no fast tokenizer")
    specification: dict[str, Any] = json.loads(backend.to_str())
    return {**specification, "truncation": None, "padding": None}
