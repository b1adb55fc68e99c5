"""Which consumer gives a batch up, and what is said where none does."""

import pytest

from schemas.errors import ModerationError
from workers.tools.dead_letters import skip_batch


def answering(monkeypatch: pytest.MonkeyPatch, *answers: object) -> None:
    monkeypatch.setattr(skip_batch, "ask_consumers", lambda *_, **__: (list(answers), {}))


def test_the_one_that_waits_gives_it_up_whether_others_answer_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, None, TimeoutError(), (3, 9))
    assert skip_batch.skip("events", 0, 1.0) == (3, 9)


def test_where_all_answer_and_none_waits_there_is_nothing_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, None, None)
    assert skip_batch.skip("events", 0, 1.0) is None


def test_one_that_does_not_answer_may_be_the_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, None, TimeoutError())
    with pytest.raises(ModerationError, match="1 of 2 workers have not answered"):
        skip_batch.skip("events", 0, 1.0)
