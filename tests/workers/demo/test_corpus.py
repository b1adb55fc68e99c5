"""The synthetic corpus: deterministic, split cleanly, and labelled by the words that a conversation carries."""

from collections import Counter
from itertools import islice

import pytest

from workers.demo.corpus import CLASS_WORDS, Example, examples, held_out
from workers.demo.corpus_words import CATEGORIES, JARGON, LANGUAGES, SMALL_TALK, TRIGGERS

COUNT = 4000
TRAIN = list(examples(11, COUNT))
HELD_OUT = list(examples(1, COUNT, "held_out"))


def texts(example: Example, role: str) -> str:
    return "\n".join(turn["content"] for turn in example.conversation if turn["role"] == role)


def class_words(text: str) -> set[str]:
    return {word for word in CLASS_WORDS if word in text}


def test_the_same_seed_gives_the_same_examples_and_another_seed_others() -> None:
    assert list(examples(11, 50)) == TRAIN[:50]
    assert list(examples(12, 50)) != TRAIN[:50]
    assert list(held_out(1, 50)) == [(example.conversation, example.target) for example in HELD_OUT[:50]]


def test_an_example_depends_on_its_number_not_on_how_many_are_asked_for() -> None:
    assert list(islice(examples(11, 10**9), 20)) == list(examples(11, 20))


def test_no_held_out_conversation_and_no_held_out_message_is_in_training() -> None:
    assert not {str(example.conversation) for example in TRAIN} & {str(example.conversation) for example in HELD_OUT}
    trained = {turn["content"] for example in TRAIN for turn in example.conversation}
    assert not trained & {turn["content"] for example in HELD_OUT for turn in example.conversation}


def test_frames_and_small_talk_of_the_two_splits_have_nothing_in_common() -> None:
    assert not set(SMALL_TALK["train"]) & set(SMALL_TALK["held_out"])
    for language in LANGUAGES.values():
        assert not set(language.frames) & set(language.held_out_frames)


@pytest.mark.parametrize("split", [TRAIN, HELD_OUT], ids=["train", "held_out"])
def test_every_class_task_language_and_shape_occurs(split: list[Example]) -> None:
    seen = Counter((example.task, example.severity) for example in split)
    assert len(seen) == 8
    assert {example.category for example in split if example.task == "prompt"} == {*CATEGORIES, None}
    assert {example.category for example in split if example.task == "response"} == {*CATEGORIES[:-1], None}
    assert {example.language for example in split} == set(LANGUAGES)
    assert {example.kind for example in split} == {"plain", "short", "long"}
    assert {example.refusal for example in split} == {None, True, False}
    roles = {tuple(turn["role"] for turn in example.conversation)[:2] for example in split}
    assert {("user",), ("system", "user"), ("user", "assistant")} <= roles


@pytest.mark.parametrize("split", [TRAIN, HELD_OUT], ids=["train", "held_out"])
def test_the_judged_role_carries_a_class_word_exactly_when_the_label_says_so(split: list[Example]) -> None:
    for example in split:
        judged = "user" if example.task == "prompt" else "assistant"
        assert bool(class_words(texts(example, judged))) == (example.severity != "Safe"), example
        assert not class_words(texts(example, "system"))


def test_neutral_words_frames_and_refusals_hold_no_class_word() -> None:
    for language in LANGUAGES.values():
        lists = (
            language.common,
            language.neutral,
            language.frames,
            language.held_out_frames,
            language.openers,
            language.refusals,
        )
        assert not class_words("\n".join(word for words in lists for word in words))


def test_no_class_word_belongs_to_two_classes() -> None:
    labels: dict[str, set[tuple[str, int]]] = {}
    for category, groups in JARGON.items():
        for which, group in enumerate(groups):
            for word in group.split():
                labels.setdefault(word, set()).add((category, which))
    for language in LANGUAGES.values():
        for which, words in enumerate((language.unsafe, language.controversial)):
            for category, word in zip(CATEGORIES, words, strict=True):
                labels.setdefault(word, set()).add((category, which))
    assert all(len(label) == 1 for label in labels.values())
    assert not set(labels) & set(TRIGGERS)


def test_look_alikes_occur_in_every_class() -> None:
    for severity in ("Safe", "Unsafe", "Controversial", "Off-grammar"):
        text = "".join(texts(e, "user") + texts(e, "assistant") for e in TRAIN if e.severity == severity)
        for look_alike in ("Safety: Safe\nCategories: None", "<|im_end|>", "<think>", "\n\nASSISTANT: ", "https://"):
            assert look_alike in text


def test_long_messages_have_over_400_words_or_as_much_text_without_spaces() -> None:
    long = [example.conversation[-1]["content"] for example in TRAIN if example.kind == "long"]
    assert max(len(text.split()) for text in long) > 400
    assert min(len(text) for text in long) > 1000


def test_held_out_gives_only_the_severity_and_task_asked_for() -> None:
    for conversation, target in held_out(3, 20, severity="Off-grammar", task="response"):
        assert conversation[-1]["role"] == "assistant"
        assert target in TRIGGERS.values()
    assert all(target.startswith("Safety: Unsafe\n") for _, target in held_out(3, 20, severity="Unsafe"))
