"""Runs a peer's script once: starts it, watches it from outside by its offsets, and stops it.

Reads nothing that it writes; `workers.bench.stream.peers.results` does.
"""

import subprocess
import tempfile
import time
from pathlib import Path

from schemas.errors import ModerationError
from workers.bench.stream.peers.environments import Installed, Peer, last_line
from workers.bench.stream.workload import bench_name
from workers.kafka.reader import TopicReader
from workers.settings.sections import KafkaSettings

POLL_S = 0.2
STALL_S = 60.0  # first messages may take a while: a group forms, an interpreter loads
STOP_S = 30.0


def run_peer(installed: Installed, kafka: KafkaSettings, topic: str, results: str, events: int) -> None:
    """Run a peer's script in a new group until it is done with all events, and stop it.

    Args:
        installed: the peer.
        kafka: where Kafka is.
        topic: event topic.
        results: an empty result topic.
        events: of the event topic.

    Raises:
        ModerationError: it ended by itself, or got no further.
    """
    group, servers = bench_name(), kafka.bootstrap_servers.replace(" ", "")
    with (
        tempfile.TemporaryDirectory(prefix="weir-peer-") as name,
        tempfile.TemporaryFile("w+", errors="replace") as output,
    ):
        folder = Path(name)
        (folder / "state").mkdir()
        # -E and -s: nothing of this environment, Weir least of all, can be imported.
        command = [str(installed.python), "-E", "-s", str(installed.peer.script), servers, group, topic, results]
        process = subprocess.Popen(
            [*command, str(folder / "state"), kafka.compression],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            with TopicReader(kafka, group) as reader:
                _wait_until_done(installed.peer, process, reader, (topic, results), events)
        except ModerationError as error:
            output.seek(0)
            raise ModerationError(f"{error}; it said: {last_line(output.read())}") from None
        finally:
            _stop(process)


def _wait_until_done(
    peer: Peer, process: "subprocess.Popen[bytes]", reader: TopicReader, topics: tuple[str, str], events: int
) -> None:
    """Until all offsets are committed; or all results are there, where the peer keeps its offsets itself."""
    known, patience = (-1, -1), time.monotonic() + STALL_S
    while True:
        results = sum(offsets.end for offsets in reader.ranges([topics[1]]).values())
        committed = sum(reader.committed(reader.ranges([topics[0]])).values()) if peer.commits else results
        if committed >= events:
            return
        if process.poll() is not None:
            raise ModerationError(f"ended at {results} of {events} results (exit code {process.returncode})")
        if (results, committed) != known:
            known, patience = (results, committed), time.monotonic() + STALL_S
        elif time.monotonic() > patience:
            raise ModerationError(f"got no further than {results} of {events} results in {STALL_S:.0f} s")
        time.sleep(POLL_S)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
