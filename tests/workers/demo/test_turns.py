"""The demo's turns: whole texts in deltas, and what is told of them."""

from collections.abc import Iterator

import pytest

from tests.guards.turn_judges import LetterJudge
from tests.site import Broker, wait_until
from tests.workers.deltas.delta_site import DeltaSite
from workers.demo.turns import answers, ended, frames_of, read_turns, write_turns


@pytest.fixture
def site(mock_broker: Broker) -> Iterator[DeltaSite]:
    made = DeltaSite(mock_broker)
    yield made
    made.close()


def test_each_answer_is_cut_into_frames_that_make_it_up_again() -> None:
    for number, conversation in enumerate(answers(20)):
        frames = frames_of(number, conversation)
        assert "".join(frame["delta"] for frame in frames) == conversation[-1]["content"]
        assert [frame["seq"] for frame in frames] == list(range(len(frames)))
        assert (frames[0]["messages"], frames[-1]["final"]) == (list(conversation[:-1]), True)


def test_they_are_written_interleaved_and_what_was_raised_is_told_with_its_place(site: DeltaSite) -> None:
    judge = LetterJudge()
    judge.unsafe = "e"
    sample = answers(12)
    raised = [text for text in (conversation[-1]["content"] for conversation in sample) if "e" in text]
    worker = site.start_deltas(judge)
    write_turns(site.settings, sample)
    wait_until(lambda: ended(site.settings) == 12, "all turns to end")
    report = read_turns(site.settings, sample)
    assert worker.stop(20.0)

    assert report.ledger.turns == 12
    assert report.raised == {"Violent": len(raised)}
    assert sorted(report.shares) == pytest.approx(sorted((text.index("e") + 1) / len(text) for text in raised))
