"""The clock of recovery: only what was published after the death counts, for each partition its first."""

from __future__ import annotations

import json

import pytest

from schemas.record import SourceRecord
from tests.chaos.recovery import recovered_s, standing_s


def verdict(source: int, offset: int, at_ms: int) -> SourceRecord:
    value = {"verdict_id": f"{source}-{offset}", "source": {"partition": source, "offset": offset}, "timing": {}}
    return SourceRecord("verdicts", 0, offset, at_ms, None, json.dumps(value).encode(), ())


def test_the_first_verdict_of_each_partition_after_the_death_counts() -> None:
    records = [verdict(0, 1, 99_000), verdict(0, 2, 103_500), verdict(1, 1, 109_000), verdict(1, 2, 102_000)]
    assert recovered_s(records, 100.0) == pytest.approx({0: 3.5, 1: 2.0})


def test_a_partition_of_which_nothing_came_has_no_figure() -> None:
    assert recovered_s([verdict(0, 1, 99_000)], 100.0) == {}


def test_a_partition_stands_from_the_first_time_to_the_last_where_nothing_comes() -> None:
    records = [verdict(0, 1, 99_000), verdict(0, 2, 103_000), verdict(0, 3, 104_000), verdict(1, 1, 111_000)]
    assert standing_s(records, 2, 100.0, 110.0) == {0: 6.0, 1: 10.0}
