"""`weir breaker`: what it prints, and exit codes that a monitor can use. On real Ray: tests/workers/serving."""

from __future__ import annotations

import time

import pytest

from pipelines.breaker.breaker import Breaker
from pipelines.breaker.rules import BreakerRules
from schemas.reasons import Reason
from schemas.verdict import Severity
from tests.weir_result import Result
from workers.tools.inspect import breakers
from workers.tools.inspect.breakers import Answers, ReplicaBreaker

RULES = BreakerRules(drift_window_records=1_000, drift_window_s=1, drift_baseline_records=1_000)


def breaker(*, is_open: bool) -> ReplicaBreaker:
    """One whose mix has moved, so that all columns have something in them."""
    made = Breaker(RULES.model_copy(update={"drift_action": "warn"}))
    for second in range(40):
        made.observe(second, severities={Severity.SAFE if second < 30 else Severity.UNSAFE: 500})
    if is_open:
        made.observe(40, letters={Reason.NON_FINITE_LOGITS: 500})
    return ReplicaBreaker("opened" if is_open else "closed", made.view(100.0))


def answering(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> list[bool]:
    asked: list[bool] = []

    def ask(_timeout_s: float, *, reset: bool) -> Answers:
        asked.append(reset)
        return answers

    monkeypatch.setattr(breakers, "ask_breakers", ask)
    return asked


def test_status_shows_the_figures_and_the_reason_of_an_open_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, Answers([breaker(is_open=False), breaker(is_open=True)], 0, {"STARTING": 1}))
    shown, machine = Result("breaker", "status"), Result("breaker", "status", "--json")

    assert (shown.code, machine.code, asked) == (1, 1, [False, False])
    words = " ".join(shown.out.replace("│", " ").split())
    for part in (
        "open for 60 s",
        "500 in a row",
        "consecutive_failures",
        "warning:",
        "1 of 2 breakers open; 1 STARTING",
    ):
        assert part in words
    closed, opened = machine.json["breakers"]
    assert (closed["state"], closed["reason"], closed["open_s"]) == ("closed", None, None)
    assert (opened["state"], opened["cause"], opened["open_s"]) == ("open", "consecutive_failures", 60.0)
    assert opened["failures"]["by_reason"] == {"non_finite_logits": 500}
    assert 0.7 < opened["drift"]["distance"] < 1
    assert opened["drift"]["recent"] == {"Safe": 0.0, "Controversial": 0.0, "Unsafe": 1.0}
    assert "away from their baseline" in closed["warning"]


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (Answers([breaker(is_open=False)], 0, {}), 0),
        (Answers([breaker(is_open=False)], 1, {}), 1),
        (Answers([], 2, {}), 1),
        (Answers([], 0, {"STARTING": 2}), 1),
    ],
)
def test_status_is_good_only_if_every_worker_says_so(
    monkeypatch: pytest.MonkeyPatch, answers: Answers, code: int
) -> None:
    answering(monkeypatch, answers)
    result = Result("breaker", "status")

    assert result.code == code
    assert ("without an answer" in result.out) == (answers.silent > 0)


def test_reset_says_what_was_open_and_succeeds_if_all_were_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [breaker(is_open=False), breaker(is_open=True)]
    asked = answering(monkeypatch, Answers(both, 0, {}))
    result = Result("breaker", "reset")
    assert (result.code, asked) == (0, [True])
    assert "1 of 2 breakers were open, all are closed" in result.out

    answering(monkeypatch, Answers(both, 1, {}))
    missed = Result("breaker", "reset", "--json")
    assert (missed.code, missed.json["were_open"], missed.json["silent"]) == (1, 1, 1)


def test_a_cluster_that_is_not_there_is_one_line_and_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    started = time.monotonic()
    result = Result("breaker", "status", "--timeout", "2")

    assert (result.code, result.err) == (2, "weir: RAY_ADDRESS=127.0.0.1:1: Connection refused\n")
    assert time.monotonic() - started < 10
