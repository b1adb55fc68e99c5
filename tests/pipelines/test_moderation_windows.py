"""A long record is judged in windows: the worst decides, one model judged them all (P7), none goes unread (P3)."""

import asyncio
import hashlib
from collections.abc import Sequence

import pytest

from pipelines.guard import GuardReply, GuardRequest, Judged
from pipelines.lanes.batch import judge_batch
from pipelines.moderation import Admitted, is_mixed
from schemas.dead_letter import DeadLetter
from schemas.errors import GuardCallFailedError
from schemas.verdict import Category, Severity, Verdict
from tests.guards.answering_guard import judge_without_waits
from tests.pipelines.judged_records import (
    LONG_TEXT,
    PROVENANCE,
    SAFE,
    UNSAFE,
    WINDOWS,
    answer,
    decided,
    moderation,
    read,
    record,
)


@pytest.mark.parametrize("place", [0, 1, -1])
def test_the_worst_window_decides_wherever_it_is_and_usage_counts_all(place: int) -> None:
    rules = moderation(WINDOWS)
    admitted = rules.admit(record(text=LONG_TEXT))
    assert isinstance(admitted, Admitted)
    texts = [SAFE] * len(admitted.requests)
    assert len(texts) > 2
    texts[place] = UNSAFE
    verdict = decided(record(text=LONG_TEXT), *(answer(text) for text in texts), rules=rules)

    assert isinstance(verdict, Verdict)
    assert (verdict.severity, verdict.categories) == (Severity.UNSAFE, (Category.VIOLENT, Category.PII))
    assert (verdict.usage.windows, verdict.usage.length_policy) == (len(texts), "windowed")
    assert verdict.usage.prompt_tokens == 10 * len(texts)


@pytest.mark.parametrize("place", [0, -1])
def test_p3_one_unparsable_window_leaves_no_verdict_of_the_others(place: int) -> None:
    rules = moderation(WINDOWS)
    admitted = rules.admit(record(text=LONG_TEXT))
    assert isinstance(admitted, Admitted)
    texts = [SAFE] * len(admitted.requests)
    texts[place] = "Safety: Sure"
    letter = decided(record(text=LONG_TEXT), *(answer(text) for text in texts), rules=rules)

    assert isinstance(letter, DeadLetter)
    assert letter.raw_output_sha256 == hashlib.sha256(b"Safety: Sure").hexdigest()


def test_scores_are_those_of_the_window_that_decided() -> None:
    low, high = ({"safety": {"Safe": 1 - p, "Unsafe": p}, "category": {"Violent": p}} for p in (0.25, 0.75))
    verdict = decided(record(), answer(SAFE, scores=low), answer("Safety: Unsafe\nCategories: PII", scores=high))

    assert isinstance(verdict, Verdict)
    assert verdict.scores is not None
    assert verdict.scores.severity == {Severity.SAFE: 0.25, Severity.UNSAFE: 0.75}
    assert (verdict.scores.categories, verdict.scores.refusal) == ({"Violent": 0.75}, None)


def test_p7_windows_judged_by_two_models_are_judged_again_until_one_judged_them_all() -> None:
    class Replaced:
        """Another revision answers from the third call on."""

        calls = 0

        async def judge(self, requests: Sequence[GuardRequest]) -> GuardReply:
            self.calls += 1
            if len(requests) > 1 and self.calls < 3:
                raise GuardCallFailedError
            return GuardReply(
                [answer(SAFE) for _ in requests], PROVENANCE.model_copy(update={"revision": f"r{self.calls // 4}"})
            )

    judge = judge_without_waits(Replaced())
    (ruling,) = asyncio.run(judge_batch([record(text=LONG_TEXT)], moderation(WINDOWS), judge))
    outcome = read(ruling.outcome)

    assert isinstance(outcome, Verdict)
    assert outcome.provenance.revision == "r1"


@pytest.mark.parametrize(
    ("revisions", "mixed"), [(["a"], False), (["a", "a"], False), (["a", "b"], True), (["a", "a", "b"], True)]
)
def test_p7_windows_of_two_models_are_mixed(revisions: list[str], mixed: bool) -> None:
    judged = [Judged(answer(SAFE), PROVENANCE.model_copy(update={"revision": name}), 1) for name in revisions]

    assert is_mixed(judged) is mixed


def test_p11_each_window_s_request_carries_the_trace_of_its_message() -> None:
    carrier = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
    admitted = moderation(WINDOWS).admit(record(text=LONG_TEXT), carrier)

    assert isinstance(admitted, Admitted)
    assert {asked.carrier["traceparent"] for asked in admitted.requests} == {carrier["traceparent"]}
