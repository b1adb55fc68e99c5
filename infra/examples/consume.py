"""Read verdicts and act on each once: `python consume.py localhost:9092`.

Delivery is at least once: after a crash of a worker two verdicts can say the same, with the same `verdict_id`.
"""

import json
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer

REMEMBERED = 100_000
"""Ids that are kept. A duplicate follows its first within the records that one worker has in flight, 4,096 by default
for each worker; a consumer that must not act twice after its own crash keeps the ids where it keeps its effects.
"""


def verdicts(servers: str, **options: Any) -> Iterator[dict[str, Any]]:
    """Each verdict once, for as long as any come. `options` go to the client."""
    consumer = KafkaConsumer(
        "moderation.verdicts",
        bootstrap_servers=servers,
        group_id="my-service",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",  # for `delivery.mode: exactly_once`; without it, it changes nothing
        **options,
    )
    seen: OrderedDict[str, None] = OrderedDict()
    try:
        for record in consumer:
            verdict = json.loads(record.value)
            if verdict["verdict_id"] not in seen:
                yield verdict
            seen[verdict["verdict_id"]] = None
            if len(seen) > REMEMBERED:
                seen.popitem(last=False)
            consumer.commit()  # behind the action: a crash repeats it and loses none; many services commit less often
    finally:
        consumer.close()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # it goes on until then
        for verdict in verdicts(sys.argv[1]):
            print(verdict["event_id"], verdict["severity"], verdict["action"], flush=True)
