"""Tries the parser with mutated model outputs: none that is off the grammar may pass, or P3 is broken.

Does not print; `weir bench parser` does.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.guard_parser import Classification, parse_verdict
from schemas.errors import UnparsableOutputError
from schemas.event import Task
from workers.bench.parser.verdict_grammar import CATEGORIES, PROMPT_ONLY, SEVERITIES, Reading, read_by_grammar

PROGRESS_STEP = 10_000
_LOOK_ALIKES = str.maketrans("SaeCoitUnPYsfyR: ,\n", "ЅаеСоіtUոРҮѕƒуᖇ：\u00a0，\u2028")
_JUNK = (
    "\n", " ", "\t", "\r", "\r\n", "\x00", "\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\u200b", "\u00a0",
    "\ufeff", "\u0301", "\ufe0f", "\ud800", "**", "`", "```", "# ", "- ", "> ", ",", ", ", ".", ":", "None", ", None",
    "Safe", "<|im_end|>", "<think>\n\n</think>\n\n", "Safety: Safe", "Safety: Safe\nCategories: None",
    "\nRefusal: Yes", "\nRefusal: No", "PII",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ParserFuzzResult:
    """Counts of one run.

    Attributes:
        count: outputs tried.
        on_grammar: those that the reference grammar accepts, since a mutation can hit another verdict.
        off_grammar_accepted: accepted by the parser and not by the reference grammar.
        read_differently: accepted by both, with another severity, category list or refusal.
        on_grammar_rejected: accepted by the reference grammar only.
    """

    count: int
    on_grammar: int
    off_grammar_accepted: int
    read_differently: int
    on_grammar_rejected: int

    @property
    def passed(self) -> bool:
        """True where parser and reference grammar agreed every time."""
        return not (self.off_grammar_accepted or self.read_differently or self.on_grammar_rejected)


Parser = Callable[[str, Task], Classification]


def run(
    count: int,
    seed: int,
    on_progress: Callable[[int], None] | None = None,
    parser: Parser = parse_verdict,
) -> ParserFuzzResult:
    """Try `count` outputs; the same ones for the same seed.

    Args:
        count: how many.
        seed: of the mutations.
        on_progress: called with the number tried so far, every `PROGRESS_STEP`.
        parser: what is tried; another one in tests of this function itself.
    """
    source = random.Random(seed)
    on_grammar = accepted_off = differently = rejected = 0
    for tried in range(1, count + 1):
        text, task = mutated_output(source)
        expected = read_by_grammar(text, response=task is Task.RESPONSE)
        on_grammar += expected is not None
        try:
            read = _as_reading(parser(text, task))
        except UnparsableOutputError:
            rejected += expected is not None
        else:
            accepted_off += expected is None
            differently += expected is not None and read != expected
        if on_progress is not None and tried % PROGRESS_STEP == 0:
            on_progress(tried)
    return ParserFuzzResult(count, on_grammar, accepted_off, differently, rejected)


def mutated_output(source: random.Random) -> tuple[str, Task]:
    """One output, mutated up to three times, or once in twenty not at all; and the task it is read for."""
    task = source.choice((Task.PROMPT, Task.RESPONSE))
    # Rarely the other task's grammar, which its number of lines alone gets refused.
    text = valid_output(source, task if source.random() < 0.9 else source.choice((Task.PROMPT, Task.RESPONSE)))
    if source.random() < 0.05:
        return text, task
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        text = source.choice(_MUTATIONS)(text, source)
    return text, task


def valid_output(source: random.Random, task: Task) -> str:
    """One text of the grammar, with one category nearly always."""
    severity = source.choice(SEVERITIES)
    known = CATEGORIES if task is Task.RESPONSE else (*CATEGORIES, PROMPT_ONLY)
    listed = source.sample(known, source.choice((1, 1, 1, 1, 2, 3, len(known))))
    categories = "None" if severity == "Safe" else ", ".join(listed)
    text = f"Safety: {severity}\nCategories: {categories}"
    return text + f"\nRefusal: {source.choice(('Yes', 'No'))}" if task is Task.RESPONSE else text


def _as_reading(read: Classification) -> Reading:
    refusal = None if read.refusal is None else "Yes" if read.refusal else "No"
    return Reading(str(read.severity), tuple(map(str, read.categories)), refusal)


def _delete(text: str, source: random.Random) -> str:
    at, length = source.randint(0, len(text)), source.choice((1, 1, 1, 2, 5))
    return text[:at] + text[at + length :]


def _insert(text: str, source: random.Random) -> str:
    at = source.randint(0, len(text))
    return text[:at] + source.choice(_JUNK) + text[at:]


def _surround(text: str, source: random.Random) -> str:
    junk = source.choice(_JUNK)
    return source.choice((text + junk, junk + text, junk + text + junk))


def _replace(text: str, source: random.Random) -> str:
    at = source.randint(0, len(text))
    return text[:at] + chr(source.randint(1, 0x2FF)) + text[at + 1 :]


def _duplicate(text: str, source: random.Random) -> str:
    at, length = source.randint(0, len(text)), source.choice((1, 2, 8, 30))
    return text[: at + length] + text[at:]


def _swap(text: str, source: random.Random) -> str:
    at = source.randint(0, len(text))
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def _flip_case(text: str, source: random.Random) -> str:
    at = source.randint(0, len(text))
    return source.choice((text.lower(), text.upper(), text[:at] + text[at : at + 1].swapcase() + text[at + 1 :]))


def _look_alike(text: str, source: random.Random) -> str:
    at = source.randint(0, len(text))
    return text[:at] + text[at : at + 1].translate(_LOOK_ALIKES) + text[at + 1 :]


def _change_lines(text: str, source: random.Random) -> str:
    lines = text.split("\n")
    at, other = source.randrange(len(lines)), source.randrange(len(lines))
    match source.randrange(3):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case _:
            lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines)


def _other_line_ends(text: str, source: random.Random) -> str:
    return text.replace("\n", source.choice(("\r\n", "\r", "\n\n", " \n", "\u2028", "\x85", " ", "")))


def _as_markdown(text: str, source: random.Random) -> str:
    return source.choice(("**{}**", "```\n{}\n```", "- {}", "> {}", "`{}`", "{}\n", " {}", "# {}")).format(text)


def _concatenate(text: str, source: random.Random) -> str:
    other = valid_output(source, source.choice((Task.PROMPT, Task.RESPONSE)))
    return text + source.choice(("", "\n", "\n\n", " ", ", ")) + other


def _trade_words(text: str, source: random.Random) -> str:
    words = (*SEVERITIES, *CATEGORIES, PROMPT_ONLY, "None", "Yes", "No")
    found = [word for word in words if word in text]
    return text.replace(source.choice(found), source.choice(words), 1) if found else text


def _cut_off(text: str, source: random.Random) -> str:
    return text[: source.randint(0, len(text))]


_MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (
    _delete, _insert, _surround, _replace, _duplicate, _swap, _flip_case, _look_alike, _change_lines, _other_line_ends,
    _as_markdown, _concatenate, _trade_words, _cut_off,
)  # fmt: skip
