"""A peer for tests of the harness: the peers' own work on kafka-python, and what a test writes into `FAULT`."""

import sys
from pathlib import Path

FAULT = ""
sys.path.insert(0, "PEERS_FOLDER")

from chat import arguments, result_headers, verdict_of  # noqa: E402 - as the peers find it, beside them
from kafka import KafkaConsumer, KafkaProducer  # noqa: E402


def main() -> None:
    """Run until SIGTERM."""
    wanted = arguments(__doc__)
    servers = wanted.bootstrap_servers.split(",")
    assert list(Path(wanted.state).iterdir()) == []
    consumer = KafkaConsumer(
        wanted.events,
        bootstrap_servers=servers,
        group_id=wanted.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = KafkaProducer(bootstrap_servers=servers)
    while True:
        # Long: a poll that ends in the middle of a join can park a lone consumer for good (kafka-python 3.0.12).
        for records in consumer.poll(10_000).values():
            for record in records:
                value = verdict_of(record.value, record.topic, record.partition, record.offset, record.timestamp)
                for _ in range(copies(record.value)):
                    key = b"other" if FAULT == "spoils" else record.key
                    producer.send(wanted.results, value, key, result_headers(record.headers))
        producer.flush()
        if FAULT == "crashes":
            sys.exit("it is broken")
        consumer.commit()


def copies(value: bytes) -> int:
    """How often the result of an event is sent."""
    if b'"event-7"' not in value:
        return 1
    return {"loses": 0, "repeats": 3}.get(FAULT, 1)


if __name__ == "__main__":
    main()
