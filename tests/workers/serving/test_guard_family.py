"""The engine's verdict format and the family that `pipelines` reads answers with say the same of Qwen3Guard-Gen."""

import pytest

from pipelines.guard_family import QWEN3GUARD_GEN
from schemas.event import Task
from schemas.verdict import Severity
from workers.serving.engine.completion import Task as EngineTask
from workers.serving.engine.verdict_format import QWEN3GUARD_GEN as FORMAT

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
