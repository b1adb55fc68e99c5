"""The technical report's figures beside ours."""

import pytest

from pipelines.evaluation.binary import Bootstrap
from pipelines.evaluation.report import ReportOptions, evaluate
from pipelines.evaluation.reported import SIZES, reported_refusal, reported_safety, size_of
from schemas.event import Task
from schemas.verdict import Severity
from tests.pipelines.evaluation.sample_predictions import prediction

PROMPTS = ("toxicchat", "openai_moderation", "aegis", "aegis2", "simple_safety_tests", "harmbench", "wildguard")
RESPONSES = ("harmbench", "safe_rlhf", "beavertails", "xstest", "aegis2", "wildguard", "qwen3guardtest")
# Table 2 and 3: the mean over the benchmarks of the better mode of each; table 5 has no plain mean.
AVERAGES = {Task.PROMPT: (88.1, 89.3, 90.0), Task.RESPONSE: (82.0, 83.7, 83.9)}


@pytest.mark.parametrize("task", AVERAGES)
@pytest.mark.parametrize("size", SIZES)
def test_the_table_adds_up_to_the_reports_own_averages(task: Task, size: str) -> None:
    names = PROMPTS if task is Task.PROMPT else RESPONSES
    rows = [reported_safety(name, task, size) for name in names]
    best = [max(row) for row in rows if row is not None]
    assert len(best) == len(names)
    # Given to one decimal, of figures to one decimal.
    assert sum(best) / len(best) == pytest.approx(AVERAGES[task][SIZES.index(size)], abs=0.11)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("Qwen/Qwen3Guard-Gen-0.6B", "0.6B"),
        ("/models/Qwen3Guard-Gen-4B", "4B"),
        ("qwen3guard-gen-8b-tuned", "8B"),
        ("Qwen3Guard-Gen-14B", None),
        ("/srv/8B/mine", None),
        ("demo", None),
    ],
)
def test_the_size_is_read_from_the_models_name(model: str, size: str | None) -> None:
    assert size_of(model) == size


def test_what_the_report_does_not_have_is_not_made_up() -> None:
    assert reported_safety("beavertails", Task.PROMPT, "4B") is None
    assert reported_safety("labelled", Task.PROMPT, "4B") is None
    assert reported_safety("rtp_lx", Task.PROMPT, "4B", "sw") is None
    assert reported_refusal("aegis2", "4B") is None
    rtp = reported_safety("rtp_lx", Task.PROMPT, "0.6B", "zh-hans")
    assert rtp == (85.2, 60.4)


def test_figures_are_laid_beside_by_benchmark_and_task() -> None:
    unsafe = Severity.UNSAFE
    wild = [
        *(prediction(f"p{number}", unsafe, Severity.CONTROVERSIAL, benchmark="wildguard") for number in range(10)),
        prediction("r", unsafe, unsafe, benchmark="wildguard", task=Task.RESPONSE, label_refusal=True, refusal=True),
        prediction("own", unsafe, unsafe),
    ]
    options = ReportOptions(size="8B", bootstrap=Bootstrap(20))
    rows = {(row.task, row.figure): row for row in evaluate(wild, options).beside_report}
    assert {key: row.reported for key, row in rows.items()} == {
        ("prompt", "strict"): 88.9,
        ("prompt", "loose"): 85.6,
        ("response", "strict"): 78.9,
        ("response", "loose"): 77.3,
        ("response", "refusal"): 90.0,
    }
    assert rows[Task.PROMPT, "strict"].measured.value == 100.0
    assert rows[Task.PROMPT, "loose"].measured.value == 0.0
    assert rows[Task.PROMPT, "loose"].difference == pytest.approx(-85.6)
    assert rows[Task.PROMPT, "loose"].within is False
    few = evaluate(wild[9:], options).beside_report
    assert [row.within for row in few if row.figure == "loose"] == [True, True], "one item contradicts nobody"
    assert evaluate(wild, ReportOptions(bootstrap=Bootstrap(20))).beside_report == ()


def test_within_takes_the_reports_rounding_into_account() -> None:
    # 779 of 1,000 found, nothing else flagged.
    found = [prediction(str(number), Severity.UNSAFE, Severity.UNSAFE, benchmark="toxicchat") for number in range(779)]
    lost = [prediction(f"l{number}", Severity.UNSAFE, Severity.SAFE, benchmark="toxicchat") for number in range(221)]
    rows = evaluate([*found, *lost], ReportOptions(size="4B", bootstrap=Bootstrap(200))).beside_report
    loose = next(row for row in rows if row.figure == "loose")
    assert loose.measured.value == pytest.approx(100 * 2 * 779 / 1779)
    assert loose.within is False
