"""The programs that `weir bench stream --peers` runs beside Weir, and the virtual environments that they run in.

A peer is a program and a file of pinned requirements, both beside this module and in the wheel. Its environment is made
once and kept. Nothing of a peer is ever imported here.
"""

import hashlib
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.errors import ModerationError

FOLDER = Path(__file__).with_name("programs")
CACHE = Path.home() / ".cache" / "weir" / "peers"
INSTALL_S = 1_200.0
_MARKER = "installed-from"
_VERSIONS = "import sys; from importlib.metadata import version\nfor name in sys.argv[1:]: print(name, version(name))"


class Peer(NamedTuple):
    """A stream framework set up for at least once.

    Attributes:
        name: as a person knows it; its environment's folder, too.
        script: takes bootstrap servers, group, event topic, result topic, an empty folder and a compression; runs until
            SIGTERM.
        requirements: pinned and hashed.
        packages: whose versions are told.
        commits: whether it commits to its group, so that one can see when it is done; else it keeps offsets itself.
        lacks: what at least once would need and it has not.
    """

    name: str
    script: Path
    requirements: Path
    packages: tuple[str, ...]
    commits: bool = True
    lacks: str = ""


PEERS = (
    Peer(
        "FastStream",
        FOLDER / "faststream_app.py",
        FOLDER / "faststream.txt",
        ("faststream", "confluent-kafka", "pydantic"),
    ),
    Peer("Quix Streams", FOLDER / "quix_app.py", FOLDER / "quix.txt", ("quixstreams", "confluent-kafka", "pydantic")),
    Peer(
        "Bytewax",
        FOLDER / "bytewax_flow.py",
        FOLDER / "bytewax.txt",
        ("bytewax", "confluent-kafka", "pydantic"),
        commits=False,
        lacks="keeps its offsets in local files, commits none to Kafka, and never looks whether a record was delivered",
    ),
)


class Installed(NamedTuple):
    """A peer that can be run."""

    peer: Peer
    python: Path
    versions: str


def install(peer: Peer, folder: Path) -> Installed:
    """Make the peer's environment, or find it made of the same requirements for the same Python.

    Args:
        peer: what to install.
        folder: of all environments.

    Raises:
        ModerationError: it could not be installed; one line that says why.
    """
    home = folder.resolve() / peer.name.lower().replace(" ", "-")
    python, marker = home / "bin" / "python", home / _MARKER
    wanted = f"{hashlib.sha256(peer.requirements.read_bytes()).hexdigest()} {platform.python_version()}\n"
    if not (python.is_file() and marker.is_file() and marker.read_text(encoding="ascii") == wanted):
        _run(peer, [sys.executable, "-m", "venv", "--clear", str(home)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        _run(peer, [*pip, "--require-hashes", "--requirement", str(peer.requirements)])
        marker.write_text(wanted, encoding="ascii")
    found = _run(peer, [str(python), "-c", _VERSIONS, *peer.packages]).splitlines()
    return Installed(peer, python, ", ".join(found))


def _run(peer: Peer, command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=INSTALL_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModerationError(f"{peer.name}: could not be installed: {error}") from None
    if done.returncode != 0:
        raise ModerationError(f"{peer.name}: could not be installed: {last_line(done.stderr or done.stdout)}")
    return done.stdout


def last_line(text: str) -> str:
    """What a program said last, of bounded length."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
