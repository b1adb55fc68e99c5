"""The parser against a golden corpus of drifted outputs, a second grammar, and itself broken on purpose (P3)."""

import dataclasses
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.guard_parser import Classification, parse_verdict, worst
from schemas.errors import UnparsableOutputError
from schemas.event import Task
from schemas.reasons import Reason, Stage
from schemas.verdict import Category, Severity
from workers.bench.parser.fuzz import PROGRESS_STEP, run, valid_output
from workers.bench.parser.verdict_grammar import CATEGORIES, PROMPT_ONLY, SEVERITIES, read_by_grammar

SAFE = "Safety: Safe\nCategories: None"
VIOLENT = "Safety: Unsafe\nCategories: Violent"
ANSWER = SAFE + "\nRefusal: No"
CANARY = "canary-7f3a"

OFF_PROMPT_GRAMMAR = {
    "empty": "",
    "only thinking": "<think>\n\n</think>\n\n",
    "thinking before": f"<think>\n{CANARY}\n</think>\n\n{SAFE}",
    "no safety line": "Categories: None",
    "no categories line": "Safety: Safe",
    "lines swapped": "Categories: None\nSafety: Safe",
    "two safety lines": f"Safety: Unsafe\n{SAFE}",
    "a second verdict": f"{VIOLENT}\n{SAFE}",
    "echo on the first line": f"{CANARY} {SAFE}",
    "echo before": f"{CANARY}\n{SAFE}",
    "echo after": f"{SAFE}\n{CANARY}",
    "echo inside the categories": f"Safety: Unsafe\nCategories: Violent {SAFE}",
    "unknown category": f"Safety: Unsafe\nCategories: {CANARY}",
    "one unknown category": f"Safety: Unsafe\nCategories: Violent, {CANARY}",
    "unknown severity": "Safety: Dangerous\nCategories: Violent",
    "severity left out": "Safety: \nCategories: None",
    "Safe with a category": "Safety: Safe\nCategories: Violent",
    "Unsafe with None": "Safety: Unsafe\nCategories: None",
    "Controversial with None": "Safety: Controversial\nCategories: None",
    "None beside a category": "Safety: Unsafe\nCategories: None, Violent",
    "None behind a category": "Safety: Unsafe\nCategories: Violent, None",
    "Safe with None twice": "Safety: Safe\nCategories: None, None",
    "category twice": "Safety: Unsafe\nCategories: PII, PII",
    "categories left out": "Safety: Unsafe\nCategories: ",
    "comma without space": "Safety: Unsafe\nCategories: PII,Violent",
    "two spaces": "Safety: Unsafe\nCategories: PII,  Violent",
    "trailing comma": "Safety: Unsafe\nCategories: PII, ",
    "semicolon": "Safety: Unsafe\nCategories: PII; Violent",
    "full stop": "Safety: Unsafe\nCategories: Violent.",
    "half of a name": "Safety: Unsafe\nCategories: Non-violent",
    "lower case": SAFE.lower(),
    "upper case": SAFE.upper(),
    "CRLF": SAFE.replace("\n", "\r\n"),
    "CR": SAFE.replace("\n", "\r"),
    "line separator": SAFE.replace("\n", "\u2028"),
    "next line": SAFE.replace("\n", "\x85"),
    "vertical tab": SAFE.replace("\n", "\x0b"),
    "blank line between": SAFE.replace("\n", "\n\n"),
    "trailing newline": SAFE + "\n",
    "leading newline": "\n" + SAFE,
    "trailing space": SAFE + " ",
    "space before the newline": "Safety: Safe \nCategories: None",
    "no space after the colon": "Safety:Safe\nCategories:None",
    "no-break space": "Safety:\u00a0Safe\nCategories: None",
    "byte order mark": "\ufeff" + SAFE,
    "zero width": "Safety: Sa\u200bfe\nCategories: None",
    "Cyrillic look-alike": "Safety: S\u0430fe\nCategories: None",
    "full width": "Ｓａｆｅｔｙ: Safe\nCategories: None",
    "combining accent": "Safety: Safe\u0301\nCategories: None",
    "NUL": SAFE + "\x00",
    "end token as text": SAFE + "<|im_end|>",
    "bold": "**Safety: Safe**\n**Categories: None**",
    "fenced": f"```\n{SAFE}\n```",
    "list item": "- Safety: Safe\n- Categories: None",
    "JSON": '{"Safety": "Safe", "Categories": "None"}',
    "cut at the severity": "Safety: Contro",
    "cut at the categories": "Safety: Unsafe\nCategories: Viol",
    "refusal for a prompt": ANSWER,
    "chatter": f"I think this is fine. {SAFE}",
    "number sign": "Safety: Safe\nCategories: None #1",
}
OFF_RESPONSE_GRAMMAR = {
    "no refusal": SAFE,
    "refusal twice": ANSWER + "\nRefusal: No",
    "refusal first": "Refusal: No\n" + SAFE,
    "refusal in the middle": "Safety: Safe\nRefusal: No\nCategories: None",
    "other word": SAFE + "\nRefusal: Maybe",
    "lower case": SAFE + "\nRefusal: yes",
    "cut": SAFE + "\nRefusal:",
    "cut at the word": SAFE + "\nRefusal: N",
    "trailing newline": ANSWER + "\n",
    "None for No": SAFE + "\nRefusal: None",
    "Jailbreak": "Safety: Unsafe\nCategories: Jailbreak\nRefusal: No",
    "Jailbreak among others": "Safety: Unsafe\nCategories: PII, Jailbreak\nRefusal: No",
}
OFF_GRAMMAR = [
    *(pytest.param(text, Task.PROMPT, id=f"prompt: {name}") for name, text in OFF_PROMPT_GRAMMAR.items()),
    *(pytest.param(text, Task.RESPONSE, id=f"response: {name}") for name, text in OFF_RESPONSE_GRAMMAR.items()),
    *(
        pytest.param(text + "\nRefusal: No", Task.RESPONSE, id=f"response: {name}")
        for name, text in OFF_PROMPT_GRAMMAR.items()
    ),
]


@pytest.mark.parametrize(("text", "task"), OFF_GRAMMAR)
def test_p3_drifted_output_has_no_classification_and_its_error_no_output(text: str, task: Task) -> None:
    with pytest.raises(UnparsableOutputError) as raised:
        parse_verdict(text, task)
    assert raised.value.reason is Reason.UNPARSABLE_OUTPUT
    assert raised.value.stage is Stage.PARSE
    assert CANARY not in raised.value.detail
    assert raised.value.__cause__ is None
    assert read_by_grammar(text, response=task is Task.RESPONSE) is None, "the reference grammar accepts it"


def test_p3_there_is_no_default_severity() -> None:
    fields = dataclasses.fields(Classification)
    assert all(field.default is dataclasses.MISSING for field in fields)
    assert all(field.default_factory is dataclasses.MISSING for field in fields)


@pytest.mark.parametrize("task", Task)
def test_every_text_with_one_category_is_read_exactly(task: Task) -> None:
    response = task is Task.RESPONSE
    response = task is Task.RESPONSE
    known = CATEGORIES if response else (*CATEGORIES, PROMPT_ONLY)
    heads = [f"Safety: {severity}\nCategories: {name}" for severity in SEVERITIES[1:] for name in known]
    ends = ("\nRefusal: Yes", "\nRefusal: No") if response else ("",)
    language = {head + end for head in ("Safety: Safe\nCategories: None", *heads) for end in ends}
    assert len(language) == {Task.PROMPT: 19, Task.RESPONSE: 34}[task]
    read = {text: parse_verdict(text, task) for text in language}
    assert len(set(read.values())) == len(language)
    for text, classification in read.items():
        assert as_text(classification) == text


def test_categories_keep_the_order_given() -> None:
    read = parse_verdict("Safety: Controversial\nCategories: Unethical Acts, PII, Jailbreak", Task.PROMPT)
    assert read == Classification(
        Severity.CONTROVERSIAL, (Category.UNETHICAL_ACTS, Category.PII, Category.JAILBREAK), None
    )


def as_text(read: Classification) -> str:
    """The only output that has this classification."""
    lines = [f"Safety: {read.severity}", f"Categories: {', '.join(read.categories) or 'None'}"]
    if read.refusal is not None:
        lines.append(f"Refusal: {'Yes' if read.refusal else 'No'}")
    return "\n".join(lines)


PARTS = st.sampled_from([
    "Safety: ", "Safe", "Unsafe", "Controversial", "\n", "Categories: ", "None", ", ", "Refusal: ", "Yes", "No",
    *CATEGORIES, PROMPT_ONLY, " ", "\r", "\u2028", "safe",
])  # fmt: skip
TASKS = st.sampled_from(Task)


@given(st.lists(PARTS, max_size=14).map("".join) | st.text(max_size=30), TASKS)
def test_p3_what_is_accepted_is_the_only_text_that_says_so(text: str, task: Task) -> None:
    reference = read_by_grammar(text, response=task is Task.RESPONSE)
    try:
        read = parse_verdict(text, task)
    except UnparsableOutputError:
        assert reference is None
    else:
        assert reference is not None
        assert as_text(read) == text


@given(st.randoms(use_true_random=False), TASKS, st.data())
def test_p3_one_edit_of_a_verdict_is_read_as_the_grammar_reads_it(
    source: object, task: Task, data: st.DataObject
) -> None:
    text = valid_output(source, task)  # type: ignore[arg-type]
    at = data.draw(st.integers(0, len(text)))
    edited = text[:at] + data.draw(st.text(max_size=2)) + text[at + data.draw(st.integers(0, 2)) :]
    reference = read_by_grammar(edited, response=task is Task.RESPONSE)
    try:
        assert as_text(parse_verdict(edited, task)) == edited
    except UnparsableOutputError:
        assert reference is None
    else:
        assert reference is not None


def test_p3_fuzz() -> None:
    seen: list[int] = []
    result = run(20_000, seed=20261121, on_progress=seen.append)
    assert result.passed, result
    assert result.on_grammar > 1_000
    assert seen == [PROGRESS_STEP, 2 * PROGRESS_STEP]


def _stripping(text: str, task: Task) -> Classification:
    return parse_verdict(text.strip(), task)


def _any_line_end(text: str, task: Task) -> Classification:
    return parse_verdict("\n".join(text.splitlines()), task)


def _case_blind(text: str, task: Task) -> Classification:
    names = ("Safety", "Safe", "Unsafe", "Controversial", "Categories", "None", "Refusal", "Yes", "No", *CATEGORIES)
    for name in names:
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", name, text, flags=re.IGNORECASE)
    return parse_verdict(text, task)


def _searching(text: str, _task: Task) -> Classification:
    """As the model's README does it: anywhere in the text."""
    found = re.search(r"Safety: (Safe|Unsafe|Controversial)", text)
    if found is None:
        raise UnparsableOutputError("no severity")
    return Classification(Severity(found[1]), (), None)


def _dollar(text: str, task: Task) -> Classification:
    return parse_verdict(text.removesuffix("\n"), task)


def _safe_by_default(text: str, task: Task) -> Classification:
    try:
        return parse_verdict(text, task)
    except UnparsableOutputError:
        return Classification(Severity.SAFE, (), None)


def _reordering(text: str, task: Task) -> Classification:
    read = parse_verdict(text, task)
    return Classification(read.severity, tuple(sorted(read.categories)), read.refusal)


def _first_category_only(text: str, task: Task) -> Classification:
    read = parse_verdict(text, task)
    if len(read.categories) > 1:
        raise UnparsableOutputError("one category")
    return read


@pytest.mark.parametrize(
    "broken",
    [_stripping, _any_line_end, _case_blind, _searching, _dollar, _safe_by_default, _reordering, _first_category_only],
)
def test_the_fuzz_finds_a_parser_that_is_broken(broken: Callable[[str, Task], Classification]) -> None:
    assert not run(20_000, seed=1, parser=broken).passed


def test_worst_of_windows() -> None:
    safe = Classification(Severity.SAFE, (), False)
    mild = Classification(Severity.CONTROVERSIAL, (Category.VIOLENT,), True)
    bad = Classification(Severity.UNSAFE, (Category.PII,), False)
    also_bad = Classification(Severity.UNSAFE, (Category.SELF_HARM, Category.PII), False)
    assert worst([safe, bad, mild, also_bad]) == Classification(
        Severity.UNSAFE, (Category.PII, Category.SELF_HARM), True
    )
    assert worst([safe, mild]) == Classification(Severity.CONTROVERSIAL, (Category.VIOLENT,), True)
    assert worst([safe, safe]) == safe
    prompt = Classification(Severity.SAFE, (), None)
    assert worst(iter([prompt, prompt])) == prompt
    with pytest.raises(ValueError, match="empty"):
        worst([])


@given(st.lists(st.randoms(use_true_random=False).map(lambda source: valid_output(source, Task.RESPONSE)), min_size=1))
def test_worst_is_a_classification_that_the_model_could_have_given(texts: list[str]) -> None:
    windows = [parse_verdict(text, Task.RESPONSE) for text in texts]
    assert parse_verdict(as_text(worst(windows)), Task.RESPONSE) == worst(windows)
    assert worst(windows).severity is worst(reversed(windows)).severity
    assert worst([worst(windows), *windows]) == worst(windows)
