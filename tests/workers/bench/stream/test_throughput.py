"""The options and the table of `weir bench stream --peers`; the measuring has tests of its own."""

from pathlib import Path

import pytest

from tests.weir_result import Result
from workers.bench.stream.peers import comparison
from workers.bench.stream.peers.comparison import PeerBenchResult, SideResult
from workers.bench.stream.peers.environments import CACHE
from workers.settings.loading import Settings

SIDES = [
    SideResult("weir", "weir 1", rates=[10.0, 30.0, 20.0], value_bytes=792.0),
    SideResult("exactly_once", "weir 1", rates=[15.0]),
    SideResult("bare", "kafka-python 3", rates=[40.0]),
    SideResult("Fast", "fast 1", is_peer=True, rates=[12.0, 50.0, 40.0], duplicates=2),
    SideResult("Slow", "slow 1", is_peer=True, lacks="has no brakes", rates=[5.0]),
    SideResult("Gone", "", is_peer=True, not_installed="Gone: could not be installed: no wheel"),
]


class Asked:
    """Stands in for the benchmark: notes what it was asked for."""

    def __init__(self, sides: list[SideResult]) -> None:
        self.sides = sides
        self.arguments: tuple[object, ...] = ()

    def __call__(
        self, _settings: Settings, events: int, partitions: int, runs: int, folder: Path, _step: object
    ) -> PeerBenchResult:
        self.arguments = (events, partitions, runs, folder)
        return PeerBenchResult(events, partitions, runs, self.sides, "a machine")


def asked(monkeypatch: pytest.MonkeyPatch, sides: list[SideResult] = SIDES) -> Asked:
    made = Asked(sides)
    monkeypatch.setattr(comparison, "run_peer_bench", made)
    return made


def test_the_environments_are_kept_in_the_users_cache_or_where_one_says(monkeypatch: pytest.MonkeyPatch) -> None:
    made = asked(monkeypatch)
    assert Result("bench", "stream", "--peers", "--events", "2000", "--runs", "2").code == 0
    assert made.arguments == (2000, 4, 2, CACHE)
    assert Result("bench", "stream", "--peers", "--peers-dir", "here").code == 0
    assert made.arguments == (50_000, 4, 3, Path("here"))


def test_a_folder_for_peers_is_refused_without_peers() -> None:
    refused = Result("bench", "stream", "--peers-dir", "here")
    assert (refused.code, "only with --peers" in refused.err) == (2, True)


def test_the_table_says_how_weir_does_beside_the_best_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch)
    shown = Result("bench", "stream", "--peers")
    assert shown.code == 0
    assert "weir over Fast, the best of the peers: 0.50" in shown.out
    assert "\nGone: Gone: could not be installed: no wheel\n" not in shown.out
    assert "\nGone: could not be installed: no wheel\n" in shown.out
    assert "Fast: fast 1\nSlow: slow 1; has no brakes\n" in shown.out
    assert "weir, exactly once" in shown.out


def test_json_has_every_run_and_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch)
    shown = Result("bench", "stream", "--peers", "--json")
    assert (shown.code, shown.json["ratio"], shown.json["best_peer"]) == (0, 0.5, "Fast")
    assert [side["median"] for side in shown.json["sides"]] == [20.0, 15.0, 40.0, 40.0, 5.0, None]
    assert shown.json["sides"][3]["rates"] == [12.0, 50.0, 40.0]


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_side_that_went_wrong_is_a_failure_and_has_no_median(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    lost = SideResult("Fast", "fast 1", is_peer=True, rates=[90.0], problem="1 events without a result")
    asked(monkeypatch, [*SIDES[:3], lost, SIDES[4]])
    shown = Result("bench", "stream", "--peers", *arguments)
    assert shown.code == 1
    assert "1 events without a result" in shown.out
    if arguments:
        assert (shown.json["best_peer"], shown.json["ratio"], shown.json["passed"]) == ("Slow", 4.0, False)
