"""The capacity plan: arithmetic of the shapes, measured before reckoned, and impossible inputs by name."""

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.capacity.capacity import CapacityPlan, plan, shown
from pipelines.capacity.figures import FAMILY, GPUS, HOST, MEASURED, MODELS, EngineFigure
from pipelines.capacity.load import Assumptions, Workload
from pipelines.capacity.work import new_tokens, prefix_gb, prompt_tokens, weights_gb, work_of
from pipelines.guard import ASK_SHARE
from schemas.errors import ConfigurationError
from schemas.event import Task
from workers.bench.engine.shapes import FRAMES as BENCH_FRAMES
from workers.bench.engine.shapes import SHAPES, VERDICT_TOKENS
from workers.settings.sections import GuardSettings, LengthSettings, LimitSettings

LOAD = Workload(10_000, 10, 500)
FREE = Assumptions(overhead_ms=0.0, efficiency=1.0)


def planned(
    load: Workload = LOAD,
    model: str = "0.6B",
    gpu: str = "h200",
    figures: tuple[EngineFigure, ...] = MEASURED,
    assumptions: Assumptions = Assumptions(),  # noqa: B008 - frozen
) -> CapacityPlan:
    return plan(load, model, gpu, figures, assumptions)


@pytest.mark.parametrize(("model", "total"), [("0.6B", 108.7), ("4B", 845), ("8B", 1597)])
def test_the_work_of_a_ten_token_prompt(model: str, total: float) -> None:
    work = work_of(MODELS[model], Task.PROMPT, 10, 0.0)
    assert work.total == pytest.approx(total, rel=1e-3)
    if model == "0.6B":
        assert work[:3] == pytest.approx((99.5, 2.5, 6.7), abs=0.05)
        assert work.second_pass == 0


def test_tokens_and_memory() -> None:
    assert new_tokens(Task.PROMPT, 10) == 113
    assert prompt_tokens(Task.PROMPT, 10) == 314
    assert new_tokens(Task.RESPONSE, 20) == 20 + 2 + 4 + 118 + 12
    assert prefix_gb(MODELS["0.6B"], Task.PROMPT) == pytest.approx(0.0231, abs=1e-4)
    assert prefix_gb(MODELS["8B"], Task.PROMPT) == pytest.approx(0.0296, abs=1e-4)
    assert weights_gb(MODELS["0.6B"]) == pytest.approx(1.19, abs=0.01)


def test_the_roofline_of_a_gpu_that_nobody_measured() -> None:
    result = planned(replace(LOAD, unsafe_share=0.0), assumptions=replace(FREE, efficiency=790 / 989))
    per_message = 1_000 * (result.batch_ms - 1_000 * 1.19 / 4_800) / result.batch_size
    assert 1e6 / per_message == pytest.approx(7_300, rel=0.01)
    assert not result.measured
    assert "never measured on h200" in " ".join(result.working)
    assert result.source == "arithmetic from the data sheet of h200"


def test_a_measured_throughput_comes_before_arithmetic() -> None:
    result = planned(Workload(20, 10, 2_000, unsafe_share=0.0), gpu="zen5-2core")
    assert result.measured
    assert result.messages_per_second_per_replica == pytest.approx(7.22)
    assert "2026-11-21-engine.md" in result.source
    given_here = EngineFigure("h200", "0.6B", None, 2_000, "given")
    result = planned(figures=(given_here, *MEASURED))
    assert result.messages_per_second_per_replica == pytest.approx(2_000)
    assert result.measured
    assert planned(model="4B", figures=(given_here,)).measured is False


def test_a_measured_throughput_is_scaled_to_the_loads_tokens() -> None:
    figure = EngineFigure("h200", "0.6B", 10, 2_000, "measured here")
    longer = planned(Workload(1_000, 500, 500, unsafe_share=0.0), figures=(figure,))
    shape = MODELS["0.6B"]
    share = work_of(shape, Task.PROMPT, 10, 0).total / work_of(shape, Task.PROMPT, 500, 0).total
    assert longer.messages_per_second_per_replica == pytest.approx(2_000 * share)


def test_replicas_partitions_and_cost_follow() -> None:
    figure = EngineFigure("h200", "0.6B", None, 1_000, "given")
    result = planned(Workload(40_000, 10, 500), figures=(figure,), assumptions=Assumptions(0.5, spare=2, price=3.6))
    assert result.replicas == 82
    assert result.consumers == ceil(40_000 * HOST.consumer(result.batch_size) / 1e6 / 0.5)
    assert result.partitions == 4 * result.consumers
    assert result.host_cores == pytest.approx(
        0.04 * (HOST.consumer(result.batch_size) + HOST.replica(result.batch_size))
    )
    assert result.utilisation == pytest.approx(40 / 82)
    assert result.replica_seconds_per_million == pytest.approx(82 * 25)
    assert result.cost_per_million == pytest.approx(82 * 25 / 3_600 * 3.6)
    assert planned().cost_per_million is None
    assert result.settings["WEIR_GUARD__REPLICAS"] == "82"
    assert result.settings["WEIR_SERVE__CONSUMERS"] == str(result.consumers)
    assert result.settings["WEIR_GUARD__CPUS_PER_REPLICA"] == "2"  # one for the model, 1,000/s take a part of another
    assert result.settings["WEIR_GUARD__GPUS_PER_REPLICA"] == "1"


def test_asks_want_replicas_and_a_share_of_them_but_no_consumers() -> None:
    figures = (EngineFigure("h200", "0.6B", None, 1_000, "given"),)
    without = planned(Workload(40_000, 10, 500), figures=figures, assumptions=Assumptions(0.5, spare=0))
    few, many = (
        planned(Workload(40_000, 10, 500, asks_per_second=asks), figures=figures, assumptions=Assumptions(0.5, spare=0))
        for asks in (1_000, 20_000)
    )
    assert (without.replicas, few.replicas, many.replicas) == (80, 82, 120)
    assert without.consumers == few.consumers == many.consumers
    assert few.settings["WEIR_GUARD__ASK_SHARE"] == f"{ASK_SHARE:g}" == f"{GuardSettings().ask_share:g}"
    assert many.settings["WEIR_GUARD__ASK_SHARE"] == "0.25"  # 20,000 of the 80,000 that messages leave
    assert few.settings["WEIR_ASK__ENABLED"] == "true"
    assert not {"WEIR_GUARD__ASK_SHARE", "WEIR_ASK__ENABLED"} & set(without.settings)
    assert few.host_cores > without.host_cores


def test_the_batch_is_what_two_passes_of_fit_into_the_target() -> None:
    figure = EngineFigure("h200", "0.6B", None, 1_000, "given")
    assert [
        planned(replace(LOAD, target_ms=target), figures=(figure,)).batch_size for target in (2, 3, 100, 10_000)
    ] == [1, 1, 50, 256]
    tight = planned(Workload(10, 8_000, 60_000), "8B", "l4")
    assert tight.batch_size < 256
    assert "memory" in " ".join(tight.working)


@pytest.mark.parametrize(
    ("load", "model", "gpu", "assumptions", "error"),
    [
        (replace(LOAD, messages_per_second=0), "0.6B", "h200", Assumptions(), "messages_per_second: 0 is not"),
        (replace(LOAD, messages_per_second=float("nan")), "0.6B", "h200", Assumptions(), "messages_per_second: nan"),
        (replace(LOAD, messages_per_second=1e300), "0.6B", "h200", Assumptions(), "messages_per_second: 1e+300 is not"),
        (
            replace(LOAD, messages_per_second=1e-300),
            "0.6B",
            "h200",
            Assumptions(),
            "messages_per_second: 1e-300 is not",
        ),
        (replace(LOAD, tokens=-1), "0.6B", "h200", Assumptions(), "tokens: -1 is not"),
        (
            replace(LOAD, tokens=33_000),
            "0.6B",
            "h200",
            Assumptions(),
            "tokens: 33000 and the template's 304 do not fit",
        ),
        (replace(LOAD, target_ms=5), "0.6B", "h200", Assumptions(), "target_ms: 5 is too short"),
        (replace(LOAD, unsafe_share=1.5), "0.6B", "h200", Assumptions(), "unsafe_share: 1.5 is not a share"),
        (replace(LOAD, asks_per_second=-1), "0.6B", "h200", Assumptions(), "asks_per_second: -1 is below 0"),
        (replace(LOAD, asks_per_second=1e300), "0.6B", "h200", Assumptions(), "asks_per_second: 1e+300 is above"),
        (LOAD, "14B", "h200", Assumptions(), "model: '14B' is not one of 0.6B, 4B, 8B"),
        (LOAD, "0.6B", "v100", Assumptions(), "gpu: no figure and no data sheet of 'v100' for 0.6B; known: a100"),
        (LOAD, "4B", "zen5-2core", Assumptions(), "gpu: no figure and no data sheet of 'zen5-2core' for 4B"),
        (LOAD, "0.6B", "h200", Assumptions(utilisation=1.2), "utilisation: 1.2 is not a share"),
        (LOAD, "0.6B", "h200", Assumptions(utilisation=0), "utilisation: 0 is not a number above 0"),
        (LOAD, "0.6B", "h200", Assumptions(utilisation=1e-320), "utilisation: 1e-320 is below 0.001"),
        (LOAD, "0.6B", "h200", Assumptions(spare=10**22), "spare: 10000000000000000000000 is above 1,000,000"),
        (LOAD, "0.6B", "h200", Assumptions(efficiency=2), "efficiency: 2 is not a share"),
        (LOAD, "0.6B", "h200", Assumptions(spare=-1), "spare: -1 is below 0"),
        (LOAD, "0.6B", "h200", Assumptions(price=-1), "price: -1 is below 0"),
        (LOAD, "0.6B", "h200", Assumptions(growth=0), "growth: 0 leaves consumers without"),
    ],
)
def test_the_impossible_is_refused_by_its_name(
    load: Workload, model: str, gpu: str, assumptions: Assumptions, error: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        planned(load, model, gpu, assumptions=assumptions)
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize("rate", [float("inf"), float("nan"), 1e-320, 0.0])
def test_a_figure_that_is_no_rate_is_refused(rate: float) -> None:
    with pytest.raises(ConfigurationError, match=r"a typing error: .* messages/s is not a rate"):
        planned(figures=(EngineFigure("h200", "0.6B", None, rate, "a typing error"),))


def test_a_gpu_of_ones_own_figures_is_asked_for_and_a_cpu_has_none() -> None:
    rented = planned(gpu="rented", figures=(EngineFigure("rented", "0.6B", None, 2_000, "given"),))
    assert rented.settings["WEIR_GUARD__GPUS_PER_REPLICA"] == "1"
    assert planned(Workload(20, 10, 2_000), gpu="zen5-2core").settings["WEIR_GUARD__GPUS_PER_REPLICA"] == "0"


@pytest.mark.parametrize("tokens", [10, 1_000, 3_000, 30_000])
def test_a_plan_for_long_messages_has_room_for_what_fills_its_batches(tokens: float) -> None:
    """The defaults would pause the partitions at 64 MiB, and judge in windows what is reckoned as one piece."""
    result = planned(Workload(1_000, tokens, 60_000), "0.6B", "h200")
    filled = 2 * result.batch_size * result.replicas / result.consumers
    room = {name: int(result.settings[f"WEIR_LIMITS__IN_FLIGHT_{name}"]) for name in ("RECORDS", "TOKENS", "BYTES")}
    assert room["RECORDS"] >= filled
    assert room["TOKENS"] >= filled * tokens
    assert room["BYTES"] >= filled * tokens * 5
    assert int(result.settings.get("WEIR_LENGTH__MAX_TOKENS", 4_096)) >= min(2 * tokens, 32_768 - 304)


def test_the_target_that_is_named_as_possible_is_possible() -> None:
    with pytest.raises(ConfigurationError) as caught:
        planned(replace(LOAD, target_ms=1))
    least = float(str(caught.value).split("at least ")[1].split(" ms")[0])
    assert planned(replace(LOAD, target_ms=least * 1.001)).batch_size == 1


def test_a_model_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GPUS, "l4", GPUS["l4"]._replace(memory_gb=16))
    with pytest.raises(ConfigurationError, match=r"gpu: l4 has 16 GB; the weights take 16.38 GB"):
        planned(replace(LOAD, target_ms=10_000), "8B", "l4")


@given(
    load=st.builds(
        Workload,
        messages_per_second=st.floats(0.01, 1e7),
        tokens=st.floats(1, 30_000),
        target_ms=st.floats(1, 1e6),
        task=st.sampled_from(Task),
        unsafe_share=st.floats(0, 1),
        asks_per_second=st.just(0.0) | st.floats(1e-3, 1e6),
    ),
    model=st.sampled_from(sorted(MODELS)),
    gpu=st.sampled_from(sorted(GPUS)),
    utilisation=st.floats(0.05, 1),
    spare=st.integers(0, 5),
)
def test_every_plan_carries_its_load(load: Workload, model: str, gpu: str, utilisation: float, spare: int) -> None:
    try:
        result = plan(load, model, gpu, MEASURED, Assumptions(utilisation=utilisation, spare=spare))
    except ConfigurationError:
        # Too little time or memory, which have tests of their own: with all of both there is a plan.
        plan(replace(load, target_ms=1e9), model, "b200", MEASURED, Assumptions(utilisation=utilisation, spare=spare))
        return
    busy = result.replicas - spare
    carried = busy * result.messages_per_second_per_replica * utilisation
    assert carried >= (load.messages_per_second + load.asks_per_second) * (1 - 1e-9)
    assert result.latency_ms <= load.target_ms * (1 + 1e-6)
    assert 1 <= result.batch_size <= 256
    assert result.partitions >= result.consumers >= 1
    assert int(result.settings["WEIR_GUARD__BATCH_TOKENS"]) >= result.batch_size * load.tokens


def test_a_plan_for_a_small_load_has_the_defaults_of_the_settings() -> None:
    limits, longest = LimitSettings(), LengthSettings().max_tokens
    settings = planned(Workload(1, 10, 500)).settings
    assert settings["WEIR_LIMITS__IN_FLIGHT_RECORDS"] == str(limits.in_flight_records)
    assert settings["WEIR_LIMITS__IN_FLIGHT_TOKENS"] == str(limits.in_flight_tokens)
    assert settings["WEIR_LIMITS__IN_FLIGHT_BYTES"] == str(limits.in_flight_bytes)
    assert settings["WEIR_DELIVERY__CHUNK_SIZE"] == settings["WEIR_GUARD__BATCH_SIZE"]
    assert int(settings["WEIR_GUARD__BATCH_SIZE"]) <= GuardSettings().batch_size
    lengths = [planned(Workload(1, tokens, 5_000)).settings for tokens in (longest / 2, longest / 2 + 1)]
    assert [len({"WEIR_LENGTH__MAX_TOKENS"} & set(found)) for found in lengths] == [0, 1]


def test_figures_are_shown_without_powers_of_ten() -> None:
    assert [shown(value) for value in (1e4, 1_959.6, 980.04, 0.58333, 7.0)] == ["10,000", "1,960", "980", "0.5833", "7"]


def test_the_shapes_and_frames_are_those_of_the_benchmark() -> None:
    for name, shape in SHAPES.items():
        ours = MODELS[name]
        known = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
        assert ours[:4] == tuple(shape[key] for key in known)
    for task in Task:
        frame = FAMILY.frames[task]
        assert (frame.prefix, frame.tail) == BENCH_FRAMES[task.value]
        assert frame.draft + 1 == VERDICT_TOKENS[task.value]
