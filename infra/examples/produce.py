"""Write one chat event: `python produce.py localhost:9092 "good morning"`."""

import json
import sys
import uuid
from typing import Any

from kafka import KafkaProducer


def produce(servers: str, text: str, **options: Any) -> str:
    """Write an event and wait until the broker has it; returns its id. `options` go to the client."""
    event_id = str(uuid.uuid4())
    event = {"event_id": event_id, "conversation_id": "lobby", "text": text}
    producer = KafkaProducer(bootstrap_servers=servers, **options)
    # Verdicts come in the order of their partition, so a conversation's key keeps its order.
    producer.send("chat.events", json.dumps(event).encode(), key=b"lobby").get(timeout=30)
    producer.close()
    return event_id


if __name__ == "__main__":
    print(produce(sys.argv[1], sys.argv[2]))
