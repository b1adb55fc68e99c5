"""Progress bars as a person sees them: each command runs on a terminal of its own; without one there is no bar."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.reasons import Reason
from schemas.record import SourceRecord
from tests.samples.outcomes import letter_of, written
from workers.demo.broker import EmbeddedBroker
from workers.kafka.producer import producer
from workers.settings.loading import load_settings
from workers.settings.sections import TopicSettings

WEIR = Path(sys.executable).with_name("weir")
TOPICS = TopicSettings()
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
MADE = 3


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Of a command, with a broker that has some events and a dead letter of each."""
    with EmbeddedBroker((*TOPICS.events, TOPICS.verdicts, TOPICS.dead_letters)) as broker:
        sender = producer(
            load_settings(kafka={"bootstrap_servers": broker.bootstrap_servers, "api_version": "2.3"}).kafka
        )
        for number in range(MADE):
            value = json.dumps({"event_id": str(number), "text": "hello"}).encode()
            stored = sender.send(TOPICS.events[0], value, b"k", partition=0).get(10)
            record = SourceRecord(stored.topic, 0, stored.offset, stored.timestamp, b"k", value, ())
            output = written(letter_of(record, Reason.TOO_LONG, "messages"), b"k", TOPICS)
            sender.send(output.topic, output.value, output.key, output.headers, partition=output.partition)
        sender.flush()
        sender.close()
        yield {
            **os.environ,
            "TERM": "xterm",
            "WEIR_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "WEIR_KAFKA__API_VERSION": broker.api_version,
        }


def on_terminal(*arguments: str, environment: dict[str, str], columns: int = 80) -> str:
    """All that a command wrote on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = b""
    with subprocess.Popen([WEIR, *arguments], env=environment, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(ours)
    return shown.decode()


@pytest.mark.parametrize(
    ("arguments", "counted"),
    [
        (("verify",), f"records .* {2 * MADE}/{2 * MADE}"),
        (("dlq", "redrive", "--dry-run"), f"dead letters .* {MADE}/{MADE}"),
    ],
    ids=["verify", "redrive"],
)
def test_a_bar_counts_to_its_end_and_is_gone_before_the_report(
    arguments: tuple[str, ...], counted: str, environment: dict[str, str]
) -> None:
    shown = on_terminal(*arguments, environment=environment)
    *drawn, report = shown.split("\x1b[2K")

    assert drawn, "a line is erased"
    assert any(re.search(counted, ESCAPES.sub("", line)) for line in drawn), shown
    assert not re.search(counted, ESCAPES.sub("", report))


def test_nobody_looks_and_there_is_no_bar(environment: dict[str, str]) -> None:
    done = subprocess.run([WEIR, "verify", "--json"], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["closed"]
