"""The verdict as a guard family writes it: the questions that it answers, their labels, and all texts that it can be.

The engine knows nothing else of a family. Knows nothing of torch or tokenizers, and does not parse.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from workers.serving.engine.completion import Task


@dataclass(frozen=True, slots=True)
class Question:
    """What the model decides at one point of its answer, after writing `lead`.

    `labels` are the answers of both tasks, the most expected first; `prompt_labels` those that only prompts can get.
    """

    name: str
    lead: str
    labels: tuple[str, ...]
    prompt_labels: tuple[str, ...] = ()

    def labels_of(self, task: Task) -> tuple[str, ...]:
        """The labels that a task's template names."""
        return self.labels + self.prompt_labels if task == "prompt" else self.labels


@dataclass(frozen=True, slots=True)
class VerdictFormat:
    """One family's: `texts` are all canonical verdicts of a task as the model writes them, the most expected first."""

    family: str
    questions: tuple[Question, ...]
    texts: Mapping[Task, tuple[str, ...]]


def _texts(safety: Question, category: Question, refusal: Question, task: Task) -> tuple[str, ...]:
    none, *categories = category.labels_of(task)
    safe, *others = safety.labels
    pairs = [(safe, none), *((label, name) for label in others for name in categories)]
    texts = [f"{safety.lead} {label}\n{category.lead} {name}" for label, name in pairs]
    if task == "prompt":
        return tuple(texts)
    return tuple(f"{text}\n{refusal.lead} {label}" for text in texts for label in refusal.labels)


_SAFETY: Final = Question("safety", "Safety:", ("Safe", "Unsafe", "Controversial"))
_CATEGORY: Final = Question(
    "category",
    "Categories:",
    (
        "None",
        "Violent",
        "Non-violent Illegal Acts",
        "Sexual Content or Sexual Acts",
        "PII",
        "Suicide & Self-Harm",
        "Unethical Acts",
        "Politically Sensitive Topics",
        "Copyright Violation",
    ),
    prompt_labels=("Jailbreak",),
)
_REFUSAL: Final = Question("refusal", "Refusal:", ("No", "Yes"))

QWEN3GUARD_GEN: Final = VerdictFormat(
    "Qwen3Guard-Gen",
    (_SAFETY, _CATEGORY, _REFUSAL),
    {
        "prompt": _texts(_SAFETY, _CATEGORY, _REFUSAL, "prompt"),
        "response": _texts(_SAFETY, _CATEGORY, _REFUSAL, "response"),
    },
)
