"""The newcomer's first command: the whole path on one machine, with a closed ledger and a trace."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WEIR = Path(sys.executable).with_name("weir")


@pytest.mark.timeout(240)
def test_p1_p11_the_demo_closes_its_ledger_and_shows_a_whole_trace() -> None:
    done = subprocess.run([WEIR, "demo", "--json", "--events", "200"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)

    ledger = report["ledger"]
    assert ledger["closed"]
    assert ledger["proven"]
    assert ledger["verdicts"] + ledger["dead_letters"] + ledger["skipped"] == ledger["inputs"] == 200
    assert ledger["skipped"] == 6, "nothing to judge: three tombstones, three blank texts"
    assert report["unexpected"] == []
    assert set(report["severities"]) == {"Safe", "Controversial", "Unsafe"}
    assert set(report["actions"]) == {"allow", "review", "block"}
    assert len(report["dead_letters"]) >= 14

    root = report["trace"]
    (process,) = root["children"]
    assert (root["name"], process["name"]) == ("send chat.events", "process chat.events")
    kinds = {(child["name"].split()[0], child["linked"]) for child in process["children"]}
    assert kinds == {
        ("poll", True),
        ("chat", True),
        ("parse", True),
        ("create", False),
        ("queue", False),
        ("commit", True),
    }
    (create,) = [child for child in process["children"] if child["name"].startswith("create ")]
    assert [(child["name"].split()[0], child["linked"]) for child in create["children"]] == [("send", True)]
