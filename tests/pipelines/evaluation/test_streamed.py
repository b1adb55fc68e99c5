"""Where answers are stopped: counted by hand."""

from dataclasses import replace

import pytest

from pipelines.evaluation.binary import Bootstrap
from pipelines.evaluation.examples import Label, Mode, Prediction, Streamed, TokenCounts, Verdict
from pipelines.evaluation.report import ReportOptions, evaluate
from pipelines.evaluation.reported import refuse_idle_size
from pipelines.evaluation.streamed import StreamedFigures, distance_of, streamed_figures
from schemas.errors import ConfigurationError
from schemas.event import Task
from schemas.verdict import Severity

NONE = Bootstrap(0)
BENCHMARK = "qwen3guardtest_response_loc"


def streamed(strict: int | None, loose: int | None = None) -> Streamed:
    """An answer of 400 tokens whose unsafe sentence is the tokens 10 to 19."""
    parts = {"before": TokenCounts(10, 1, 0), "sentence": TokenCounts(10, 8, 6), "after": TokenCounts(380, 0, 0)}
    return Streamed(400, {Mode.STRICT: strict, Mode.LOOSE: loose}, (10, 19), parts)


def predicted(*answers: Streamed | None, label: Severity = Severity.UNSAFE) -> list[Prediction]:
    return [
        Prediction(
            f"e{number}",
            BENCHMARK,
            Task.RESPONSE,
            None,
            "",
            Label(label, unsafe_ids=(40, 49)),
            None if answer is None else Verdict(Severity.UNSAFE, (), None, None),
            streamed=answer,
        )
        for number, answer in enumerate(answers)
    ]


def figures(*answers: Streamed | None) -> StreamedFigures:
    found = streamed_figures(predicted(*answers), NONE)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("raised", "distance"), [(0, -10), (9, -1), (10, 0), (19, 0), (20, 1), (147, 128), (148, 129), (None, None)]
)
def test_a_distance_is_counted_from_the_end_of_the_sentence_that_it_misses(
    raised: int | None, distance: int | None
) -> None:
    assert distance_of(streamed(raised), Mode.STRICT) == distance


def test_stops_are_counted_by_where_they_are() -> None:
    places = (3, 10, 19, 20, 51, 52, 83, 84, 147, 148, 275, 276, None)
    strict = figures(*(streamed(place, 12) for place in places)).stops[BENCHMARK]["strict"]

    assert list(strict.distances.values()) == [1, 2, 2, 2, 2, 2, 1, 1]
    assert (strict.exact.value, strict.within_128.value, strict.script_128.value) == (2 / 13, 8 / 13, 9 / 13)
    assert strict.latency == 73  # of 0, 9, 10, 41, 42, 73, 74, 137, 138, 265 and 266


def test_modes_have_stops_of_their_own_and_parts_are_added() -> None:
    found = figures(streamed(12, None), streamed(13, 15))

    assert found.stops[BENCHMARK]["strict"].exact.value == 1
    assert (found.stops[BENCHMARK]["loose"].exact.value, found.stops[BENCHMARK]["loose"].latency) == (0.5, 5)
    assert found.tokens["sentence"] == TokenCounts(20, 16, 12)


def test_an_answer_that_was_not_judged_is_never_stopped() -> None:
    strict = figures(streamed(12), None).stops[BENCHMARK]["strict"]
    assert (strict.items, strict.exact.value, strict.distances["never"]) == (2, 0.5, 1)


def test_a_safe_answer_or_one_without_a_place_is_stopped_nowhere() -> None:
    nowhere = Streamed(5, dict.fromkeys(Mode, 1), None, {"whole": TokenCounts(5, 2, 2)})
    elsewhere = predicted(nowhere)
    found = streamed_figures([*elsewhere, replace(elsewhere[0], label=Label(Severity.UNSAFE))], NONE)

    assert found is not None
    assert (found.items, found.without_place, found.not_located, dict(found.stops)) == (2, 1, 1, {})
    safe = streamed_figures(predicted(streamed(12), label=Severity.SAFE), NONE)
    assert safe is not None
    assert not safe.stops
    assert streamed_figures(predicted(None), NONE) is None


def test_hits_are_laid_beside_the_reports_and_f1_of_gen_is_not() -> None:
    options = ReportOptions(bootstrap=NONE, size="4B", is_stream=True)
    rows = evaluate(predicted(streamed(12), streamed(3)), options).beside_report

    assert [(row.figure, row.measured.value, row.reported) for row in rows] == [
        ("exact hit", 50, 86.0),
        ("hit within 128", 100, 93.7),
    ]


def test_a_size_is_idle_where_the_kind_of_model_has_no_figures() -> None:
    refuse_idle_size("4B", {BENCHMARK}, streamed=True)
    refuse_idle_size("4B", {"toxicchat"})
    for benchmark, is_stream in ((BENCHMARK, False), ("toxicchat", True)):
        with pytest.raises(ConfigurationError, match="nothing to lay beside"):
            refuse_idle_size("4B", {benchmark}, streamed=is_stream)
