"""Turns rows of the usual benchmarks, in their published columns, into labelled examples.

A reader returns the examples of one row, or the reason why there are none. Rows are left out as in the evaluation of
WildGuard, whose settings the Qwen3Guard report "generally follow[s]".
"""

from collections.abc import Callable, Iterable, Mapping
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.evaluation.examples import Label, LabelledExample
from pipelines.guard import Conversation
from schemas.verdict import Severity
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
_UNSAFE = Label(Severity.UNSAFE)
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


def severity_of(unsafe: bool) -> Severity:
    """The severity of a label that knows two."""
    return Severity.UNSAFE if unsafe else Severity.SAFE


def _labelled(value: Any, unsafe: str, safe: str) -> Severity:
    """The severity of a label in a benchmark's two words. A third word is not Safe: the row is not of this form."""
    if value not in (unsafe, safe):
        raise ValueError
    return severity_of(value == unsafe)


def prompt(text: Any) -> Conversation:
    """A conversation of one user message."""
    return ({"role": "user", "content": _text(text)},)


def response(question: Any, answer: Any) -> Conversation:
    """A user message and the assistant's answer, which is judged."""
    return ({"role": "user", "content": _text(question)}, {"role": "assistant", "content": _text(answer)})


def is_true(value: Any) -> bool:
    """A truth value as JSON, Parquet and CSV have it."""
    return str(value).strip().lower() in ("true", "1", "1.0", "yes")


def _flag(value: Any) -> bool:
    """A label that is a truth value. Anything else is not Safe: the row is not of this form."""
    if not is_true(value) and str(value).strip().lower() not in ("false", "0", "0.0", "no"):
        raise ValueError
    return is_true(value)


def _is_missing(value: Any) -> bool:
    """Whether JSON (null), CSV (nothing) or a table of numbers (NaN) has no value there."""
    return value is None or value == "" or (isinstance(value, float) and isnan(value))


def _refused(value: Any) -> bool:
    if value not in ("refusal", "compliance"):
        raise ValueError
    return bool(value == "refusal")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError  # str() would make a message of None
    return value


def _set_flags(flags: Any) -> tuple[str, ...]:
    return tuple(name for name, value in flags.items() if value) if isinstance(flags, Mapping) else ()


def _toxicchat(row: Row, source: RowSource) -> Found:
    if not is_true(row["human_annotation"]):
        return "not annotated by people"
    label = Label(severity_of(_flag(row["toxicity"])))
    return [LabelledExample(source.name(), "toxicchat", prompt(row["user_input"]), label)]


def _openai_moderation(row: Row, source: RowSource) -> Found:
    categories = tuple(name for code, name in _OPENAI.items() if not _is_missing(row.get(code)) and _flag(row[code]))
    label = Label(severity_of(bool(categories)), categories=categories)
    return [LabelledExample(source.name(), "openai_moderation", prompt(row["prompt"]), label)]


def _aegis(row: Row, source: RowSource) -> Found:
    if row["text_type"] != "user_message":
        return "not a user message"
    votes = [row[f"labels_{voter}"] for voter in range(3)]
    label = Label(severity_of(votes.count("Safe") < _AEGIS_MAJORITY))
    return [LabelledExample(source.name(), "aegis", prompt(row["text"].strip()), label)]


def _aegis2(row: Row, source: RowSource) -> Found:
    if row["prompt"] == "REDACTED":  # texts of another data set, which its owner has to add
        return "redacted"
    categories = tuple(name for part in (row["violated_categories"] or "").split(",") if (name := part.strip()))
    found = []
    if row["prompt_label"]:
        label = Label(_labelled(row["prompt_label"], "unsafe", "safe"), categories=categories)
        found.append(LabelledExample(source.name("prompt"), "aegis2", prompt(row["prompt"]), label))
    if row.get("response_label") and row.get("response") is not None:
        label = Label(_labelled(row["response_label"], "unsafe", "safe"), categories=categories)
        turns = response(row["prompt"], row["response"])
        found.append(LabelledExample(source.name("response"), "aegis2", turns, label))
    return found or "no label"


def _simple_safety_tests(row: Row, source: RowSource) -> Found:
    label = Label(Severity.UNSAFE, categories=(str(row["harm_area"]),))
    return [LabelledExample(source.name(), "simple_safety_tests", prompt(row["prompt"]), label)]


def _harmbench_prompts(row: Row, source: RowSource) -> Found:
    if row["FunctionalCategory"] not in ("standard", "copyright"):
        return "needs a context"
    label = Label(Severity.UNSAFE, categories=(str(row["SemanticCategory"]),))
    return [LabelledExample(source.name(), "harmbench", prompt(row["Behavior"]), label)]


def _harmbench_responses(row: Row, source: RowSource) -> Found:
    votes = sum(_flag(row[f"human_{voter}"]) for voter in range(3))
    turns = response(row["test_case"], row["generation"])
    return [LabelledExample(source.name(), "harmbench", turns, Label(severity_of(votes > 1)))]


def _beavertails(row: Row, source: RowSource) -> Found:
    label = Label(severity_of(not _flag(row["is_safe"])), categories=_set_flags(row.get("category")))
    return [LabelledExample(source.name(), "beavertails", response(row["prompt"], row["response"]), label)]


def _safe_rlhf(row: Row, source: RowSource) -> Found:
    if _flag(row["is_response_0_safe"]) == _flag(row["is_response_1_safe"]):
        return "both responses have one label"
    found = []
    for side in range(2):
        unsafe = not _flag(row[f"is_response_{side}_safe"])
        label = Label(severity_of(unsafe), categories=_set_flags(row.get(f"response_{side}_harm_category")))
        turns = response(row["prompt"], row[f"response_{side}"])
        found.append(LabelledExample(source.name(str(side)), "safe_rlhf", turns, label))
    return found


def _xstest_prompts(row: Row, source: RowSource) -> Found:
    known = _labelled(row["label"], "unsafe", "safe") if row.get("label") else severity_of("contrast" in row["type"])
    label = Label(known, categories=(str(row["type"]),))
    return [LabelledExample(source.name(), "xstest", prompt(row["prompt"]), label)]


def _xstest_responses(row: Row, source: RowSource) -> Found:
    if row["label"] in ("harmful", "unharmful"):
        label = Label(severity_of(row["label"] == "harmful"))
    else:
        label = Label(None, refusal=_refused(row["label"]))
    return [LabelledExample(source.name(), "xstest", response(row["prompt"], row["response"]), label)]


def _wildguard(row: Row, source: RowSource) -> Found:
    categories = (str(row["subcategory"]),) if row.get("subcategory") else ()
    found = []
    if row["prompt_harm_label"]:
        label = Label(_labelled(row["prompt_harm_label"], "harmful", "unharmful"), categories=categories)
        found.append(LabelledExample(source.name("prompt"), "wildguard", prompt(row["prompt"]), label))
    harm, refusal = row.get("response_harm_label"), row.get("response_refusal_label")
    if row.get("response") and (harm or refusal):
        severity = _labelled(harm, "harmful", "unharmful") if harm else None
        label = Label(severity, _refused(refusal) if refusal else None, categories)
        turns = response(row["prompt"], row["response"])
        found.append(LabelledExample(source.name("response"), "wildguard", turns, label))
    return found or "no label"


def _rtp_lx(row: Row, source: RowSource) -> Found:
    annotations = row["PromptAnnotations"]
    toxicity = annotations.get("Toxicity") if isinstance(annotations, Mapping) else None
    if toxicity is None or _is_missing(toxicity) or row["Prompt"] is None:
        return "no label"
    # The scale starts at 1 for not toxic. Files are named RTP_LX_EN.json; the hub's rows name their locale.
    locale = str(row.get("Locale") or source.path.name.split(".")[0].rsplit("_", 1)[-1])
    categories = tuple(name for name, value in annotations.items() if name != "Toxicity" and (value or 0) > 1)
    label = Label(severity_of(float(toxicity) > 1), categories=categories)
    return [LabelledExample(source.name(), "rtp_lx", prompt(row["Prompt"]), label, locale.lower())]


def _qwen3guardtest(row: Row, source: RowSource) -> Found:
    turns: Conversation = tuple({"role": turn["role"], "content": _text(turn["content"])} for turn in row["message"])
    if not turns:
        return "no message"
    # The splits with the position of the unsafe sentence hold unsafe examples only; the report's F1 is of the other,
    # and its hits are of the answers without thinking.
    benchmark = "qwen3guardtest"
    if "_loc" in source.path.name:
        benchmark += "_thinking_loc" if "</think>" in turns[-1]["content"] else "_response_loc"
    category = row.get("unsafe_type")
    label = Label(_labelled(row["label"], "Unsafe", "Safe"), categories=(str(category),) if category else ())
    start, end = row.get("unsafe_start_index"), row.get("unsafe_end_index")
    sentence = (
        None if start is None or _is_missing(start) or end is None or _is_missing(end) else (int(start), int(end))
    )
    return [LabelledExample(source.name(), benchmark, turns, label, unsafe_ids=sentence)]


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
