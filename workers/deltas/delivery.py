"""How verdicts of turns go to the broker, beside dead letters: at least once.

A verdict that comes again has the same bytes. Exactly once is not offered: an offset here is not that of one outcome.
"""

from schemas.record import JSON_CONTENT
from workers.deltas.records import SaidRecord
from workers.kafka.producer import Future, Producer
from workers.stream.assignment import InFlightRecord
from workers.stream.dead_letters import TooLarge
from workers.stream.publisher import AtLeastOnce


class TurnDelivery(AtLeastOnce):
    """Sends verdicts of turns to their topic, with the key of their deltas, and dead letters to theirs."""

    def _send(self, producer: Producer, item: InFlightRecord) -> list[Future]:
        if not isinstance(item, SaidRecord):
            return super()._send(producer, item)
        topic = self._topics.stream
        headers = [JSON_CONTENT, *item.trace.headers_of_send(topic)]
        return [producer.send(topic, item.said.to_bytes(), item.key, headers)]


class SmallOrHeld(TooLarge):
    """A verdict of a turn is small and bounded: a topic that refuses it is held until somebody mends it."""

    def give_way(self, item: InFlightRecord) -> bool:
        """See `TooLarge`."""
        return not isinstance(item, SaidRecord) and super().give_way(item)
