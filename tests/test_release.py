"""What `make release` makes of the changelog and of the files, without building them."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from infra.release import SUMS, bill_of, notes_of, sums_of
from tests.tree import ROOT

CHANGELOG = "# Changelog\n\n## [1.1.0] - 2026\n\n### Added\n\n- a\n\n## [1.0.0] - 2025\n\n- b\n\n## [0.9.0] - 2024\n"


def test_the_notes_are_the_version_s_section() -> None:
    assert notes_of(CHANGELOG, "1.1.0") == "### Added\n\n- a\n"
    assert notes_of(CHANGELOG, "1.0.0") == "- b\n"


@pytest.mark.parametrize("version", ["0.9.0", "1.1", "2.0.0"])
def test_a_version_of_which_the_changelog_says_nothing_is_not_released(version: str) -> None:
    with pytest.raises(ValueError, match=re.escape(version)):
        notes_of(CHANGELOG, version)


def test_the_version_at_hand_has_notes() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    assert "### Added" in notes_of((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)


def test_the_bill_is_of_what_users_install_and_has_no_tool_of_ours() -> None:
    parts = [
        {"name": name, "bom-ref": f"{name}==1"} for name in ("Jinja2", "typing_extensions", "pytest", "markupsafe")
    ]
    bill = {
        "metadata": {"component": {"name": "weir-moderation", "bom-ref": "root"}},
        "components": parts,
        "dependencies": [
            {"ref": "root", "dependsOn": ["Jinja2==1", "pytest==1"]},
            {"ref": "Jinja2==1", "dependsOn": ["markupsafe==1"]},
            {"ref": "pytest==1", "dependsOn": ["markupsafe==1"]},
            {"ref": "markupsafe==1"},
        ],
    }
    pins = (
        "jinja2==1 \\\n    --hash=sha256:0\ntyping-extensions==1\nmarkupsafe==1\npywin32==3 ; sys_platform == 'win32'\n"
    )
    made = json.loads(bill_of(json.dumps(bill), pins))

    assert [part["name"] for part in made["components"]] == ["Jinja2", "typing_extensions", "markupsafe"]
    assert made["dependencies"] == [
        {"ref": "root", "dependsOn": ["Jinja2==1"]},
        {"ref": "Jinja2==1", "dependsOn": ["markupsafe==1"]},
        {"ref": "markupsafe==1"},
    ]
    with pytest.raises(ValueError, match=r"^build/sbom\.json lacks ray: make setup$"):
        bill_of(json.dumps(bill), f"{pins}ray==2\n")


def test_the_sums_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"a")
    (tmp_path / "b.tgz").write_bytes(b"b")
    (tmp_path / SUMS).write_text(sums_of(tmp_path))
    check = ["sha256sum", "--check", "--strict", SUMS]

    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    (tmp_path / "b.tgz").write_bytes(b"c")
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode == 1
    assert len((tmp_path / SUMS).read_text().splitlines()) == 2
