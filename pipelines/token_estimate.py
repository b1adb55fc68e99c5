"""Estimates how many tokens a text has, without a tokenizer: a weight for each UTF-8 byte, tuned on Qwen's own BPE.

Against the true count of 71 short samples the estimate is 0.8 to 1.8 times as high, over 34 languages, code, JSON, URLs
and emoji. It is 0.5 times at worst (the rarest ideographs and syllables; random letters 0.6, base64 0.7), and far too
high only for runs of white space or of one letter.
Weights add up: cutting a text changes nothing but the rounding. Knows nothing of messages or limits.
"""

import string

from pipelines.guard import Conversation

ESTIMATE_VERSION = "1"
UNITS_PER_TOKEN = 16
MIN_CHARACTER_UNITS = 5
TURN_UNITS = 5 * UNITS_PER_TOKEN  # "\n\nASSISTANT: " and what its borders cost


def _weights() -> bytes:
    weight = [0] * 256  # continuation bytes weigh nothing: the lead byte stands for the character

    def put(first: int, last: int, units: int) -> None:
        weight[first : last + 1] = [units] * (last + 1 - first)

    put(0x00, 0x1F, 16)
    put(0x20, 0x7E, 10)
    for characters, units in ((" ", 6), ("\t\n\r", 8), (string.ascii_lowercase, 5), (string.ascii_uppercase, 9)):
        for character in characters:
            weight[ord(character)] = units
    put(ord("0"), ord("9"), 16)  # one token each, always
    put(0x7F, 0x7F, 16)
    put(0xC2, 0xC9, 16)  # Latin with accents
    put(0xCA, 0xCD, 32)  # phonetic letters, combining marks
    put(0xCE, 0xCF, 18)  # Greek
    put(0xD0, 0xD1, 8)  # Cyrillic
    put(0xD2, 0xD6, 20)  # rarer Cyrillic, Armenian
    put(0xD7, 0xD9, 9)  # Hebrew, Arabic
    put(0xDA, 0xDB, 16)  # letters of Persian, Urdu
    put(0xDC, 0xDF, 32)
    put(0xE0, 0xE2, 24)  # India, South-East Asia, Georgian, Ethiopic; symbols and zero-width characters
    put(0xE3, 0xE3, 13)  # kana
    put(0xE4, 0xED, 16)  # ideographs, Hangul
    put(0xEE, 0xEF, 28)
    put(0xF0, 0xF0, 36)
    put(0xF1, 0xF4, 64)
    return bytes(weight)


_WEIGHTS = _weights()
_LIGHTER = (
    (b"\xe0\xb8", 14),  # Thai
    (b"\xe0\xb9", 14),
    (b"\xe1\xba", 14),  # Vietnamese
    (b"\xe1\xbb", 14),
    (b"\xef\xbc", 10),  # full-width forms
    (b"\xf0\x9f", 10),  # emoji
)


def text_units(text: str) -> int:
    """Sixteenths of a token; of two texts together, exactly the sum of both."""
    data = text.encode("utf-8", "surrogatepass")
    units = sum(data.translate(_WEIGHTS))
    if len(data) != len(text):
        units -= sum(less * data.count(pair) for pair, less in _LIGHTER)
    return units


def conversation_units(conversation: Conversation) -> int:
    """Sixteenths of a token of all texts and turns."""
    units = len(conversation) * TURN_UNITS
    for turn in conversation:
        units += text_units(turn["content"])
    return units


def tokens_of(units: int) -> int:
    """Units as whole tokens, rounded up."""
    return -(-units // UNITS_PER_TOKEN)
