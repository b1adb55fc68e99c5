"""Which records share a call of the guard: those of one partition where that costs no more calls than twice as many."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.guard import GuardRequest
from tests.guards.scripted_guard import Gate, ScriptedGuard, text_of
from tests.site import Site, event, wait_until
from workers.stream.loop import Loop


def chunks(counts: list[int], size: int) -> list[list[Any]]:
    """The calls for so many records of each partition, as a poll gives them."""
    items = [
        SimpleNamespace(partition=partition, is_decided=False)
        for partition, count in enumerate(counts)
        for _ in range(count)
    ]
    asked: list[list[Any]] = []
    loop: Any = SimpleNamespace(
        limits=SimpleNamespace(records=1),
        decisions=SimpleNamespace(admit=lambda _: items),
        assignment=SimpleNamespace(taken=lambda _: None),
        calls=SimpleNamespace(ask=asked.append),
        chunk_size=size,
        _has_recalled=True,
    )
    Loop._take(loop, ["records"])  # type: ignore[list-item] # noqa: SLF001 - of which nothing else is asked
    assert list(chain.from_iterable(asked)) == items
    return asked


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([200, 200], [64, 64, 64, 8 + 56, 64, 64, 16]),
        ([100, 100], [64, 36, 64, 36]),
        ([40, 40], [40, 40]),
        ([4, 4, 4, 4], [16]),
        ([20, 20, 20, 20], [60, 20]),
        ([64, 1], [64, 1]),
        ([1], [1]),
    ],
)
def test_p6_a_call_that_is_half_full_ends_where_a_partition_does(counts: list[int], sizes: list[int]) -> None:
    assert [len(chunk) for chunk in chunks(counts, 64)] == sizes


@given(st.lists(st.integers(0, 90), min_size=1, max_size=8), st.integers(1, 64))
def test_no_call_is_too_large_and_there_are_at_most_twice_as_many(counts: list[int], size: int) -> None:
    made = chunks(counts, size)

    assert all(0 < len(chunk) <= size for chunk in made)
    assert len(made) <= 2 * -(-sum(counts) // size)


def test_p6_a_record_that_hangs_holds_no_other_partition_that_shares_its_call(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.stream.decisions.PROBE_AFTER_S", 0.05)
    gate = Gate()

    async def hold_the_stuck_one(requests: Sequence[GuardRequest]) -> None:
        if any(text_of(request) == "stuck" for request in requests):
            await gate.passed()

    guard = ScriptedGuard(script=hold_the_stuck_one)
    site.produce([event(f"e{i}", "stuck" if i == 5 else "hello") for i in range(20)])
    sources = {json.loads(record.value or b"")["event_id"]: record.partition for record in site.records(0)}
    site.start(guard, site.settings_with(delivery={"chunk_size": 64}))
    others = sum(partition != sources["e5"] for partition in sources.values())
    wait_until(lambda: sum(site.committed().values()) >= others, "the records of the other partitions")
    gate.open()
    site.wait_for(20)

    assert sorted(verdict["event_id"] for verdict in site.verdicts()) == sorted(sources)
