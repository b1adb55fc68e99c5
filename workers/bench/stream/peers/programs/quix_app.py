"""Quix Streams at least once: its checkpoints flush the producer, check every delivery, and only then commit.

One process, as its users run it; they add processes for more. Bytes in and bytes out, so that JSON is read and written
once. The idempotent producer is its default.
"""

from chat import arguments, result_headers, verdict_of
from quixstreams import Application, message_context

# Checkpoints by time, as its documentation has it; as often as Weir commits, though its own default is 5 s.
COMMIT_INTERVAL_S = 1.0


def main() -> None:
    """Run until a signal; the last checkpoint is committed on the way out."""
    wanted = arguments(__doc__)
    app = Application(
        broker_address=wanted.bootstrap_servers,
        consumer_group=wanted.group,
        auto_offset_reset="earliest",
        processing_guarantee="at-least-once",
        commit_interval=COMMIT_INTERVAL_S,
        auto_create_topics=False,
        state_dir=wanted.state,
        producer_extra_config={
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": wanted.compression,
        },
        loglevel="WARNING",
    )
    events = app.topic(wanted.events, value_deserializer="bytes", key_deserializer="bytes")
    results = app.topic(wanted.results, value_serializer="bytes", key_serializer="bytes")

    def judged(value: bytes, _key: bytes, timestamp: int, _headers: object) -> bytes:
        source = message_context()
        return verdict_of(value, source.topic, source.partition, source.offset, timestamp)

    frame = app.dataframe(events)
    frame = frame.apply(judged, metadata=True)
    frame = frame.set_headers(lambda _value, _key, _timestamp, headers: result_headers(headers))
    frame.to_topic(results)
    app.run()


if __name__ == "__main__":
    main()
