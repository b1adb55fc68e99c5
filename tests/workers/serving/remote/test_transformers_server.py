"""A real server of somebody else's, `transformers serve`, with the demo's model: it judges as the local engine does.

It takes chats only: as `/v1/completions` takes one string and no token ids, it stands for the flavour `chat`.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cache import UnavailableError, built_once
from tests.kafka.distribution import required
from tests.server_process import ServerProcess, answers_ok, free_port
from tests.workers.serving.remote.conftest import CORPUS
from workers.serving.engine.completion import BatchContext, Completion, PreparedPrompt
from workers.serving.engine.loading import DEMO_FOLDER
from workers.serving.remote.engine import RemoteEngine
from workers.settings.loading import load_settings

pytestmark = pytest.mark.server
REQUIREMENTS = Path(__file__).with_name("requirements-transformers-server.txt")
BIN = Path(sys.executable).parent
COMMIT = "0" * 40
ASKED = CORPUS[::2]


def install(folder: Path) -> None:
    """The few packages that the pinned environment lacks."""
    options = ["--quiet", "--no-deps", "--require-hashes", "--target", str(folder), "--python", sys.executable]
    done = subprocess.run(
        [BIN / "uv", "pip", "install", *options, "--requirement", str(REQUIREMENTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UnavailableError(f"what transformers serve needs cannot be installed: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, str]]:
    """The server while it starts, and its address."""
    digest = sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    try:
        packages = built_once(f"transformers-server-{digest}", "accelerate", install).parent
    except UnavailableError as error:
        if required():
            pytest.fail(f"REQUIRE_INTEGRATION=1, but {error}", pytrace=False)
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("transformers")
    kept = folder / "hub" / "models--weir--demo"  # it lists what is in the hub's cache
    shutil.copytree(DEMO_FOLDER, kept / "snapshots" / COMMIT)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    port = free_port(set())
    server = ServerProcess("transformers serve", folder / "log.txt")
    server.spawn(
        [str(BIN / "transformers"), "serve", "--device", "cpu", "--dtype", "float32", "--port", str(port)],
        HF_HOME=str(folder),
        HF_HUB_OFFLINE="1",
        PYTHONPATH=str(packages),
        OMP_NUM_THREADS="1",
    )
    try:
        yield server, f"http://localhost:{port}"
    finally:
        server.end(signal.SIGKILL)


@pytest.fixture
def url(starting: tuple[ServerProcess, str], local: list[Completion]) -> str:  # noqa: ARG001 - meanwhile
    """The server's address, once it answers."""
    server, address = starting
    server.wait_ready(lambda: answers_ok(f"{address}/health"), within_s=90.0)
    return address


def engine_of(url: str) -> RemoteEngine:
    """An engine over the server, to be closed."""
    chosen = {"urls": url, "flavour": "chat", "timeout_s": 60.0, "start_timeout_s": 60.0}
    return RemoteEngine.load(load_settings(guard={"model": "demo", "engine": "remote", "remote": chosen}).guard)


@pytest.mark.timeout(120)
def test_p4_p13_texts_are_the_local_engine_s_and_what_it_could_take_for_control_tokens_is_not_sent(
    url: str, local: list[Completion]
) -> None:
    engine = engine_of(url)
    try:
        prepared = engine.prepare_all(ASKED)
        sent = [item for item in prepared if isinstance(item, PreparedPrompt)]
        there = iter(engine.run_for(sent, BatchContext({}, is_live=True)))
        judged = [next(there) if isinstance(item, PreparedPrompt) else item for item in prepared]
    finally:
        engine.close()

    refused = [str(ASKED[index]) for index, item in enumerate(judged) if item.error is not None]
    assert refused == [str(conversation) for conversation in ASKED if "<|im_end|>" in str(conversation)]
    assert len(sent) > 20
    for here, item in zip(local[::2], judged, strict=True):
        assert item.error or (item.text, item.prompt_tokens, item.finish) == (
            here.text,
            here.prompt_tokens,
            here.finish,
        )
