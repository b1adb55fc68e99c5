"""A redrive that is stopped at any step, by an exception or by death: the next one loses nothing (P1, P2)."""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from schemas.errors import ModerationError
from tests.integration.letter_site import LetterSite, ids, once, order
from workers.settings.loading import Settings
from workers.tools.dead_letters.redrive import redrive as redriving
from workers.tools.dead_letters.redrive.progress import RedriveProgress
from workers.tools.dead_letters.redrive.redrive import redrive
from workers.tools.dead_letters.redrive.sender import RedriveSender


class StoppedError(BaseException):
    """Nothing catches this."""


def stop_at(step: str, how: Callable[[], None], monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Stop the second batch at a step of the redrive, whether by an exception or by death."""
    calls = Counter[str]()

    def at(name: str) -> None:
        calls[name] += 1
        if name == step and calls[name] == 2:
            how()

    class Sender(RedriveSender):
        def send(self, records: Any) -> None:
            at("before produce")
            super().send(records)
            at("after acknowledgement")

        def _flush(self, futures: Any) -> None:
            at("between produce and acknowledgement")
            super()._flush(futures)

    class Offsets(RedriveProgress):
        def commit(self, positions: Any, left: Any = ()) -> None:
            if calls["before produce"]:  # not the first one, which commits where it begins
                at("before commit")
            super().commit(positions, left)
            if calls["before produce"]:
                at("after commit")

    if monkeypatch is not None:
        monkeypatch.setattr(redriving, "RedriveSender", Sender)
        monkeypatch.setattr(redriving, "RedriveProgress", Offsets)
    else:
        redriving.RedriveSender, redriving.RedriveProgress = Sender, Offsets  # type: ignore[misc]


STEPS = {  # how many of the second batch of five may come twice
    "before produce": 0,
    "between produce and acknowledgement": 5,
    "after acknowledgement": 5,
    "before commit": 5,
    "after commit": 0,
}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _redrive_and_die(settings: Settings, step: str) -> None:
    stop_at(step, _die)
    redriving.BATCH_RECORDS = 5
    redrive(settings, order())


def check_after_a_stop(letters: LetterSite, numbers: range, repeated: int) -> None:
    before = ids(letters.put_back())
    report = redrive(letters.settings, order())
    assert report.is_complete
    after = ids(letters.put_back())
    assert set(after) == set(once(*numbers)), "a loss"
    assert sum(after.values()) - len(numbers) <= repeated
    assert report.put_back == sum(after.values()) - sum(before.values())
    assert redrive(letters.settings, order()).touched == 0


@pytest.mark.parametrize("step", STEPS)
def test_p1_p2_a_redrive_that_is_killed_at_any_step_is_gone_on_with(letters: LetterSite, step: str) -> None:
    for number in range(20):
        letters.die(number)
    process = multiprocessing.get_context("spawn").Process(target=_redrive_and_die, args=(letters.settings, step))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    check_after_a_stop(letters, range(20), STEPS[step])


@pytest.mark.parametrize("step", STEPS)
def test_p1_p2_a_redrive_that_is_interrupted_at_any_step_is_gone_on_with(
    letters: LetterSite, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        letters.die(number)

    def stop() -> None:
        raise StoppedError

    with monkeypatch.context() as context:
        stop_at(step, stop, context)
        context.setattr(redriving, "BATCH_RECORDS", 5)
        with pytest.raises(StoppedError):
            redrive(letters.settings, order())
    # What the broker has said to have is committed on the way out, so that less comes twice than after a death.
    check_after_a_stop(letters, range(20), 0 if step == "after acknowledgement" else STEPS[step])


def test_two_redrives_of_a_group_at_a_time_are_noticed(letters: LetterSite, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        letters.die(number)
    with monkeypatch.context() as context:
        stop_at("before commit", lambda: void(redrive(letters.settings, order())), context)
        context.setattr(redriving, "BATCH_RECORDS", 5)
        with pytest.raises(ModerationError, match=r"another redrive is moving its offsets.*run again"):
            redrive(letters.settings, order())
    assert set(ids(letters.put_back())) == set(once(*range(12)))
    assert redrive(letters.settings, order()).touched == 0


def void(_: object) -> None:
    """Drop a result."""
