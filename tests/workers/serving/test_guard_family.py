"""The engine's verdict format and the family that `pipelines` reads answers with say the same of Qwen3Guard-Gen."""

import logging
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from pipelines.guard_family import QWEN3GUARD_GEN
from schemas.event import Task
from schemas.verdict import Severity
from workers.serving import engine_choice
from workers.serving.engine.completion import Task as EngineTask
from workers.serving.engine.loading import DEMO_FOLDER
from workers.serving.engine.prompt import PromptBuilder
from workers.serving.engine.verdict_format import QWEN3GUARD_GEN as FORMAT
from workers.settings.sections import GuardSettings

TASKS: list[tuple[Task, EngineTask]] = [(Task.PROMPT, "prompt"), (Task.RESPONSE, "response")]


@pytest.mark.parametrize(("task", "name"), TASKS)
def test_every_verdict_that_is_drafted_is_read_and_no_two_alike(task: Task, name: EngineTask) -> None:
    read = [QWEN3GUARD_GEN.parse(text, task) for text in FORMAT.texts[name]]

    assert len(set(read)) == len(read)
    assert read[0].severity is Severity.SAFE
    assert {label for said in read for label in map(str, said.categories)} == set(QWEN3GUARD_GEN.categories[task])
    assert {said.severity for said in read} == set(QWEN3GUARD_GEN.severities.values())


@pytest.mark.parametrize(("task", "name"), TASKS)
def test_the_labels_are_the_same_on_both_sides(task: Task, name: EngineTask) -> None:
    safety, category, refusal = FORMAT.questions

    assert FORMAT.family == QWEN3GUARD_GEN.name
    assert (safety.name, category.name, refusal.name) == ("safety", "category", "refusal")
    assert set(safety.labels_of(name)) == set(QWEN3GUARD_GEN.severities)
    assert {*category.labels_of(name)} - {"None"} == set(QWEN3GUARD_GEN.categories[task])
    assert QWEN3GUARD_GEN.refusal_label in refusal.labels_of(name)


def template_text(template: str | None = None) -> tuple[str, ...]:
    tokenizer = AutoTokenizer.from_pretrained(str(DEMO_FOLDER))
    if template is not None:
        tokenizer.chat_template = template
    return PromptBuilder(tokenizer).template_text()


def test_p14_all_that_the_template_writes_around_contents_is_known_to_the_family() -> None:
    written = template_text()

    assert {"USER: ", "\n\nASSISTANT: ", "\n\nUSER: ", "<BEGIN CONVERSATION>", "<END CONVERSATION>"} <= set(written)
    assert [text for text in written if not QWEN3GUARD_GEN.template_text.search(text)] == []


def test_p14_another_templates_text_is_not_and_a_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    written = template_text(other)
    assert "[user] " in written
    monkeypatch.setattr(engine_choice, "_load", lambda _: SimpleNamespace(template_text=written))

    with caplog.at_level(logging.WARNING):
        engine_choice.load_engine(GuardSettings(model="other"))

    assert "template_text_unknown" in caplog.text
