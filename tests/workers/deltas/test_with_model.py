"""The Kafka door with the demo's Stream model in this process: sessions are lost at random, and nothing changes."""

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.site import OFF, Broker, wait_until
from tests.workers.deltas.delta_site import DeltaSite, frame
from workers.serving.deltas.sessions import TurnSessions
from workers.serving.engine.stream_guard import StreamGuard
from workers.stream.worker import StreamWorker

TURNS = 8
TEXT = "the lamp is here and you can bring me the skarnade now, said the man at the river who has no name at all"
OWN = {"conversation_id", "verdict_id"}


@pytest.fixture
def sessions() -> Iterator[TurnSessions]:
    # Fewer sessions than turns: they close one another's all the time.
    made = TurnSessions(StreamGuard.load("demo", device="cpu", dtype="float32", max_pages=512), 4, OFF)
    yield made
    made.close()


def is_judged(worker: StreamWorker, written: int) -> bool:
    return worker.progress.completed >= written - TURNS


def test_p7_every_turn_is_raised_and_ended_with_the_same_bytes_however_it_is_cut_and_forgotten(
    mock_broker: Broker, sessions: TurnSessions
) -> None:
    rng = random.Random(19)
    frames = []
    for number in range(TURNS):
        cuts = [0, *sorted(rng.sample(range(1, len(TEXT)), rng.randrange(12))), len(TEXT)]
        pieces = [TEXT[start:end] for start, end in pairwise(cuts)]
        frames.append(
            [frame(f"c{number}", seq, piece, final=seq == len(pieces) - 1) for seq, piece in enumerate(pieces)]
        )
    site = DeltaSite(mock_broker)
    try:
        worker = site.start_deltas(sessions)
        for row in range(max(map(len, frames))):
            written = [each[row] for each in frames if row < len(each)]
            site.write(written)
            done = worker.progress.completed
            wait_until(
                lambda done=done: worker.progress.completed > done or not worker.in_flight, "deltas to be judged"
            )
        site.wait_for_ends(TURNS)
        wait_until(lambda: site.delta_offset() == sum(map(len, frames)), "all of it to be committed")
        assert worker.stop(20.0)
        said = site.said()
    finally:
        site.close()

    texts = {str({name: value for name, value in one.items() if name not in OWN}) for one in said}
    assert len(said) == 2 * TURNS
    assert len(texts) == 2
    assert {one["final"]: one["raised"] for one in said} == {False: True, True: True}
    assert sessions.counts["unknown"] > 0
