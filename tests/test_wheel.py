"""The installed wheel works wherever it is called: in an empty folder, and beside packages named like ours.

The chart's pods run it too: tests/helm/test_installed.py.
"""

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.installed_wheel import install_wheel, put_packages_named_like_ours
from tests.server_process import ServerProcess
from workers.demo.broker import EmbeddedBroker

MINUTES = 60.0
# What Ray says where all is well: of its token, of actors that may be restarted, of the controller that it ends itself.
ALARMING = re.compile(r"Token authentication|core_worker\.cc|graceful_shutdown")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(10 * MINUTES)]


@pytest.fixture(scope="module")
def weir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of the installed wheel."""
    return install_wheel(tmp_path_factory.mktemp("installed")) / "weir"


@pytest.fixture(params=[pytest.param("empty", marks=pytest.mark.slow), "with packages named like ours"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the command is called."""
    if request.param != "empty":
        put_packages_named_like_ours(tmp_path)
    return tmp_path


def answer(weir: Path, folder: Path, *words: str) -> Any:
    ended = subprocess.run(
        [weir, *words, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=5 * MINUTES,
    )
    assert ended.returncode == 0, ended.stderr
    assert not ALARMING.search(ended.stderr), ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.slow
def test_the_demo_closes_its_ledger(weir: Path, folder: Path) -> None:
    report = answer(weir, folder, "demo", "--events", "100")

    assert report["ledger"]["proven"]
    assert report["ledger"]["inputs"] == 100


def test_an_audit_judges_a_file_of_the_folder(weir: Path, folder: Path) -> None:
    lines = [json.dumps({"event_id": f"e{number}", "text": "good morning"}) for number in range(20)]
    (folder / "log.jsonl").write_text("\n".join(lines), encoding="utf-8")
    manifest = answer(weir, folder, "audit", "run", "log.jsonl", "--model", "demo", "--into", "run")
    subprocess.run([weir, "audit", "report", "run"], cwd=folder, check=True, timeout=MINUTES)

    assert manifest["state"] == "finished"
    assert manifest["counts"]["rows"] == 20
    assert manifest["counts"]["dead_letters"] == 0
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_application_starts_and_ends_when_asked(weir: Path, folder: Path) -> None:
    log = folder / "log"
    with EmbeddedBroker(("chat.events", "moderation.verdicts", "moderation.dlq")) as broker:
        server = ServerProcess("weir run", log)
        server.spawn(
            [str(weir), "run"],
            cwd=folder,
            WEIR_KAFKA__BOOTSTRAP_SERVERS=broker.bootstrap_servers,
            WEIR_KAFKA__API_VERSION=broker.api_version,
            WEIR_GUARD__MODEL="demo",
            WEIR_GUARD__COMPILE="false",
            WEIR_AUTOSCALING__ENABLED="true",  # then Serve imports the application by its name, in a process of its own
        )
        try:
            server.wait_ready(lambda: '"running"' in log.read_text(encoding="utf-8", errors="replace"), 5 * MINUTES)
            server.signal(signal.SIGTERM)
            server.wait_done(MINUTES)
        finally:
            server.wait_gone()
    assert "Traceback" not in log.read_text(encoding="utf-8", errors="replace")
