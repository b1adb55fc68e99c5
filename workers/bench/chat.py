"""Chat-length texts for benchmarks: words that mean nothing to any model."""

from random import Random

WORDS = (
    "hey", "team", "who", "is", "up", "for", "the", "raid", "tonight", "i", "think", "patch", "broke", "my", "aim",
    "again", "lol",
)  # fmt: skip


def chat_words(random: Random, fewest: int, most: int) -> list[str]:
    """Between `fewest` and `most` words."""
    return random.choices(WORDS, k=random.randint(fewest, most))
