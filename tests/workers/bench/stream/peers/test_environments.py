"""The environments of the peers: made once, made anew when what is wanted changes, and one line when that fails."""

import re
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from schemas.errors import ModerationError
from workers.bench.stream.peers.environments import FOLDER, PEERS, Peer, install, last_line

ROOT = Path(__file__).parents[5]


@pytest.mark.slow
def test_an_environment_is_made_once_and_again_when_its_requirements_change(tmp_path: Path) -> None:
    script, requirements, folder = tmp_path / "peer.py", tmp_path / "peer.txt", tmp_path / "environments"
    script.touch()
    peer = Peer("Some Peer", script, requirements, ("pip",))
    requirements.write_text("--no-index\nno-such-thing==1 --hash=sha256:" + "0" * 64)
    with pytest.raises(ModerationError, match=r"Some Peer: could not be installed: .*no-such-thing") as refused:
        install(peer, folder)
    assert "\n" not in str(refused.value)

    requirements.write_text("# nothing is needed\n")
    made = install(peer, folder)
    assert made.python.is_file()
    assert re.fullmatch(r"pip [\d.]+", made.versions)
    kept = made.python.with_name("kept")
    kept.touch()
    assert install(peer, folder) == made
    assert kept.exists()

    requirements.write_text("# something else\n")
    assert install(peer, folder) == made
    assert not kept.exists()


def test_what_the_peers_are_run_from_travels_in_the_wheel() -> None:
    shipped = {Path(file.path) for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    needed = {FOLDER / "chat.py", *(path for peer in PEERS for path in (peer.script, peer.requirements))}

    assert len(needed) == 7
    assert needed - shipped == set()


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_requirements_of_the_peers_are_pinned_and_hashed_and_name_no_index(peer: Peer) -> None:
    text = peer.requirements.read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"\n(?=[A-Za-z])", re.sub(r"(?m)^\s*#.*\n", "", text)) if entry.strip()]
    assert not re.search(r"index-url|find-links|trusted-host|https?://|@ file:", text)
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []
    assert {name for name in peer.packages if f"\n{name}==" not in f"\n{text}"} == set()


def test_what_a_program_said_last_is_one_line() -> None:
    assert last_line("first\nlast  \n\n") == "last"
    assert last_line("\n") == "it said nothing"
    assert len(last_line("x" * 10_000)) == 300
