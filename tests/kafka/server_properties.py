"""The properties file of one server of a cluster: roles, listeners, and what makes it quick enough for tests.

Starts nothing. Ports of a server are given by listener name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.kafka.security import PROTOCOLS

Ports = Sequence[Mapping[str, int]]
Proxies = Mapping[str, Sequence[int]]


def advertised_port(index: int, listener: str, ports: Ports, proxies: Proxies) -> int:
    """The port that clients of a listener are sent to: a proxy's, where it has one."""
    return proxies[listener][index] if listener in proxies else ports[index][listener]


def server_properties(index: int, folder: Path, ports: Ports, proxies: Proxies) -> dict[str, str]:
    """Properties of the server `index`, which keeps its data in `folder`."""
    own, count = ports[index], len(ports)
    copies, copies_in_sync = str(min(3, count)), "2" if count > 2 else "1"
    voters = ",".join(f"{i + 1}@127.0.0.1:{p['CONTROLLER']}" for i, p in enumerate(ports))
    advertised = {name: advertised_port(index, name, ports, proxies) for name in own if name != "CONTROLLER"}
    protocols = {name: name if name in PROTOCOLS else "PLAINTEXT" for name in own}
    return {
        "process.roles": "broker,controller",
        "node.id": str(index + 1),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in own.items()),
        "advertised.listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in advertised.items()),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "log.dirs": str(folder / "data"),
        "group.initial.rebalance.delay.ms": "0",
        # Tests that lose a member wait for its session: Kafka's own lower limit is six seconds.
        "group.min.session.timeout.ms": "1000",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": copies_in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": copies_in_sync,
        # Fewer partitions of the inner topics: the first group and the first transaction start at once.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        # A killed broker's leaders move after seconds, not after nine.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "1000",
    }
