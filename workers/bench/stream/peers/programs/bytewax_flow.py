"""Bytewax with recovery, which is the nearest that it has to at least once with Kafka.

It joins no consumer group and commits nothing to Kafka: the offset of each partition is in its recovery store, a
snapshot every second, taken after the sink's flush. What it does not guarantee:

* KafkaSink asks for no delivery reports. A record that the producer gives up on (after `delivery.timeout.ms`) is passed
  by all the same, and so lost; here that time is without end.
* The snapshots are files of this machine: without them a restart begins the topic anew, and two processes do not share
  partitions by a group.

One worker, as its documentation advises for one process; batches of 5,000, as on its page on performance.
"""

from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from chat import arguments, result_headers, verdict_of

SNAPSHOT_INTERVAL = timedelta(seconds=1)
BATCH_SIZE = 5_000


def judged(message: KafkaSourceMessage) -> KafkaSinkMessage:
    """The result of one record."""
    value = verdict_of(message.value, message.topic, message.partition, message.offset, message.timestamp[1])
    return KafkaSinkMessage(message.key, value, headers=result_headers(message.headers))


def main() -> None:
    """Run until a signal ends the process."""
    wanted = arguments(__doc__)
    brokers = wanted.bootstrap_servers.split(",")
    sink = {
        "acks": "all",
        "enable.idempotence": "true",
        "delivery.timeout.ms": "0",
        "compression.type": wanted.compression,
    }
    flow = Dataflow("peer")
    events = op.input("events", flow, KafkaSource(brokers, [wanted.events], batch_size=BATCH_SIZE))
    op.output("results", op.map("judged", events, judged), KafkaSink(brokers, wanted.results, sink))
    state = Path(wanted.state)
    if not any(state.iterdir()):  # else it is a restart
        init_db_dir(state, 1)
    cli_main(flow, epoch_interval=SNAPSHOT_INTERVAL, recovery_config=RecoveryConfig(state, timedelta(0)))


if __name__ == "__main__":
    main()
