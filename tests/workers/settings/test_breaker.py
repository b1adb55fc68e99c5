"""The `breaker` section: its defaults fit together, and pairs that would switch a rule off unseen are refused."""

from typing import Any

import pytest

from pipelines.breaker.rules import BreakerRules
from schemas.errors import ConfigurationError
from workers.settings.loading import load_settings

UNSAFE: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"failure_min_records": 10_001},
        ["breaker.failure_min_records=10001", "breaker.window_records=10000"],
    ),
    (
        {"input_error_min_records": 101, "window_records": 100, "failure_min_records": 100},
        ["breaker.input_error_min_records=101", "breaker.window_records=100"],
    ),
    (
        {"drift_baseline_records": 4_999},
        ["breaker.drift_baseline_records=4999", "breaker.drift_window_records=5000"],
    ),
    (
        {"drift_baseline_half_life_s": 30.0},
        ["breaker.drift_baseline_half_life_s=30.0", "breaker.drift_window_s=30.0"],
    ),
]
WRONG: list[dict[str, Any]] = [
    {"failure_ratio": 0},
    {"failure_ratio": 1.01},
    {"input_error_ratio": 0},
    {"drift_distance": 0},
    {"drift_distance": 1},
    {"drift_action": "open"},
    {"window_s": 0},
    {"window_records": 0},
    {"consecutive_failures": 0},
    {"half_open_s": 60},
]


@pytest.mark.parametrize(("values", "named"), UNSAFE)
def test_a_pair_that_switches_a_rule_off_is_refused_naming_both(values: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(breaker=values)

    assert [part for part in named if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    "values",
    [
        {"failure_min_records": 10_000, "input_error_min_records": 10_000},
        {"drift_baseline_records": 5_000, "drift_baseline_half_life_s": 30.1},
        {"failure_ratio": 1, "input_error_ratio": 1},
    ],
)
def test_the_nearest_pair_that_works_is_taken(values: dict[str, Any]) -> None:
    assert load_settings(breaker=values).breaker == BreakerRules(**values)


@pytest.mark.parametrize("values", WRONG)
def test_a_wrong_value_or_key_is_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=rf"^breaker\.{next(iter(values))}"):
        load_settings(breaker=values)


def test_it_is_on_by_default() -> None:
    assert load_settings().breaker.enabled
    assert load_settings().breaker.drift_action == "trip"
