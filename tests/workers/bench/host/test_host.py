"""`weir bench host`: what it prints, and what it says without a broker. `tests/integration` has it measured."""

import json
from functools import partial

import pytest

from tests.server_process import free_port
from tests.weir_result import Result
from workers.bench.host import way
from workers.bench.host.cpu_parts import PARTS
from workers.bench.host.way import HostResult, HostRun
from workers.settings.loading import Settings, load_settings


def ran(side: str, worker: float, replica: float) -> HostRun:
    parts = {} if side == "bare" else {part: worker + index for index, part in enumerate(PARTS)}
    return HostRun(side, worker + replica, worker, replica, parts, 4_321.0, 63.5, 90.4, 812.6)


RESULT = HostResult(
    2_000,
    4,
    1,
    [ran("weir", 60, 40), ran("serve.batch", 80, 90), ran("bare", 30, 0), ran("weir", 80, 50), ran("weir", 70, 45)],
    "a machine",
    {"ray": "2"},
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    asked: list[tuple[object, ...]] = []

    def run(_settings: Settings, *what: object) -> HostResult:
        asked.append(what[:-1])
        return RESULT

    monkeypatch.setattr(way, "run_host_bench", run)
    return asked


def test_its_json_has_the_medians_and_every_run(asked: list[tuple[object, ...]]) -> None:
    result = Result("bench", "host", "--events", "2000", "--replicas", "2", "--runs", "1", "--json")
    assert (result.code, asked) == (0, [(2_000, 4, 2, 1)])
    told = json.loads(result.out)
    assert told["cpu_us_per_message"] == 115
    assert told["replica_messages_per_s"] == pytest.approx(1e6 / 45)
    assert told["cores_for_5000_per_s"] == pytest.approx(115 * 5_000 / 1e6)
    assert told["parts"] == {part: 70 + index for index, part in enumerate(PARTS)}
    assert told["baselines_cpu_us_per_message"] == {"serve.batch": 170, "bare": 30}
    assert told["machine"] == "a machine"
    assert [run["side"] for run in told["runs"]] == ["weir", "serve.batch", "bare", "weir", "weir"]


def test_without_json_it_is_tables(asked: list[tuple[object, ...]]) -> None:
    result = Result("bench", "host")
    assert (result.code, asked) == (0, [(50_000, 4, 1, 3)])
    for shown in (
        *PARTS,
        "bare kafka-python loop",
        "weir with @serve.batch",
        "0.57 cores",
        "22,222/s",
        "worker 90 MiB",
    ):
        assert shown in result.out


def test_without_a_broker_it_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way, "Admin", partial(way.Admin, connect_s=0.2))
    settings = load_settings(kafka={"bootstrap_servers": f"127.0.0.1:{free_port(set())}"})
    with pytest.raises(way.ModerationError, match=r"kafka\.bootstrap_servers=127.* `make kafka-up` starts a broker"):
        way.run_host_bench(settings, 100, 1, 1, 1, print)
