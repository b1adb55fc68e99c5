"""The publisher and the worker compute by turns, but neither can stop the other."""

import threading

from tests.workers.stream.scripted_producer import Broker, Stage


def test_nothing_is_sent_while_it_is_held_off() -> None:
    stage = Stage(Broker())
    producers: list[int] = []
    asked = threading.Event()
    stage.broker.at_start = lambda number: producers.append(number) or asked.set()
    with stage.publisher.held_off():
        stage.publish([stage.verdict(0)])
        assert not asked.wait(0.2), "it began to send"
    assert stage.wait_for(1) == [0]
    stage.publisher.stop(20.0)


def test_a_publisher_that_is_stuck_in_a_send_stops_nobody() -> None:
    stuck, go_on = threading.Event(), threading.Event()

    def block(*_: object) -> None:
        stuck.set()
        assert go_on.wait(20)

    stage = Stage(Broker(at_send=block))
    stage.publish([stage.verdict(0)])
    assert stuck.wait(20)
    for _ in range(3):
        with stage.publisher.held_off():
            assert not stage.broker.offsets
    go_on.set()
    assert stage.wait_for(1) == [0]
    stage.publisher.stop(20.0)
