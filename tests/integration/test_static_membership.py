"""Members with a name of their own: a restart in time moves nothing, and a name has one bearer."""

import pytest
from kafka.errors import FencedInstanceIdError

from tests.integration.members import QUICK, Load
from tests.stream.conftest import Bench, wait_until
from tests.stream.scripted_guard import ScriptedGuard
from workers.settings import Settings


def named(bench: Bench, name: str) -> Settings:
    """Settings of a member with a name, which may be away for ten seconds."""
    return bench.settings_with(kafka={**QUICK, "session_timeout_ms": 10_000, "group_instance_id": name})


def test_a_restart_in_time_moves_no_partition_of_the_others(
    wide_bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    load = Load(wide_bench)
    load.more(60)
    stays = wide_bench.start(ScriptedGuard(), named(wide_bench, "weir-0"))
    leaves = wide_bench.start(ScriptedGuard(), named(wide_bench, "weir-1"))

    def both_work() -> bool:
        load.more(10)
        return leaves.progress.completed > 20 and stays.progress.completed > 20

    wait_until(both_work, "both to work")
    assert leaves.stop(20.0)
    caplog.clear()
    load.more(60)
    back = wide_bench.start(ScriptedGuard(), named(wide_bench, "weir-1"))
    ledger = load.until_done(wide_bench.settings)

    assert ledger.is_proven, ledger
    assert ledger.duplicates == 0
    assert back.progress.completed > 0
    assert "partitions_revoked" not in caplog.text
    assert caplog.text.count("partitions_assigned") == 1, "only the one that came back was given partitions"
    assert stays.failure is None


def test_a_second_bearer_of_a_name_takes_over_and_the_first_one_says_why_it_stops(wide_bench: Bench) -> None:
    load = Load(wide_bench)
    load.more(60)
    first = wide_bench.start(ScriptedGuard(), named(wide_bench, "weir-0"))
    wait_until(lambda: first.progress.completed == 60, "the first one to work")
    second = wide_bench.start(ScriptedGuard(), named(wide_bench, "weir-0"))
    wait_until(lambda: first.failure is not None, "the first one to be fenced")
    load.more(60)
    ledger = load.until_done(wide_bench.settings)

    assert isinstance(first.failure, FencedInstanceIdError)
    assert first.stuck_reason() == "the worker failed: FencedInstanceIdError"
    assert second.failure is None
    assert ledger.is_proven, ledger
