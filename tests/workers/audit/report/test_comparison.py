"""Two runs of the same events: joined by id, agreement beyond chance, the changes that matter first."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from sklearn.metrics import cohen_kappa_score

from tests.workers.audit.report.report_runs import Row, silent, verdict, write_run
from workers.audit.report import comparison as report_comparison
from workers.audit.report import spool as report_spool
from workers.audit.report.files import RunFiles
from workers.audit.report.html import render
from workers.audit.report.model import AuditComparison, AuditReport
from workers.audit.report.report import Choices, build_report

SEVERITIES = ("Safe", "Controversial", "Unsafe")


def report_of(folder: Path, before: list[Row], after: list[Row], listed: int = 20) -> AuditReport:
    old = write_run(folder / "old", before, revision="r0")
    new = write_run(folder / "new", after, block_rows=7)
    return build_report(RunFiles(new), RunFiles(old), Choices(listed=listed), silent)


def comparison_of(folder: Path, before: list[Row], after: list[Row], listed: int = 20) -> AuditComparison:
    compared = report_of(folder, before, after, listed).comparison
    assert compared is not None
    return compared


def test_pairs_are_found_by_event_id_and_changes_are_counted(tmp_path: Path) -> None:
    before = [
        verdict("same"),
        verdict("up", tenant="forum"),
        verdict("down", "Unsafe", "Violent"),
        verdict("edge", "Controversial", "PII"),
        verdict("other-name", "Unsafe", "PII"),
        verdict("gone"),
    ]
    after = [
        verdict("other-name", "Unsafe", "Jailbreak", "PII"),
        verdict("edge", "Unsafe", "PII"),
        verdict("down", "Controversial", "Violent", language=None),
        verdict("up", "Unsafe", "Jailbreak", tenant="forum", conversation_id="c"),
        verdict("same"),
        verdict("new"),
        verdict("newer"),
    ]
    compared = comparison_of(tmp_path, before, after)

    assert (compared.pairs, compared.only_there, compared.only_here) == (5, 1, 2)
    assert compared.order == list(SEVERITIES)
    assert compared.matrix == [[1, 0, 1], [0, 0, 1], [0, 1, 1]]
    assert compared.agreement == 2 / 5
    assert (compared.changed_severity, compared.changed_categories, compared.changed_action) == (3, 2, 3)
    shifts = [tuple(shift.model_dump().values()) for shift in compared.tenants]
    assert shifts == [("games", 4, 2, 2, 1, 1), ("forum", 1, 0, 1, 1, 0)]
    assert [tuple(shift.model_dump().values()) for shift in compared.languages][1] == (None, 1, 1, 0, 0, 1)
    named = {shift.name: (shift.before, shift.after, shift.both) for shift in compared.categories}
    assert named == {"Jailbreak": (0, 2, 0), "Violent": (1, 1, 1), "PII": (2, 2, 2)}
    assert next(iter(named)) == "Jailbreak"


def test_the_widest_jumps_are_listed_first(tmp_path: Path) -> None:
    before = [verdict(f"step-{number}") for number in range(9)] + [verdict("jump"), verdict("fall", "Unsafe", "PII")]
    after = [verdict(f"step-{number}", "Controversial") for number in range(9)]
    after += [verdict("jump", "Unsafe", "Violent", conversation_id="c"), verdict("fall")]
    flips = comparison_of(tmp_path, before, after, listed=3).flips

    assert {flip.event_id for flip in flips[:2]} == {"jump", "fall"}
    assert flips[2].event_id.startswith("step-")
    jump = next(flip for flip in flips if flip.event_id == "jump")
    assert (jump.before, jump.after, jump.conversation_id) == ("Safe", "Unsafe", "c")
    assert (jump.categories_before, jump.categories_after) == ([], ["Violent"])
    assert (jump.action_before, jump.action_after) == ("allow", "block")


def test_an_id_that_came_twice_is_paired_in_the_order_of_its_records(tmp_path: Path) -> None:
    second, ninth = ({"source_offset": offset, "text": f"text {offset}"} for offset in (2, 9))
    before = [verdict("twice", **ninth), verdict("twice", "Unsafe", **second), verdict("once")]
    after = [verdict("twice", "Unsafe", **second), verdict("twice", "Unsafe", **ninth), verdict("once")]
    compared = comparison_of(tmp_path, before, after)

    assert (compared.pairs, compared.only_there, compared.only_here) == (3, 0, 0)
    assert compared.changed_text == 0
    assert compared.matrix == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


def test_one_id_with_two_texts_is_left_out_and_told_of(tmp_path: Path) -> None:
    report = report_of(
        tmp_path, [verdict("a", text="one"), verdict("b")], [verdict("a", "Unsafe", text="two"), verdict("b")]
    )

    assert report.comparison is not None
    assert (report.comparison.pairs, report.comparison.changed_text) == (2, 1)
    assert report.comparison.matrix == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert any("another text" in note for note in report.notes)


def test_runs_without_a_common_event_have_no_agreement(tmp_path: Path) -> None:
    report = report_of(tmp_path, [verdict("a")], [verdict("b")])

    assert report.comparison is not None
    assert (report.comparison.agreement, report.comparison.kappa) == (None, None)
    assert "The two runs have no event id in common." in report.warnings


def test_the_join_in_many_parts_gives_the_figures_of_a_join_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_spool, "_ROWS_OF_PART", 40)
    draw = random.Random(3)
    first = {f"event-{number}": draw.choice(SEVERITIES) for number in range(300)}
    second = {name: draw.choice((severity, *SEVERITIES)) for name, severity in first.items() if draw.random() < 0.9}
    before, after = ([verdict(name, severity) for name, severity in run.items()] for run in (first, second))
    draw.shuffle(after)
    compared = comparison_of(tmp_path, before, after)
    both = list(second)

    assert report_spool.parts_for(len(before) + len(after)) > 10
    assert compared.pairs == len(both)
    assert compared.matrix == [
        [sum(first[name] == one and second[name] == other for name in both) for other in SEVERITIES]
        for one in SEVERITIES
    ]
    answers = [first[name] for name in both], [second[name] for name in both]
    assert compared.kappa == pytest.approx(cohen_kappa_score(*answers), abs=1e-12)
    weighted = cohen_kappa_score(*answers, labels=list(SEVERITIES), weights="linear")
    assert compared.linear_kappa == pytest.approx(weighted, abs=1e-12)


def test_nothing_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    comparison_of(tmp_path, [verdict("a")], [verdict("a")])

    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_changes_show_their_texts_where_they_are_asked_for_and_were_kept(
    tmp_path: Path, wanted: bool, kept: bool
) -> None:
    before = [verdict("a", text="one text"), verdict("b", text="x" * 2_001), verdict("same", text="other words")]
    after = [verdict("a", "Unsafe", "PII", text="one text"), verdict("b", "Controversial", text="x" * 2_001), before[2]]
    after = [{**row, "text": row["text"] if kept else None} for row in after]
    old = write_run(tmp_path / "old", before, revision="r0")
    new = write_run(tmp_path / "new", after, keep_text=kept)
    steps: list[tuple[int, int | None]] = []
    choices = Choices(include_text=wanted)
    report = build_report(RunFiles(new), RunFiles(old), choices, lambda done, total: steps.append((done, total)))

    assert report.comparison is not None
    shown = {flip.event_id: flip.text for flip in report.comparison.flips}
    both = wanted and kept
    assert shown == {"a": "one text" if both else None, "b": f"{'x' * 2_000} … (1 characters more)" if both else None}
    assert ("one text" in render(report)) == both
    assert "other words" not in render(report)
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize("rows", [[], [verdict("a")]])
def test_runs_without_a_common_event_have_a_page(tmp_path: Path, rows: list[Row]) -> None:
    page = render(report_of(tmp_path, rows, [verdict("b")]))

    assert "Same severity</dt><dd>–</dd>" in page


def test_pairs_come_in_one_order_each_time() -> None:
    ids = [f"event-{number}" for number in range(80_000)]
    sides = (pa.table({"event_id": rows, "ordinal": [0] * len(rows)}) for rows in (ids, ids[::-1]))
    tables = tuple(sides)
    found = {tuple(report_comparison._joined(*tables).after["event_id"].to_pylist()) for _ in range(8)}  # noqa: SLF001

    assert len(found) == 1


def test_groups_beyond_a_bound_are_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_comparison, "MOST_GROUPS", 3)
    rows = [verdict(f"event-{number}", tenant=f"tenant-{number % 50}") for number in range(100)]
    compared = comparison_of(tmp_path, rows, rows)

    assert {shift.name for shift in compared.tenants} == {"tenant-0", "tenant-1", "tenant-2"}
    assert compared.groups_cut
