"""`weir bench stream --peers` on real Kafka, with a stand-in for the peers that does their work by their protocol."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, ModerationError
from tests.kafka.cluster import KafkaCluster
from workers.bench.stream.peers import comparison
from workers.bench.stream.peers import process as peer_process
from workers.bench.stream.peers.comparison import PeerBenchResult, SideResult, run_peer_bench
from workers.bench.stream.peers.environments import FOLDER, Installed, Peer
from workers.kafka.admin import Admin
from workers.settings.loading import Settings, load_settings

EVENTS = 1_000
STAND_IN = Path(__file__).with_name("stand_in_peer.py")
Faulty = Callable[[str], Peer]


@pytest.fixture
def settings(kafka: KafkaCluster) -> Settings:
    return load_settings(kafka={"bootstrap_servers": kafka.bootstrap})


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Faulty:
    """Makes a peer with a fault; it runs in this environment, so nothing is installed."""
    monkeypatch.setattr(
        comparison, "install", lambda peer, _folder: Installed(peer, Path(sys.executable), "stand-in 1")
    )

    def make(fault: str = "") -> Peer:
        script = tmp_path / f"{fault or 'sound'}.py"
        text = STAND_IN.read_text(encoding="utf-8").replace("PEERS_FOLDER", str(FOLDER))
        script.write_text(text.replace('FAULT = ""', f'FAULT = "{fault}"'), encoding="utf-8")
        return Peer(fault or "sound", script, script, ())

    return make


def sides_of(result: PeerBenchResult) -> dict[str, SideResult]:
    return {side.name: side for side in result.sides}


@pytest.mark.slow
@pytest.mark.timeout(300)  # eight runs, each in new processes
def test_all_sides_are_measured_beside_each_other(settings: Settings, stand_in: Faulty, tmp_path: Path) -> None:
    steps: list[str] = []
    result = run_peer_bench(settings, EVENTS, 2, 2, tmp_path, steps.append, peers=[stand_in()])
    sides = sides_of(result)
    assert list(sides) == ["weir", "exactly_once", "bare", "sound"]
    assert [(side.problem, side.duplicates, len(side.rates)) for side in result.sides] == [(None, 0, 2)] * 4
    order = [step.partition(": ")[2] for step in steps if step.startswith("run ")]
    assert order == [*sides, *reversed(sides)]
    assert (result.is_good, result.best_peer) == (True, sides["sound"])
    assert abs(sides["weir"].value_bytes - sides["sound"].value_bytes) < 5
    assert sides["sound"].versions == "stand-in 1"
    assert result.to_dict()["ratio"] is not None
    with Admin(settings.kafka) as client:
        assert [name for name in client.list_topics() if name.startswith("bench-")] == []


@pytest.mark.timeout(300)
def test_a_side_that_loses_or_spoils_or_ends_is_told_and_the_rest_is_measured(
    settings: Settings, stand_in: Faulty, tmp_path: Path
) -> None:
    peers = [stand_in(fault) for fault in ("loses", "spoils", "crashes", "repeats")]
    result = run_peer_bench(settings, EVENTS, 2, 2, tmp_path, lambda _step: None, peers=peers, own=())
    sides = sides_of(result)
    assert sides["loses"].problem == "1 events without a result"
    assert sides["spoils"].problem == f"{EVENTS} events without a result, {EVENTS} wrong results"
    assert (sides["crashes"].problem or "").endswith("results (exit code 1); it said: it is broken")
    assert [len(side.rates) for side in result.sides] == [1, 1, 0, 2]
    assert (sides["repeats"].problem, sides["repeats"].duplicates) == (None, 4)
    assert (result.is_good, result.best_peer, result.ratio) == (False, sides["repeats"], None)


def test_a_peer_that_gets_no_further_is_stopped(
    settings: Settings, stand_in: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_process, "STALL_S", 0.0)
    # Its commits are not looked at, as if it had none: what it loses is waited for.
    peer = stand_in("loses")._replace(commits=False)
    result = run_peer_bench(settings, EVENTS, 2, 1, tmp_path, lambda _step: None, peers=[peer], own=())
    assert re.match(rf"got no further than \d+ of {EVENTS} results", result.sides[0].problem or "")


def test_a_peer_that_cannot_be_installed_is_one_line_and_no_failure(
    settings: Settings, stand_in: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = [stand_in(), stand_in()._replace(name="other")]

    def install(peer: Peer, _folder: Path) -> Installed:
        if peer.name == "other":
            raise ModerationError("other: could not be installed: no such wheel")
        return Installed(peer, Path(sys.executable), "")

    monkeypatch.setattr(comparison, "install", install)
    result = run_peer_bench(settings, EVENTS, 2, 1, tmp_path, lambda _step: None, peers=peers, own=())
    assert [side.not_installed for side in result.sides] == [None, "other: could not be installed: no such wheel"]
    assert [len(side.rates) for side in result.sides] == [1, 0]
    assert (result.is_good, result.best_peer) == (True, result.sides[0])


def test_what_the_peers_cannot_connect_to_is_refused_first(settings: Settings, tmp_path: Path) -> None:
    kafka = settings.kafka.model_copy(update={"security_protocol": "SSL"})
    with pytest.raises(ConfigurationError, match=r"kafka\.security_protocol=SSL"):
        run_peer_bench(settings.model_copy(update={"kafka": kafka}), EVENTS, 2, 1, tmp_path, lambda _step: None)
