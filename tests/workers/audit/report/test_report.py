"""The figures of a report, on runs whose answers are counted by hand."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.evaluation.agreement import wilson_interval
from schemas.errors import ConfigurationError
from tests.workers.audit.report.report_runs import (
    NOON,
    Row,
    dead_letter,
    provenance,
    scores,
    silent,
    verdict,
    write_block,
    write_run,
)
from workers.audit.report.counts import scores_of
from workers.audit.report.files import RunFiles
from workers.audit.report.html import render
from workers.audit.report.model import AuditReport, Breakdown, ExampleList
from workers.audit.report.report import Choices, build_report
from workers.audit.run_folder import DEAD_LETTERS, VERDICTS, RunFolder


def report_of(run: str, **choices: object) -> AuditReport:
    return build_report(RunFiles(run), None, Choices(**choices), silent)  # type: ignore[arg-type]


def mixed() -> list[Row]:
    """Twelve rows: seven safe, two controversial, three unsafe."""
    return [
        *(verdict(f"safe-{number}", tenant="games" if number < 4 else "forum") for number in range(7)),
        verdict("edge-1", "Controversial", "PII", language="de"),
        verdict("edge-2", "Controversial", "PII", "Violent", language=None, tenant="forum"),
        verdict("bad-1", "Unsafe", "Violent", task="response"),
        verdict("bad-2", "Unsafe", "Violent", "Jailbreak", language="de"),
        verdict("bad-3", "Unsafe", "Jailbreak", occurred_at=NOON + timedelta(days=1), length_policy="windowed"),
    ]


def test_counts_are_those_of_all_blocks(tmp_path: Path) -> None:
    report = report_of(write_run(tmp_path / "run", mixed(), [dead_letter("x", "too_long")]))

    assert report.severities == {"Safe": 7, "Controversial": 2, "Unsafe": 3}
    assert report.categories == {"Violent": 3, "Jailbreak": 2, "PII": 2}
    assert report.actions == {"allow": 7, "block": 3, "review": 2}
    assert report.tasks == {"prompt": 11, "response": 1}
    assert report.unsafe_share == 3 / 12
    assert (report.unsafe_low, report.unsafe_high) == wilson_interval(3, 12)
    assert report.volumes.model_dump() == {
        "verdicts": 12,
        "dead_letters": 1,
        "prompt_tokens": 1200,
        "output_tokens": 120,
        "windowed": 1,
        "truncated": 0,
    }
    assert (report.run.rows, report.run.blocks_done, report.run.blocks) == (13, 3, 3)
    assert report.run.gpu_seconds == 4.5
    assert report.warnings == []


def named(breakdown: Breakdown) -> dict[str | None, tuple[int, int, dict[str, int]]]:
    """Rows, Unsafe rows and categories by name."""
    return {group.name: (group.rows, group.severities["Unsafe"], group.categories) for group in breakdown.listed}


def test_tenants_and_languages_have_their_own_mix(tmp_path: Path) -> None:
    report = report_of(write_run(tmp_path / "run", mixed()))

    assert named(report.tenants) == {
        "games": (8, 3, {"Jailbreak": 2, "Violent": 2, "PII": 1}),
        "forum": (4, 0, {"PII": 1, "Violent": 1}),
    }
    assert named(report.languages) == {
        "en": (9, 2, {"Jailbreak": 1, "Violent": 1}),
        "de": (2, 1, {"Jailbreak": 1, "PII": 1, "Violent": 1}),
        None: (1, 0, {"PII": 1, "Violent": 1}),
    }
    assert report.languages.rest is None


def test_what_is_not_listed_is_summed(tmp_path: Path) -> None:
    report = report_of(write_run(tmp_path / "run", mixed()), listed=1)

    rest = report.tenants.rest

    assert [group.name for group in report.tenants.listed] == ["games"]
    assert rest is not None
    assert (rest.rows, rest.severities["Unsafe"], rest.categories) == (4, 0, {"PII": 1, "Violent": 1})
    assert report.tenants.distinct == 2


def test_a_language_as_long_as_a_message_is_cut(tmp_path: Path) -> None:
    report = report_of(write_run(tmp_path / "run", [verdict("a", language="x" * 5_000)]))

    assert [group.name for group in report.languages.listed] == ["x" * 64]


def test_conversations_are_ranked_so_that_tiny_ones_do_not_lead(tmp_path: Path) -> None:
    rows = [
        verdict("tiny", "Unsafe", "PII", conversation_id="tiny"),
        *(verdict(f"large-{n}", "Unsafe" if n < 9 else "Safe", conversation_id="large") for n in range(10)),
        *(verdict(f"calm-{n}", "Unsafe" if n < 1 else "Safe", conversation_id="calm") for n in range(10)),
        *(verdict(f"safe-{n}", conversation_id="safe") for n in range(3)),
        verdict("elsewhere", conversation_id="tiny", tenant="forum"),
        verdict("alone", "Unsafe"),
    ]
    conversations = report_of(write_run(tmp_path / "run", rows)).conversations

    ranked = [(group.name, group.tenant, group.rows, group.severities["Unsafe"]) for group in conversations.listed]
    assert ranked == [("large", "games", 10, 9), ("calm", "games", 10, 1)]
    assert (conversations.distinct, conversations.alone, conversations.cut) == (3, 1, False)


@pytest.mark.parametrize(("letters", "warned"), [(0, False), (2, False), (3, True)])
def test_many_dead_letters_are_warned_of_before_any_figure(tmp_path: Path, letters: int, warned: bool) -> None:
    rows = [verdict(f"e{number}") for number in range(20)]
    run = write_run(tmp_path / "run", rows, [dead_letter(f"x{number}", "too_long") for number in range(letters)])

    said = [f"{letters} of {20 + letters} rows (13.0%) got no verdict: every share on this page is one of the others."]
    assert report_of(run).warnings == (said if warned else [])


def test_a_report_of_the_demo_s_model_says_that_it_is_of_no_use(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [verdict("a")], provenance=provenance("r1", "demo"))

    assert [warning for warning in report_of(run).warnings if "made-up words only" in warning]


def test_a_page_is_called_by_its_data_and_its_time(tmp_path: Path) -> None:
    dated = write_run(tmp_path / "dated", [verdict("a"), verdict("b")])
    page = render(report_of(dated))

    assert re.search(r"<title>Audit of chat\.parquet, \d{4}-\d\d-\d\d[^<]*</title>", page)


def test_dead_letters_are_counted_by_reason(tmp_path: Path) -> None:
    letters = [
        *(dead_letter(f"long-{number}", "too_long", source_offset=number) for number in range(5)),
        dead_letter(None, "invalid_json"),
        dead_letter("odd", "of_another_version"),
    ]
    found = report_of(write_run(tmp_path / "run", [verdict("a")], letters)).dead_letters

    assert [(letter.reason, letter.stage, letter.rows, letter.share) for letter in found] == [
        ("too_long", "render", 5, 5 / 7),
        ("invalid_json", "decode", 1, 1 / 7),
        ("of_another_version", None, 1, 1 / 7),
    ]
    assert [place.source for place in found[0].first] == [f"chat.parquet / 0 / {offset}" for offset in range(3)]
    assert found[1].first[0].event_id is None


def test_scores_are_put_into_twenty_bins_by_severity(tmp_path: Path) -> None:
    rows = [
        verdict("a", severity_scores=scores(1.0, 0.0, 0.0)),
        verdict("b", "Unsafe", severity_scores=scores(0.02, 0.0, 0.98)),
        verdict("c", "Unsafe", severity_scores=scores(0.3, 0.2, 0.5), task="response", refusal_score=0.11),
        verdict("none"),
    ]
    report = report_of(write_run(tmp_path / "run", rows))
    histograms = {histogram.label: histogram for histogram in report.histograms}

    unsafe = histograms["Unsafe"]
    assert (unsafe.scored, unsafe.bins) == (3, 20)
    assert unsafe.severities["Safe"] == [1, *[0] * 19]
    assert unsafe.severities["Unsafe"] == [*[0] * 10, 1, *[0] * 8, 1]
    assert histograms["refusal"].severities["Unsafe"] == [0, 0, 1, *[0] * 17]
    assert histograms["refusal"].scored == 1


def test_scores_are_read_from_any_slice_of_rows_and_from_labels_in_any_order() -> None:
    maps = [scores(0.5, 0.3, 0.2), None, [("Unsafe", 0.9), ("Other", 1.0), ("Safe", 0.1)], [], scores(0.0, 0.0, 1.0)]
    batch = pa.record_batch({"severity_scores": pa.array(maps, pa.map_(pa.string(), pa.float64()))})

    expected = [[math.nan, 0.1, math.nan], [math.nan, math.nan, math.nan], [math.nan, 0.9, math.nan]]
    assert scores_of(batch.slice(1, 3)).tolist() == pytest.approx(np.array(expected), nan_ok=True)
    assert scores_of(batch)[:, 4].tolist() == [0.0, 0.0, 1.0]


def test_a_run_without_scores_has_no_histogram(tmp_path: Path) -> None:
    assert report_of(write_run(tmp_path / "run", mixed())).histograms == []


def ids(examples: ExampleList) -> list[str]:
    return [example.event_id for example in examples.examples]


def test_the_surest_unsafe_and_the_closest_calls_come_first(tmp_path: Path) -> None:
    rows = [
        verdict("sure", "Unsafe", severity_scores=scores(0.0, 0.01, 0.99)),
        verdict("again", "Unsafe", severity_scores=scores(0.0, 0.02, 0.98), text="text of sure"),
        verdict("likely", "Unsafe", severity_scores=scores(0.1, 0.1, 0.8)),
        verdict("close", "Unsafe", severity_scores=scores(0.0, 0.49, 0.51)),
        verdict("near", severity_scores=scores(0.6, 0.2, 0.2)),
        verdict("clear", severity_scores=scores(0.99, 0.01, 0.0)),
    ]
    report = report_of(write_run(tmp_path / "run", rows, block_rows=2), examples=3)
    worst, borderline = report.examples

    assert ids(worst) == ["sure", "likely", "close"]
    assert ids(borderline) == ["close", "near"]
    assert worst.by_score


@pytest.mark.parametrize("block_rows", [1, 4, 100])
def test_examples_do_not_depend_on_how_the_run_was_divided(tmp_path: Path, block_rows: int) -> None:
    rows = [verdict(f"bad-{number}", "Unsafe", text=f"text {number % 30}") for number in range(60)]
    report = report_of(write_run(tmp_path / "run", rows, block_rows=block_rows), examples=7)
    first = sorted(rows, key=lambda row: row["verdict_id"])
    seen: dict[str, str] = {}
    for row in first:
        seen.setdefault(row["text_sha256"], row["event_id"])

    assert ids(report.examples[0]) == list(seen.values())[:7]
    assert not report.examples[0].by_score


def test_text_is_shown_only_if_it_is_asked_for_and_was_kept(tmp_path: Path) -> None:
    kept = write_run(tmp_path / "kept", [verdict("a", "Unsafe", text="x" * 2_001)])
    left = write_run(tmp_path / "left", [{**verdict("a", "Unsafe"), "text": None}], keep_text=False)

    hidden, shown, missing = report_of(kept), report_of(kept, include_text=True), report_of(left, include_text=True)

    assert (hidden.with_text, hidden.examples[0].examples[0].text) == (False, None)
    assert (shown.with_text, shown.examples[0].examples[0].text) == (True, "x" * 2_000 + " … (1 characters more)")
    assert (missing.with_text, missing.examples[0].examples[0].text) == (False, None)
    assert any("did not keep it" in note for note in missing.notes)


def test_an_unfinished_block_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", mixed(), state="running", blocks=4, finished_at=None)
    folder = RunFolder(run)
    write_block(folder, 3, [verdict("late", "Unsafe")], [dead_letter("x", "too_long")])
    Path(run, "blocks", "block-000003.json").unlink()
    report = report_of(run)

    assert report.volumes.verdicts == 12
    assert report.dead_letters == []
    assert report.warnings == ["This run is not finished: 3 of 4 blocks are done, only they are counted."]


def test_files_that_are_missing_are_noticed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", mixed(), [dead_letter("x", "too_long")])
    Path(run, DEAD_LETTERS, "block-000000.parquet").unlink()
    Path(run, VERDICTS, "date=2026-02-01", "verdict=Unsafe", "block-000002.parquet").unlink()

    assert report_of(run).warnings == [
        "The run's blocks tell of 12 verdicts and 1 dead letters, its files hold 11 and 0: files are missing, or were"
        " added."
    ]


def test_a_broken_file_is_an_error_that_names_the_run_and_quotes_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", mixed())
    Path(run, VERDICTS, "date=2026-02-01", "verdict=Unsafe", "block-000002.parquet").write_bytes(b"secret")

    with pytest.raises(ConfigurationError, match="run: cannot be read") as raised:
        report_of(run)
    assert "secret" not in str(raised.value)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"manifest\.json"):
        RunFiles(str(tmp_path))


def test_a_run_of_nothing_has_a_report(tmp_path: Path) -> None:
    report = report_of(write_run(tmp_path / "run", []))

    assert report.volumes.verdicts == 0
    assert (report.unsafe_share, report.times.buckets, report.tenants.listed) == (0.0, [], [])


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", mixed(), [dead_letter("x", "too_long")])
    steps: list[tuple[int, int | None]] = []

    build_report(RunFiles(run), RunFiles(run), Choices(), lambda done, total: steps.append((done, total)))

    assert steps[-1] == (12 + 3 + 1 + 12 + 12, 12 + 3 + 1 + 12 + 12)


def test_the_time_of_the_report_is_utc(tmp_path: Path) -> None:
    made = datetime.fromisoformat(report_of(write_run(tmp_path / "run", mixed())).made_at)

    assert made.tzinfo == UTC
