"""How fast prompts are rendered and tokenised, with a made-up tokenizer and template of the real sizes.

The real ones need a download. The vocabulary's size, the way text is split, the prompts' token counts and the shape of
the template are the real ones; words and text are made up. Knows nothing of models.
"""

import os
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from random import Random
from string import ascii_lowercase
from typing import Any, Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from workers.bench.engine.shapes import FRAMES, REPLY_TOKENS, message_lengths
from workers.serving.engine.completion import Conversation, PreparedPrompt, Task
from workers.serving.engine.prompt import PromptBuilder

# Of Qwen3: entries of its BPE, how it splits text before that, and its control tokens as far as a prompt has them.
RANKS: Final = 151_643
_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_ADDED: Final = ("<think>", "</think>")
_SPACE, _LINE_END = "\u0120", "\u010a"  # as byte-level BPE writes them
_LONGEST_WORD: Final = 10
# As many as a stream worker sends in one call.
_CALL: Final = 64
_TEMPLATE_WORDS: Final = 1_000
_CHAT_WORDS: Final = 5_000
_WORDS_OF_A_LINE: Final = 14
# Tokens of the ends of prompts that are not words; see `_template`.
_OPENING: Final = 1
_CLOSING: Final = 9


class MadeUpTokenizer:
    """Byte-level BPE of `ranks` entries: the bytes, and random words each of which is one token behind a space."""

    def __init__(self, ranks: int) -> None:
        self._random = Random(11)
        self.words = self._made_up(ranks - 256 - 1)
        entries = {letter: code for code, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        merges = [(_LINE_END, _LINE_END), *((f"{_SPACE}{word[:-1]}", word[-1]) for word in self.words)]
        for start, end in merges:
            entries[start + end] = len(entries)
        backend = Tokenizer(models.BPE(entries, merges))
        backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in _SPECIAL])
        backend.add_tokens([AddedToken(text, normalized=False, special=False) for text in _ADDED])
        self.backend = backend

    def builder(self) -> PromptBuilder:
        """What engines render and tokenise with."""
        tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=self.backend, eos_token="<|im_end|>")
        tokenizer.chat_template = self._template()
        return PromptBuilder(tokenizer)

    def conversations(self, task: Task, lengths: Sequence[int]) -> list[Conversation]:
        """Conversations with last user messages of the given lengths in tokens; words repeat as in any language."""
        common = self.words[:_CHAT_WORDS]
        weights = list(accumulate(1 / rank for rank in range(1, len(common) + 1)))

        def text(tokens: int) -> str:
            return " ".join(self._random.choices(common, cum_weights=weights, k=tokens))

        reply = [("assistant", REPLY_TOKENS)] if task == "response" else []
        return [
            [{"role": role, "content": text(tokens)} for role, tokens in [("user", length), *reply]]
            for length in lengths
        ]

    def _made_up(self, count: int) -> list[str]:
        """Words that are a letter, or an earlier word and a letter, so that merging from the left makes them all."""
        words = list(ascii_lowercase[:count])
        known = set(words)
        while len(words) < count:
            word = self._random.choice(words) + self._random.choice(ascii_lowercase)
            if len(word) <= _LONGEST_WORD and word not in known:
                known.add(word)
                words.append(word)
        return words

    def _template(self) -> str:
        (prompt_start, prompt_end), (response_start, response_end) = (FRAMES[task] for task in ("prompt", "response"))
        last_is_reply = "{% if messages[-1].role == 'assistant' %}"
        return (
            f"<|im_start|>{last_is_reply}{self._text(response_start - _OPENING)}"
            f"{{% else %}}{self._text(prompt_start - _OPENING)}{{% endif %}}"
            "{% for message in messages %}{% if message.role == 'assistant' %}"
            f"{self._text(4)}{{% endif %}} {{{{ message.content }}}}\n\n{{% endfor %}}"
            f"{last_is_reply}{self._text(response_end - _CLOSING)}"
            f"{{% else %}}{self._text(prompt_end - _CLOSING)}{{% endif %}}"
            f"<|im_end|>\n<|im_start|>{self._text(1)}\n<think>\n\n</think>\n\n"
        )

    def _text(self, tokens: int) -> str:
        """Words of `tokens` tokens in all, with a line end, which has two, now and then."""
        lines, rest = divmod(tokens, _WORDS_OF_A_LINE + 2)
        words = [
            f" {word}" for word in self._random.choices(self.words[:_TEMPLATE_WORDS], k=lines * _WORDS_OF_A_LINE + rest)
        ]
        full = range(0, lines * _WORDS_OF_A_LINE, _WORDS_OF_A_LINE)
        return "".join(f"{''.join(words[at : at + _WORDS_OF_A_LINE])}.\n" for at in full) + "".join(
            words[-rest:] if rest else ()
        )


class Tokenising:
    """Conversations of chat's lengths, to be rendered and tokenised with a made-up tokenizer."""

    def __init__(self, task: Task, conversations: int) -> None:
        made_up = MadeUpTokenizer(RANKS)
        self.backend = made_up.backend
        self._builder = made_up.builder()
        self._chats = made_up.conversations(task, message_lengths(conversations, mean=10, mixed=True))

    def __len__(self) -> int:
        return len(self._chats)

    def run(self, threads: int) -> list[int]:
        """Prepare all of them in `threads` threads of this process; returns the prompts' tokens, in no order."""
        if threads == 1:
            return self._prepared(self._chats)
        with ThreadPoolExecutor(threads) as pool:
            shares = [self._chats[start::threads] for start in range(threads)]
            return [tokens for share in pool.map(self._prepared, shares) for tokens in share]

    def description(self) -> dict[str, object]:
        """What was used, for the report."""
        return {
            "tokenizer": f"made up: byte-level BPE of {self.backend.get_vocab_size()} entries, split as Qwen's",
            "prompt_tokens": statistics.median(self.run(1)),
            "cores": os.cpu_count(),
        }

    def _prepared(self, chats: Sequence[Conversation]) -> list[int]:
        prompts = [
            prompt
            for start in range(0, len(chats), _CALL)
            for prompt in self._builder.prepare_all(chats[start : start + _CALL])
        ]
        return [len(prompt) for prompt in prompts if isinstance(prompt, PreparedPrompt)]
