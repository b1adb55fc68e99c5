"""Live and background calls on one replica of real Ray Serve: live ones are answered, and background goes on."""

import pytest

from workers.bench.serving.background import (
    ALONE,
    ASKS,
    BACKGROUND,
    NO_PRIORITY,
    SIDES,
    BackgroundPlan,
    run_background_bench,
)
from workers.settings.loading import load_settings


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_p9_live_messages_are_answered_beside_background_calls_that_get_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_SERVE_LOG_TO_STDERR", "0")
    plan = BackgroundPlan((0.2,), seconds=4, rounds=1, chunk=64, seed=1, timeout_s=30, pass_ms=30)
    progress: list[tuple[int, int | None]] = []
    report = run_background_bench(
        load_settings(guard={"model": "demo", "cpus_per_replica": 0.5}),
        plan,
        lambda done, total: progress.append((done, total)),
    )
    figures = {row.live.side: row for row in report.figures}

    assert report.is_good
    assert list(figures) == list(SIDES)
    assert (figures[ALONE].others, figures[ALONE].p99_ratio) == (0, 1)
    assert 0 < figures[BACKGROUND].others < figures[NO_PRIORITY].others
    assert 0 < figures[ASKS].others < figures[NO_PRIORITY].others
    assert figures[BACKGROUND].live.p99_ms < 10 * figures[ALONE].live.p99_ms + 1_000, "no measurement: a generous bound"
    assert progress[-1] == (len(SIDES), len(SIDES))
