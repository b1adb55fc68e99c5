"""Nothing to judge is a normal end: counted, in no topic, committed in its turn, and nothing for the breaker."""

import json

import pytest

from schemas.reasons import Reason
from tests.guards.scripted_guard import ScriptedGuard
from tests.site import Site, event, wait_until
from workers.tools.verify.verify import verify

BLANK = json.dumps({"event_id": "image", "text": "", "attachments": [{"url": "https://x.invalid/a.png"}]}).encode()
QUICK = {
    "consecutive_failures": 5,
    "consecutive_input_errors": 5,
    "input_error_min_records": 5,
    "input_error_ratio": 0.1,
}


@pytest.fixture(params=["at_least_once", pytest.param("exactly_once", marks=pytest.mark.integration)])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_p1_tombstones_and_images_are_skipped_and_what_stands_behind_them_is_judged(site: Site, mode: str) -> None:
    if mode == "exactly_once" and site.settings.kafka.api_version is not None:
        pytest.skip("the mock cluster is too old for transactions")
    settings = site.settings_with(breaker=QUICK, delivery={"mode": mode})
    site.produce([None, BLANK] * 40)
    worker = site.start(ScriptedGuard(), settings)
    wait_until(lambda: sum(site.committed().values()) == 80, "records with nothing to judge to be committed")
    site.produce([event("live"), None, event("more"), BLANK])
    wait_until(lambda: sum(site.committed().values()) == 84, "those behind them")
    assert worker.stop(20.0)

    ledger = verify(site.settings)
    assert ledger.is_proven, ledger
    assert (ledger.inputs, ledger.verdicts, ledger.dead_letters, ledger.skipped) == (84, 2, 0, 82)
    assert not worker.breaker.is_open
    assert worker.breaker.view(0.0).input_errors.records == 2
    assert worker.progress.completed == 84
    assert worker.in_flight == 0


def test_they_are_dead_letters_where_that_is_asked_for_and_open_nothing(site: Site) -> None:
    settings = site.settings_with(breaker=QUICK, events={"nothing_to_judge": "dead_letter"})
    site.produce([None, BLANK] * 20)
    worker = site.start(ScriptedGuard(), settings)
    site.wait_for(40)
    assert worker.stop(20.0)

    assert {letter.reason for letter in site.dead_letters()} == {Reason.TOMBSTONE, Reason.BLANK_TEXT}
    assert not worker.breaker.is_open
    asked = verify(settings)
    assert asked.is_proven
    assert (asked.dead_letters, asked.skipped) == (40, 0)
    assert verify(site.settings).is_proven, "what one setting wrote, the other does not call a fault"


def test_p1_a_verify_that_expects_outcomes_misses_what_was_skipped(site: Site) -> None:
    site.produce([None, event("live")])
    worker = site.start(ScriptedGuard())
    wait_until(lambda: sum(site.committed().values()) == 2, "both")
    assert worker.stop(20.0)

    assert verify(site.settings).is_proven
    assert verify(site.settings_with(events={"nothing_to_judge": "dead_letter"})).missing == 1
