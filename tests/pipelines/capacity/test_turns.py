"""The plan for answers that are judged while they are written: steps, shards, pages, and impossible inputs by name."""

from dataclasses import replace
from math import ceil

import pytest

from pipelines.capacity.figures import GPUS
from pipelines.capacity.load import Assumptions
from pipelines.capacity.turns import HEADROOM, TurnLoad, TurnsPlan, plan_turns
from pipelines.turns.port import SHARDS
from schemas.errors import ConfigurationError
from workers.settings.stream_guard import LEAST_PAGES, DeltaSettings, StreamGuardSettings

LOAD = TurnLoad(160, 40, 160, 320, 1, 500)


def planned(
    load: TurnLoad = LOAD, step_ms: float | None = 20.0, gpu: str = "h200", model: str = "0.6B", **assumed: float
) -> TurnsPlan:
    return plan_turns(load, model, gpu, step_ms, Assumptions(**assumed))  # type: ignore[arg-type]


def test_replicas_follow_from_the_tiles_of_deltas_and_of_what_stands_before_answers() -> None:
    result = planned(utilisation=1.0, spare=0)  # 160 deltas of a tile and 5 tiles of contexts, of 200 a second
    assert (result.replicas, result.measured, result.step_ms) == (1, True, 20)
    assert result.utilisation == pytest.approx(165 / 200)
    assert result.latency_ms == 40
    assert result.replica_seconds_per_million == pytest.approx(1e6 / 160)
    four = planned(replace(LOAD, delta_tokens=4), utilisation=1.0, spare=0)  # 40 deltas of 19 sixteenths
    assert four.utilisation == pytest.approx((40 * 19 / 16 + 5) / 200)


def test_the_busiest_replica_counts_because_conversations_go_by_shards() -> None:
    load = replace(LOAD, tokens_per_second=160 * 40, turns=1_600)
    result = planned(load, utilisation=1.0, spare=0)  # 6,600 tiles a second of 200 are 33 replicas, were they even
    assert result.replicas == SHARDS
    assert result.utilisation == pytest.approx(6_600 / 64 / 200)


def test_a_turns_pages_and_bytes_are_those_of_the_shape() -> None:
    result = planned(spare=1)
    assert result.page_bytes == 16 * 114_688
    assert planned(model="8B").page_bytes == 16 * 147_456
    assert result.sessions == ceil(HEADROOM * LOAD.turns * ceil(SHARDS / (result.replicas - 1)) / SHARDS)
    assert result.pages == max(LEAST_PAGES, result.sessions * 30)


def test_memory_asks_for_replicas_where_steps_do_not() -> None:
    load = replace(LOAD, tokens_per_second=100, turns=2_000)
    few, many = planned(load, step_ms=2.0, gpu="h200", spare=0), planned(load, step_ms=2.0, gpu="l4", spare=0)
    assert few.replicas < many.replicas
    assert many.pages * many.page_bytes < 0.9 * GPUS["l4"].memory_gb * 1e9


def test_a_gpu_that_nobody_measured_waits_for_launches() -> None:
    result = planned(step_ms=None)
    assert (result.measured, result.step_ms) == (False, 28 * 0.75)
    assert "never measured on h200" in " ".join(result.working)
    assert result.source == "arithmetic from the data sheet of h200"


def test_bounds_of_the_doors_are_raised_and_never_lowered() -> None:
    least = planned().settings
    assert least["WEIR_DELTAS__OPEN_TURNS"] == str(DeltaSettings().open_turns)
    assert least["WEIR_DELTAS__OPEN_CHARACTERS"] == str(DeltaSettings().open_characters)
    assert least["WEIR_STREAM_GUARD__MAX_SESSIONS"] == str(StreamGuardSettings().max_sessions)
    many = planned(replace(LOAD, tokens_per_second=400, turns=40_000)).settings
    assert many["WEIR_DELTAS__OPEN_TURNS"] == many["WEIR_ASK__STREAM_TURNS"] == "50000"
    assert int(many["WEIR_DELTAS__OPEN_CHARACTERS"]) > 40_000 * 480 * 4


@pytest.mark.parametrize(
    ("change", "step_ms", "gpu", "error"),
    [
        ({"target_ms": 30}, 20.0, "h200", "target_ms: 30 is too short"),
        ({"turns": 0}, 20.0, "h200", "turns: 0 is not a number above 0"),
        ({"answer_tokens": 8_100}, 20.0, "h200", "answer_tokens: 8,100 and before_tokens 160 do not fit"),
        ({"delta_tokens": 1_000}, 20.0, "h200", "delta_tokens: 1,000 is more than an answer has"),
        ({}, 0.0, "h200", "step_ms: 0.0 is not a number above 0"),
        ({}, None, "v100", "gpu: no data sheet of 'v100'"),
        ({"tokens_per_second": 1e6}, 20.0, "h200", "are too much for 64 replicas"),
        ({"tokens_per_second": 4, "turns": 10_000_000}, 20.0, "cpu", "turns: "),
    ],
)
def test_the_impossible_is_refused_by_name(
    change: dict[str, float], step_ms: float | None, gpu: str, error: str
) -> None:
    with pytest.raises(ConfigurationError, match=error):
        planned(replace(LOAD, **change), step_ms, gpu)  # type: ignore[arg-type]
