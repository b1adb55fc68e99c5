"""The tiny model's tokenizer: a small byte-level BPE built like Qwen's, with Qwen's control tokens after it.

Does not know how the model is trained; `MessageEncoder` is how training and the engines turn conversations into ids.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen's pre-tokenizer: it is what makes the boundary law (fixed text around a message) hold."""

SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
ADDED_TOKENS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
"""Qwen3's control tokens in Qwen3's order: the first group is special, the second is not (also not `<think>`)."""

Conversation = Sequence[Mapping[str, str]]


def build_tokenizer(texts: Iterable[str], vocab_size: int, template: str) -> PreTrainedTokenizerFast:
    """Train the BPE on `texts` and return the tokenizer; `vocab_size` counts the 26 control tokens too."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(SPECIAL_TOKENS) - len(ADDED_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    bpe.add_tokens([AddedToken(token, normalized=False, special=False) for token in ADDED_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=32768,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        chat_template=template,
    )


def plain_tokenizer(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """Return the tokenizer without its control tokens: `<|im_end|>` and `<think>` become ordinary characters."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    parts["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(parts))


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Read a saved tokenizer and its chat template."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


class MessageEncoder:
    """Encodes conversations as the engines do: control tokens only where the template puts them."""

    _PROBE = "\u2402probe\u2403"

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._plain = plain_tokenizer(tokenizer)
        self._text: dict[bool, tuple[str, str]] = {}
        self.prefix: dict[bool, list[int]] = {}
        self.tail: dict[bool, list[int]] = {}
        for response in (False, True):
            turns = [{"role": "user", "content": self._PROBE}]
            turns += [{"role": "assistant", "content": self._PROBE}] * response
            rendered = self._render(turns)
            head, rest = rendered.split(f" {self._PROBE}", 1)
            tail = rest.rsplit(f"{self._PROBE}\n\n" if response else "\n\n<END", 1)[1]
            tail = tail if response else f"<END{tail}"
            self._text[response] = head, tail
            self.prefix[response] = tokenizer.encode(head, add_special_tokens=False)
            self.tail[response] = tokenizer.encode(tail, add_special_tokens=False)

    def _render(self, conversation: Conversation) -> str:
        text = self._tokenizer.apply_chat_template([dict(turn) for turn in conversation], tokenize=False)
        assert isinstance(text, str)
        return text

    def is_response(self, conversation: Conversation) -> bool:
        """Return which branch of the template the conversation takes."""
        return conversation[-1]["role"] == "assistant"

    def own_ids(self, conversation: Conversation) -> list[int]:
        """Return the ids between the branch's fixed prefix and tail; the first turn must not be the assistant's."""
        head, tail = self._text[self.is_response(conversation)]
        return self._plain.encode(self._render(conversation)[len(head) : -len(tail)]).ids

    def answer_ids(self, answer: str) -> list[int]:
        """Return the ids of an answer with the end token."""
        end = self._tokenizer.eos_token_id
        assert isinstance(end, int)
        return [*self._plain.encode(answer).ids, end]

    def ids(self, conversation: Conversation) -> list[int]:
        """Return the whole prompt."""
        response = self.is_response(conversation)
        return self.prefix[response] + self.own_ids(conversation) + self.tail[response]
