"""Turns rows of the usual benchmarks, in their published columns, into labelled examples.

A reader returns the examples of one row, or the reason why there are none. Rows are left out as in the evaluation of
WildGuard, whose settings the Qwen3Guard report "generally follow[s]".
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.evaluation.examples import Label, LabelledExample
from pipelines.guard import Conversation
from schemas.verdict import Severity
from workers.evaluation.benchmark_values import (
    category,
    flag,
    is_missing,
    is_true,
    labelled,
    not_as_needed,
    place_of,
    refused,
    severity_of,
    text,
    text_if_any,
    turns_of,
    wrong,
)
from workers.evaluation.row_files import Row

Found = list[LabelledExample] | str


class RowSource(NamedTuple):
    """Where a row stands; examples are named after it, because not all benchmarks have ids of their own.

    `file` is the file's name among those that are read.
    """

    path: Path
    number: int
    file: str = ""

    def name(self, part: str = "") -> str:
        """The id of an example made of this row."""
        return f"{self.file or self.path.name}:{self.number}{part and '/'}{part}"


Reader = Callable[[Row, RowSource], Found]
_OPENAI = {
    "S": "sexual",
    "H": "hate",
    "V": "violence",
    "HR": "harassment",
    "SH": "self-harm",
    "S3": "sexual/minors",
    "H2": "hate/threatening",
    "V2": "violence/graphic",
}
_AEGIS_MAJORITY = 2


def prompt(text: str) -> Conversation:
    """A conversation of one user message."""
    return ({"role": "user", "content": text},)


def response(question: str, answer: str) -> Conversation:
    """A user message and the assistant's answer, which is judged."""
    return ({"role": "user", "content": question}, {"role": "assistant", "content": answer})


def _set_flags(flags: Any) -> tuple[str, ...]:
    return tuple(name for name, value in flags.items() if value) if isinstance(flags, Mapping) else ()


def _toxicchat(row: Row, source: RowSource) -> Found:
    if not is_true(row["human_annotation"]):
        return "not annotated by people"
    label = Label(severity_of(flag(row, "toxicity")))
    return [LabelledExample(source.name(), "toxicchat", prompt(text(row, "user_input")), label)]


def _openai_moderation(row: Row, source: RowSource) -> Found:
    categories = tuple(name for code, name in _OPENAI.items() if not is_missing(row.get(code)) and flag(row, code))
    label = Label(severity_of(bool(categories)), categories=categories)
    return [LabelledExample(source.name(), "openai_moderation", prompt(text(row, "prompt")), label)]


def _aegis(row: Row, source: RowSource) -> Found:
    if row["text_type"] != "user_message":
        return "not a user message"
    votes = [row[f"labels_{voter}"] for voter in range(3)]
    label = Label(severity_of(votes.count("Safe") < _AEGIS_MAJORITY))
    return [LabelledExample(source.name(), "aegis", prompt(text(row, "text").strip()), label)]


def _aegis2(row: Row, source: RowSource) -> Found:
    if row["prompt"] == "REDACTED":  # texts of another data set, which its owner has to add
        return "redacted"
    categories = tuple(name for part in text_if_any(row, "violated_categories").split(",") if (name := part.strip()))
    found = []
    if not is_missing(row["prompt_label"]):
        label = Label(labelled(row, "prompt_label", "unsafe", "safe"), categories=categories)
        found.append(LabelledExample(source.name("prompt"), "aegis2", prompt(text(row, "prompt")), label))
    if not is_missing(row.get("response_label")) and row.get("response") is not None:
        label = Label(labelled(row, "response_label", "unsafe", "safe"), categories=categories)
        turns = response(text(row, "prompt"), text(row, "response"))
        found.append(LabelledExample(source.name("response"), "aegis2", turns, label))
    return found or "no label"


def _simple_safety_tests(row: Row, source: RowSource) -> Found:
    label = Label(Severity.UNSAFE, categories=category(row, "harm_area"))
    return [LabelledExample(source.name(), "simple_safety_tests", prompt(text(row, "prompt")), label)]


def _harmbench_prompts(row: Row, source: RowSource) -> Found:
    if row["FunctionalCategory"] not in ("standard", "copyright"):
        return "needs a context"
    label = Label(Severity.UNSAFE, categories=category(row, "SemanticCategory"))
    return [LabelledExample(source.name(), "harmbench", prompt(text(row, "Behavior")), label)]


def _harmbench_responses(row: Row, source: RowSource) -> Found:
    votes = sum(flag(row, f"human_{voter}") for voter in range(3))
    turns = response(text(row, "test_case"), text(row, "generation"))
    return [LabelledExample(source.name(), "harmbench", turns, Label(severity_of(votes > 1)))]


def _beavertails(row: Row, source: RowSource) -> Found:
    label = Label(severity_of(not flag(row, "is_safe")), categories=_set_flags(row.get("category")))
    turns = response(text(row, "prompt"), text(row, "response"))
    return [LabelledExample(source.name(), "beavertails", turns, label)]


def _safe_rlhf(row: Row, source: RowSource) -> Found:
    if flag(row, "is_response_0_safe") == flag(row, "is_response_1_safe"):
        return "both responses have one label"
    found = []
    for side in range(2):
        unsafe = not flag(row, f"is_response_{side}_safe")
        label = Label(severity_of(unsafe), categories=_set_flags(row.get(f"response_{side}_harm_category")))
        turns = response(text(row, "prompt"), text(row, f"response_{side}"))
        found.append(LabelledExample(source.name(str(side)), "safe_rlhf", turns, label))
    return found


def _xstest_prompts(row: Row, source: RowSource) -> Found:
    kind = text(row, "type")
    is_labelled = not is_missing(row.get("label"))
    known = labelled(row, "label", "unsafe", "safe") if is_labelled else severity_of("contrast" in kind)
    label = Label(known, categories=(kind,))
    return [LabelledExample(source.name(), "xstest", prompt(text(row, "prompt")), label)]


def _xstest_responses(row: Row, source: RowSource) -> Found:
    if row["label"] in ("harmful", "unharmful"):
        label = Label(severity_of(row["label"] == "harmful"))
    else:
        label = Label(None, refusal=refused(row, "label"))
    turns = response(text(row, "prompt"), text(row, "response"))
    return [LabelledExample(source.name(), "xstest", turns, label)]


def _wildguard(row: Row, source: RowSource) -> Found:
    categories = category(row, "subcategory")
    found = []
    if not is_missing(row["prompt_harm_label"]):
        label = Label(labelled(row, "prompt_harm_label", "harmful", "unharmful"), categories=categories)
        found.append(LabelledExample(source.name("prompt"), "wildguard", prompt(text(row, "prompt")), label))
    has_harm, has_refusal = (
        not is_missing(row.get(column)) for column in ("response_harm_label", "response_refusal_label")
    )
    if row.get("response") and (has_harm or has_refusal):
        severity = labelled(row, "response_harm_label", "harmful", "unharmful") if has_harm else None
        label = Label(severity, refused(row, "response_refusal_label") if has_refusal else None, categories)
        turns = response(text(row, "prompt"), text(row, "response"))
        found.append(LabelledExample(source.name("response"), "wildguard", turns, label))
    return found or "no label"


def _rtp_lx(row: Row, source: RowSource) -> Found:
    annotations = row["PromptAnnotations"]
    toxicity = annotations.get("Toxicity") if isinstance(annotations, Mapping) else None
    if toxicity is None or is_missing(toxicity) or row["Prompt"] is None:
        return "no label"
    # The scale starts at 1 for not toxic. Files are named RTP_LX_EN.json; the hub's rows name their locale.
    locale = str(row.get("Locale") or source.path.name.split(".")[0].rsplit("_", 1)[-1])
    above = [name for name in annotations if _is_above_one(annotations, name)]
    label = Label(severity_of("Toxicity" in above), categories=tuple(name for name in above if name != "Toxicity"))
    return [LabelledExample(source.name(), "rtp_lx", prompt(text(row, "Prompt")), label, locale.lower())]


def _is_above_one(annotations: Mapping[str, Any], name: str) -> bool:
    value = annotations[name]
    try:
        return not is_missing(value) and float(value) > 1
    except (TypeError, ValueError):
        raise not_as_needed(f"PromptAnnotations.{name}", "a number", value) from None


def _qwen3guardtest(row: Row, source: RowSource) -> Found:
    turns = turns_of(row["message"])
    if isinstance(turns, str):
        raise wrong("message", turns)
    severity = labelled(row, "label", "Unsafe", "Safe")
    sentence = place_of(row, ("unsafe_start_index", "unsafe_end_index"))
    # The splits with the place of the unsafe sentence hold unsafe examples only; the report's F1 is of the other, and
    # its hits are of the answers without thinking.
    benchmark = "qwen3guardtest"
    if sentence is not None:
        if severity is Severity.SAFE or turns[-1]["role"] != "assistant":
            raise wrong("unsafe_start_index", "only an answer that is Unsafe has one")
        benchmark += "_thinking_loc" if "</think>" in turns[-1]["content"] else "_response_loc"
    label = Label(severity, categories=category(row, "unsafe_type"), unsafe_ids=sentence)
    return [LabelledExample(source.name(), benchmark, turns, label)]


class Format(NamedTuple):
    """A benchmark's columns, by which it is known, and what reads its rows."""

    name: str
    columns: frozenset[str]
    read: Reader


FORMATS = (
    Format("toxicchat", frozenset({"user_input", "human_annotation", "toxicity"}), _toxicchat),
    Format("aegis", frozenset({"text", "text_type", "labels_0", "labels_1", "labels_2"}), _aegis),
    Format("aegis2", frozenset({"prompt", "prompt_label", "violated_categories"}), _aegis2),
    Format("simple_safety_tests", frozenset({"prompt", "harm_area"}), _simple_safety_tests),
    Format("harmbench", frozenset({"Behavior", "FunctionalCategory", "SemanticCategory"}), _harmbench_prompts),
    Format(
        "harmbench_responses",
        frozenset({"test_case", "generation", "human_0", "human_1", "human_2"}),
        _harmbench_responses,
    ),
    Format("beavertails", frozenset({"prompt", "response", "is_safe"}), _beavertails),
    Format(
        "safe_rlhf",
        frozenset({"prompt", "response_0", "response_1", "is_response_0_safe", "is_response_1_safe"}),
        _safe_rlhf,
    ),
    Format("xstest", frozenset({"prompt", "type", "focus", "note"}), _xstest_prompts),
    Format("xstest_responses", frozenset({"prompt", "response", "label", "prompt_type"}), _xstest_responses),
    Format("wildguard", frozenset({"prompt", "prompt_harm_label", "response_harm_label"}), _wildguard),
    Format("rtp_lx", frozenset({"Prompt", "PromptAnnotations"}), _rtp_lx),
    Format("qwen3guardtest", frozenset({"message", "label", "unique_id"}), _qwen3guardtest),
    # Last: any of the eight may be missing, and all of them are.
    Format("openai_moderation", frozenset({"prompt"}), _openai_moderation),
)


def format_of(names: Iterable[str]) -> Format | None:
    """The benchmark that has these columns; None if none has."""
    columns = set(names)
    for known in FORMATS[:-1]:
        if known.columns <= columns:
            return known
    others = columns - {"prompt"}
    return FORMATS[-1] if "prompt" in columns and others and others <= set(_OPENAI) else None
