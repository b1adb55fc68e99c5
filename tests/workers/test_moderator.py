"""Judging from Python: what may be given, what comes back, and that it is what every other lane says."""

import asyncio
import subprocess
import sys
from collections import UserDict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from pipelines.guard import GuardAnswer
from pipelines.lanes.batch import judge_batch
from schemas.dead_letter import DeadLetter
from schemas.errors import ConfigurationError
from schemas.event import Task
from schemas.reasons import Reason
from schemas.record import SourceRecord
from schemas.verdict import Action, Severity, Verdict
from tests.guards.answering_guard import AnsweringGuard
from tests.pipelines.judged_records import CONTROVERSIAL, SAFE, UNSAFE, answer
from workers import moderator
from workers.guard.setup import judge_of, moderation_of
from workers.moderator import Moderator
from workers.settings.loading import load_settings

ANSWERS = {"bad": UNSAFE, "so-so": CONTROVERSIAL, "off": "Safety: Fine", "no": f"{SAFE}\nRefusal: Yes"}
POLICY = 'name: p\nversion: "1"\ntenants: {kids: {controversial: strict}}\n'


def said(text: str) -> GuardAnswer:
    return answer(ANSWERS.get(text, SAFE))


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> AnsweringGuard:
    """In place of a model."""
    made = AnsweringGuard(said)
    monkeypatch.setattr(moderator, "load_local_guard", lambda _settings: made)
    return made


@pytest.fixture
def load(guard: AnsweringGuard, tmp_path: Path) -> Callable[..., Moderator]:  # noqa: ARG001
    """Makes one, with a policy of the test's."""

    def made(**guard_settings: Any) -> Moderator:
        (tmp_path / "policy.yaml").write_text(POLICY)
        sections = "".join(f"  {name}: {value}\n" for name, value in guard_settings.items())
        config = tmp_path / "weir.yaml"
        config.write_text(f"policy: {{file: {tmp_path / 'policy.yaml'}}}\n" + (sections and f"guard:\n{sections}"))
        return Moderator.load("demo", config=config)

    return made


def test_texts_conversations_and_events_end_in_order_and_none_raises(load: Callable[..., Moderator]) -> None:
    turns = [{"role": "user", "content": "fine"}, {"role": "assistant", "content": "no"}]
    event = {"event_id": "mine", "tenant": "t", "text": "bad", "created_at": datetime.now(UTC)}
    outcomes = load().judge(["fine", "bad", turns, event, "off", " ", {"text": "fine"}, [], "\ud83d"])
    verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
    reasons = {index: end.reason for index, end in enumerate(outcomes) if isinstance(end, DeadLetter)}

    severities = [Severity.SAFE, Severity.UNSAFE, Severity.SAFE, Severity.UNSAFE, Severity.SAFE]
    assert [verdict.severity for verdict in verdicts] == severities
    assert (verdicts[2].task, verdicts[3].event_id, verdicts[3].tenant) == (Task.RESPONSE, "mine", "t")
    assert reasons == {
        4: Reason.UNPARSABLE_OUTPUT,
        5: Reason.BLANK_TEXT,
        6: Reason.MISSING_FIELD,
        7: Reason.EMPTY_MESSAGES,
    }


def test_an_outcome_is_that_of_every_other_lane(load: Callable[..., Moderator]) -> None:
    settings = load_settings().with_model("demo")
    record = SourceRecord("python", 0, 1, 0, None, b'{"event_id": "e", "text": "so-so"}', ())
    (ruling,) = asyncio.run(judge_batch([record], moderation_of(settings), judge_of(settings, AnsweringGuard(said))))
    expected = Verdict.model_validate_json(ruling.outcome.to_bytes())  # type: ignore[union-attr]
    (found,) = load().judge([{"event_id": "e", "text": "so-so"}])

    assert isinstance(found, Verdict)
    differing = {"timing", "policy", "verdict_id"}  # of a policy of the test's
    assert found.model_dump(exclude=differing) == expected.model_dump(exclude=differing)


def test_a_tenant_has_its_own_policy(load: Callable[..., Moderator]) -> None:
    made = load()

    def action(tenant: str | None) -> Action:
        (outcome,) = made.judge(["so-so"], tenant=tenant)
        assert isinstance(outcome, Verdict)
        return outcome.action

    assert [action(None), action("kids")] == [Action.REVIEW, Action.BLOCK]


def test_a_generator_is_judged_in_batches_where_a_loop_runs_too(
    load: Callable[..., Moderator], guard: AnsweringGuard
) -> None:
    async def as_in_a_notebook() -> int:
        return len(load(batch_size=4).judge(f"text {number}" for number in range(10)))

    assert asyncio.run(as_in_a_notebook()) == 10
    assert guard.calls == [4, 4, 2]


def test_ids_are_no_digest_of_a_text_and_no_two_are_equal(load: Callable[..., Moderator]) -> None:
    made = load()
    outcomes = made.judge(["fine", "fine"]) + made.judge(["fine"])

    assert len({outcome.event_id for outcome in outcomes if isinstance(outcome, Verdict)}) == 3
    assert len({outcome.verdict_id for outcome in outcomes if isinstance(outcome, Verdict)}) == 3


@pytest.mark.parametrize("wrong", [b"bytes", 7, None])
def test_what_is_neither_text_nor_turns_nor_event_is_refused(load: Callable[..., Moderator], wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(wrong).__name__}"):
        load().judge([wrong])


@pytest.mark.parametrize("single", ["hi", b"hi", {"event_id": "e", "text": "hi"}], ids=["text", "bytes", "event"])
def test_a_single_item_is_no_list_of_its_letters_or_fields(load: Callable[..., Moderator], single: Any) -> None:
    with pytest.raises(TypeError, match=f"^a list of items is needed, not a single {type(single).__name__}$"):
        load().judge(single)


class _Speaking:
    def __str__(self) -> str:
        raise AssertionError("nobody's message")


def test_what_json_has_no_form_for_is_one_dead_letter_and_never_judged_as_its_name(
    load: Callable[..., Moderator], guard: AnsweringGuard
) -> None:
    circle: dict[str, Any] = {"event_id": "e", "text": "fine"}
    circle["self"] = circle
    nested: Any = []
    for _ in range(sys.getrecursionlimit()):
        nested = [nested]
    wrong: list[Any] = [{"event_id": "e", "text": text} for text in (b"fine", float("nan"), _Speaking(), {"fine"})]
    outcomes = load().judge([*wrong, [{"role": "user", "content": b"fine"}], circle, {**circle, "self": nested}])

    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [Reason.WRONG_TYPE] * 5 + [
        Reason.INVALID_JSON
    ] * 2
    assert guard.calls == []


def test_rows_of_other_libraries_are_events(load: Callable[..., Moderator]) -> None:
    row = UserDict({"event_id": UUID(int=7), "tenant": np.int64(4), "text": np.str_("bad"), ("a", "b"): 1})
    turns = (UserDict(role="user", content="bad"),)
    by_row, by_turns = load().judge([row, turns])

    assert isinstance(by_row, Verdict)
    assert (by_row.event_id, by_row.tenant, by_row.severity) == (str(UUID(int=7)), "4", Severity.UNSAFE)
    assert isinstance(by_turns, Verdict)
    assert by_turns.severity is Severity.UNSAFE


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match="--config=/none: no such file"):
        Moderator.load(config=Path("/none"))


def test_kafka_and_ray_are_not_imported() -> None:
    libraries = {"kafka", "ray", "confluent_kafka", "torch", "transformers"}
    code = "import sys, workers.moderator; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    imported = set(done.stdout.split())
    assert "workers.moderator" in imported
    assert imported & libraries == set()
