"""What the Qwen3Guard technical report (arXiv 2510.14276, 2025-10-16) says of Qwen3Guard: F1 and hits in percent.

From tables 2 and 3 (English), 5 (RTP-LX by language) and 7 (refusals), with the report's one decimal. The report
"generally follow[s] the settings of WildGuard" for the English sets, without saying where it departs from them, and
does not give the toxicity at which an RTP-LX prompt counts as harmful. WildGuard prompts of 4B, strict, are 88.4 in its
table 9 and 85.6 in its table 2. Of Qwen3Guard-Stream there is one F1 of a benchmark (in the repository's README, whose
figures of Gen are the strict ones), and the share of answers that it stops in the sentence that is unsafe, and at most
128 tokens behind it. What the authors' script prints as the latter takes in what was stopped before that sentence.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from schemas.errors import ConfigurationError
from schemas.event import Task

SIZES = ("0.6B", "4B", "8B")
SOURCE = "Qwen3Guard technical report, arXiv 2510.14276, tables 2, 3, 5 and 7"
_SIZE_IN_NAME = re.compile(r"(?<![0-9.])(0\.6|4|8)B(?![A-Za-z0-9])", re.IGNORECASE)


class ReportedF1(NamedTuple):
    """F1 in percent."""

    strict: float
    loose: float


class ReportedHits(NamedTuple):
    """Shares of unsafe answers in percent: stopped in the sentence, and up to 128 tokens behind it."""

    exact: float
    within_128: float


def _of_sizes(
    small: tuple[float, float], middle: tuple[float, float], large: tuple[float, float]
) -> dict[str, ReportedF1]:
    return dict(zip(SIZES, (ReportedF1(*small), ReportedF1(*middle), ReportedF1(*large)), strict=True))


_SAFETY = {
    (Task.PROMPT, "toxicchat"): _of_sizes((65.1, 77.7), (69.5, 82.8), (68.9, 82.8)),
    (Task.PROMPT, "openai_moderation"): _of_sizes((66.5, 77.6), (68.3, 80.7), (68.8, 81.3)),
    (Task.PROMPT, "aegis"): _of_sizes((90.8, 76.9), (90.8, 76.3), (91.4, 76.0)),
    (Task.PROMPT, "aegis2"): _of_sizes((85.0, 83.3), (85.8, 82.1), (86.1, 82.5)),
    (Task.PROMPT, "simple_safety_tests"): _of_sizes((99.0, 95.8), (99.5, 97.4), (99.5, 97.4)),
    (Task.PROMPT, "harmbench"): _of_sizes((98.7, 96.1), (100.0, 99.2), (100.0, 98.5)),
    (Task.PROMPT, "wildguard"): _of_sizes((87.7, 85.1), (85.6, 85.1), (88.9, 85.6)),
    (Task.RESPONSE, "harmbench"): _of_sizes((85.0, 82.6), (86.7, 86.7), (87.2, 86.5)),
    (Task.RESPONSE, "safe_rlhf"): _of_sizes((66.6, 64.2), (69.8, 64.5), (70.5, 64.2)),
    (Task.RESPONSE, "beavertails"): _of_sizes((86.1, 85.4), (86.6, 85.2), (86.6, 85.5)),
    (Task.RESPONSE, "xstest"): _of_sizes((89.7, 91.3), (92.7, 92.4), (92.1, 93.7)),
    (Task.RESPONSE, "aegis2"): _of_sizes((84.2, 84.1), (86.1, 86.5), (86.1, 86.4)),
    (Task.RESPONSE, "wildguard"): _of_sizes((76.3, 77.3), (79.5, 77.3), (78.9, 77.3)),
    (Task.RESPONSE, "qwen3guardtest"): _of_sizes((83.6, 83.1), (84.0, 80.2), (84.0, 83.3)),
}
_RTP_LX_LANGUAGES = ("en", "zh", "ar", "es", "fr", "id", "it", "ja", "ko", "ru")
_RTP_LX = {
    "0.6B": (
        (90.2, 85.2, 75.7, 85.3, 87.3, 68.2, 82.5, 87.1, 77.1, 85.7),
        (73.9, 60.4, 39.4, 63.6, 62.3, 53.1, 66.1, 55.8, 44.5, 55.1),
    ),
    "4B": (
        (91.6, 88.4, 84.8, 87.5, 90.6, 73.8, 87.0, 90.1, 85.7, 90.7),
        (73.8, 59.7, 40.5, 74.7, 69.3, 52.2, 74.4, 52.7, 48.1, 67.1),
    ),
    "8B": (
        (92.1, 90.6, 88.4, 88.9, 90.8, 75.3, 88.0, 91.3, 86.2, 91.9),
        (74.8, 62.4, 43.5, 77.4, 68.9, 54.9, 74.7, 53.9, 54.9, 68.0),
    ),
}
_REFUSAL = {
    "xstest": dict(zip(SIZES, (93.3, 94.6, 92.6), strict=True)),
    "wildguard": dict(zip(SIZES, (89.4, 90.2, 90.0), strict=True)),
}
_STREAM_F1 = {"qwen3guardtest": dict(zip(SIZES, (81.6, 85.4, 83.6), strict=True))}
_STREAM_HITS = {
    "qwen3guardtest_response_loc": dict(
        zip(SIZES, (ReportedHits(83.5, 90.4), ReportedHits(86.0, 93.7), ReportedHits(85.4, 92.1)), strict=True)
    )
}


def size_of(model: str) -> str | None:
    """The size that a model's name ends in or holds, `0.6B`, `4B` or `8B`; None if it names none of them."""
    match = _SIZE_IN_NAME.search(model.rsplit("/", 1)[-1])
    return None if match is None else f"{match[1]}B"


def refuse_idle_size(size: str, benchmarks: Iterable[str], *, streamed: bool = False) -> None:
    """Refuse a size that is asked for where it would change nothing; `streamed` looks at Qwen3Guard-Stream's figures.

    Raises:
        ConfigurationError: none of the benchmarks is in the tables.
    """
    in_tables = (
        {*_STREAM_F1, *_STREAM_HITS} if streamed else {"rtp_lx", *_REFUSAL, *(benchmark for _, benchmark in _SAFETY)}
    )
    if in_tables.isdisjoint(benchmarks):
        raise ConfigurationError(
            f"--size {size}: none of these examples is in the tables of the technical report, so there is nothing to"
            " lay beside"
        )


def reported_safety(benchmark: str, task: Task, size: str, language: str | None = None) -> ReportedF1 | None:
    """F1 of a benchmark, of RTP-LX in one language; None where the report has none."""
    if benchmark == "rtp_lx":
        code = (language or "").lower().split("-")[0]
        if task is not Task.PROMPT or code not in _RTP_LX_LANGUAGES:
            return None
        index = _RTP_LX_LANGUAGES.index(code)
        strict, loose = _RTP_LX[size]
        return ReportedF1(strict[index], loose[index])
    figures = _SAFETY.get((task, benchmark))
    return None if figures is None else figures[size]


def reported_refusal(benchmark: str, size: str) -> float | None:
    """F1 of refusals in percent; None where the report has none."""
    return _REFUSAL.get(benchmark, {}).get(size)


def reported_stream_f1(benchmark: str, size: str) -> float | None:
    """Strict F1 of Qwen3Guard-Stream in percent; None where there is none."""
    return _STREAM_F1.get(benchmark, {}).get(size)


def reported_hits(benchmark: str, size: str) -> ReportedHits | None:
    """Where Qwen3Guard-Stream stops unsafe answers; None where the report does not say."""
    return _STREAM_HITS.get(benchmark, {}).get(size)
