"""The way of a record: short enough to be read, and told by the README as it is."""

import re
from pathlib import Path

import pytest

from tests.record_way import lines_of, record_way

ROOT = Path(__file__).parents[1]
MOST_FILES = 20
MOST_LINES = 3_000
BEYOND_THE_STUB = ("workers/guard/", "workers/serving/")  # a stub stands for the guard


@pytest.fixture(scope="module")
def way() -> dict[str, list[str]]:
    return record_way()


def test_an_ordinary_record_enters_few_files_and_lines(way: dict[str, list[str]]) -> None:
    assert len(way) <= MOST_FILES, "\n".join(way)
    assert sum(lines_of(way).values()) <= MOST_LINES


def test_life_of_a_message_names_files_that_a_record_enters(way: dict[str, list[str]]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"(?ms)^## Life of a message\n(.*?)^## ", text)
    assert section is not None
    named = set(re.findall(r"`((?:schemas|pipelines|workers)/[a-z_/]+\.py)`", section[1]))

    assert {name for name in named if not name.startswith(BEYOND_THE_STUB)} - way.keys() == set()
    assert {"workers/stream/loop.py", "workers/stream/commits.py"} <= named


def test_the_way_begins_with_a_poll_and_ends_with_a_commit(way: dict[str, list[str]]) -> None:
    entered = {function for functions in way.values() for function in functions}

    assert {"PollingConsumer.poll", "Moderation.decide", "AtLeastOnce.send", "Commits._answered"} <= entered
