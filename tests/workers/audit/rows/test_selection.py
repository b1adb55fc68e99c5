"""Samples say the same of a row each time; an earlier run's verdicts are left out only where they would be the same."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from schemas.verdict import Provenance
from tests.workers.audit.scripted_lane import used_policy
from workers.audit.manifest import Manifest, SampleTaken
from workers.audit.rows import selection as row_selection
from workers.audit.rows.blocks import Plan
from workers.audit.rows.selection import AlreadyJudged, is_sampled, keys_of_run, number_of, sample_of
from workers.audit.rows.tables import VERDICT_SCHEMA, table_of
from workers.audit.run_folder import RunFolder
from workers.audit.source import sample

ROWS = [(f"e{number}", "rare" if number % 100 == 0 else "de" if number % 4 == 0 else "en") for number in range(2_000)]
KEY, OTHER_KEY = "01" * 16, "02" * 16
PROVENANCE = Provenance(model="m", revision="1", prompt_sha256="p", engine="e", dtype="d", parser="1")


def taken(asked: str, stratum: str | None = None) -> list[tuple[str, str]]:
    sample = sample_of(asked, stratum, lambda: ROWS, KEY)
    return [row for row in ROWS if is_sampled(sample, *row)]


def test_a_number_is_that_many_rows_and_the_same_ones_each_time() -> None:
    assert len(taken("150")) == 150
    assert taken("150") == taken("150")
    assert set(taken("100")) < set(taken("150"))
    assert len(taken("5000")) == len(ROWS)


def test_whoever_chooses_an_id_does_not_choose_whether_it_is_taken() -> None:
    samples = [sample_of("50%", None, lambda: ROWS, key) for key in (KEY, OTHER_KEY)]
    assert 400 < sum(all(is_sampled(sample, *row) for sample in samples) for row in ROWS) < 600, "as two coins would"


def test_a_run_keeps_its_key_and_one_that_goes_on_from_it_has_the_same(tmp_path: Path) -> None:
    def key(*runs: Path | None) -> str:
        taken = sample("10%", Plan((), ()), None, [None if run is None else str(run) for run in runs])
        assert taken is not None
        return taken.key

    manifest = Manifest(
        run_id="r",
        state="running",
        started_at="2026-01-01T00:00:00Z",
        attempts=(),
        inputs=(),
        mapping={},
        sample=SampleTaken(key=KEY, asked="10%", stratified_by=None, bounds={"": 1}),
        provenance=None,
        policy=used_policy(),
        versions={},
        block_rows=1,
        blocks=0,
    )
    RunFolder(str(tmp_path / "begun")).write_manifest(manifest)
    assert key(tmp_path / "begun", None) == key(tmp_path / "new", tmp_path / "begun") == KEY
    assert len({key(None, None), key(tmp_path / "new", None), KEY}) == 3


def test_a_share_is_about_that_share() -> None:
    assert 0.08 < len(taken("10%")) / len(ROWS) < 0.12
    assert taken("100%") == ROWS


def test_strata_keep_their_shares_and_none_is_left_out() -> None:
    sizes = Counter(stratum for _, stratum in taken("50", "language"))

    assert sum(sizes.values()) == 50
    assert sizes == {"en": 37, "de": 12, "rare": 1}


@pytest.mark.parametrize("asked", ["0.1%", "2.5%", "33.3%", "99.9%", "100%"])
def test_a_share_of_each_stratum_is_exact_to_the_row(asked: str) -> None:
    rows = Counter(stratum for _, stratum in ROWS)
    share = float(asked.removesuffix("%")) / 100
    sizes = Counter(stratum for _, stratum in taken(asked, "language"))

    assert sizes.keys() == rows.keys()
    for stratum, size in sizes.items():
        assert abs(size - max(1, share * rows[stratum])) < 0.5 + 1e-9
    assert set(taken("1%", "language")) <= set(taken("2.5%", "language"))


@pytest.mark.parametrize("asked", ["1", "7", "1000", "1999", "12%"])
def test_the_rows_of_a_stratum_are_those_with_the_smallest_digests(asked: str) -> None:
    chosen = taken(asked, "language")
    for stratum in ("rare", "de", "en"):
        ids = sorted((name for name, of in ROWS if of == stratum), key=lambda name: number_of(name, bytes.fromhex(KEY)))
        found = {name for name, of in chosen if of == stratum}
        assert found == set(ids[: len(found)])


def test_rows_of_one_event_id_are_taken_or_left_together() -> None:
    rows = [(f"e{number // 40}", "") for number in range(400)]
    sample = sample_of("50", None, lambda: rows, KEY)

    assert sum(is_sampled(sample, *row) for row in rows) == 80


@pytest.mark.parametrize(
    ("sizes", "wanted", "quotas"),
    [
        ((9, 19, 72), 10, [1, 2, 7]),  # who was lifted to one row has no remainder left
        ((6, 6, 6, 82), 10, [1, 1, 1, 7]),  # who has most gives what lifts the others
        ((1, 1, 1, 50, 50), 5, [1, 1, 1, 1, 1]),
        ((5, 5, 5), 2, [1, 1, 1]),
    ],
)
def test_a_number_is_divided_by_share_with_one_row_at_least(
    sizes: tuple[int, ...], wanted: int, quotas: list[int]
) -> None:
    rows = [(f"{stratum}-{number}", str(stratum)) for stratum, size in enumerate(sizes) for number in range(size)]
    sample = sample_of(str(wanted), "column", lambda: rows, KEY)
    found = Counter(stratum for name, stratum in rows if is_sampled(sample, name, stratum))

    assert [found[str(stratum)] for stratum in range(len(sizes))] == quotas


def test_a_column_with_too_many_values_makes_no_strata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_selection, "MOST_STRATA", 2)

    with pytest.raises(ConfigurationError, match="--stratify language: more than 2 values"):
        taken("1%", "language")


def test_what_a_sample_is_chosen_with_does_not_grow_with_it() -> None:
    def members() -> Iterator[tuple[str, str]]:
        return ((f"e{number}", "") for number in range(200_000))

    tracemalloc.start()
    sample = sample_of("150000", None, members, KEY)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sum(is_sampled(sample, *row) for row in members()) == 150_000
    assert most < 500_000  # a heap of the sample took 8 MB


@pytest.mark.parametrize("asked", ["0", "-1", "some", "0%", "101%", "5 %"])
def test_a_sample_that_cannot_be_is_refused(asked: str) -> None:
    with pytest.raises(ConfigurationError, match="sample"):
        taken(asked)


def test_only_verdicts_that_would_come_out_the_same_count_as_judged() -> None:
    policy = used_policy()
    shared = {
        **dict.fromkeys(VERDICT_SCHEMA.names),
        **PROVENANCE.model_dump(),
        "policy_sha256": policy.sha256,
        "tenant": "kids",
        "task": "prompt",
        "conversation_sha256": "t",
        "categories": [],
    }
    full = {
        name: shared[name] if shared[name] is not None or VERDICT_SCHEMA.field(name).nullable else _any(name)
        for name in VERDICT_SCHEMA.names
    }
    table = table_of([{**full, "event_id": f"e{number}"} for number in range(50)], VERDICT_SCHEMA)
    keys = keys_of_run([table], policy.length)
    judged = AlreadyJudged(keys, PROVENANCE, policy)

    assert len(keys) == 50
    row = ("e7", "kids", "prompt", "t")
    assert row in judged
    for place in range(4):
        assert (*row[:place], "another", *row[place + 1 :]) not in judged
    for field in Provenance.model_fields:
        other = PROVENANCE.model_copy(update={field: "other"})
        assert row not in AlreadyJudged(keys, other, policy)
    for field in ("sha256", "length"):
        assert row not in AlreadyJudged(keys, PROVENANCE, policy.model_copy(update={field: "other"}))
    with pytest.raises(ConfigurationError, match="have no conversation_sha256: an older version wrote them"):
        keys_of_run([table.drop_columns(["conversation_sha256"])], policy.length)


def _any(name: str) -> object:
    return "x" if VERDICT_SCHEMA.field(name).type == "string" else 0
