"""Builds what a release consists of into build/release, and tries it from an empty folder; `make release` runs it.

The bill of materials is made before, by `make sbom`. Uploads nothing.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "release"
SUMS = "SHA256SUMS"
_PIN = re.compile(r"(?m)^([\w.-]+)==[^\s;]+( *;)?")
_TRIED = (["--version"], ["schema", "verdict"], ["plan", "--messages-per-second", "100", "--tokens", "50"])


def notes_of(changelog: str, version: str) -> str:
    """A version's section of the changelog, without its heading.

    Raises:
        ValueError: it has none, or nothing in it.
    """
    found = re.search(rf"(?ms)^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## \[|\Z)", changelog)
    if found is None or not found[1].strip():
        raise ValueError(f"CHANGELOG.md says nothing of {version}")
    return found[1].strip() + "\n"


def sums_of(folder: Path) -> str:
    """A line for each file, as `sha256sum --check` reads them."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def bill_of(environment: str, pinned: str) -> str:
    """The bill of materials of what users install, out of that of this environment, which has our tools, too.

    Args:
        environment: CycloneDX, as JSON.
        pinned: requirements of the images, which have all but the broker of the demo.

    Raises:
        ValueError: the environment lacks something that is pinned.
    """
    bill = json.loads(environment)
    wanted = {_normal(name): marker for name, marker in _PIN.findall(pinned)}
    bill["components"] = [part for part in bill["components"] if _normal(part["name"]) in wanted]
    found = {_normal(part["name"]) for part in bill["components"]}
    if missing := sorted(name for name, marker in wanted.items() if not marker and name not in found):
        raise ValueError(f"build/sbom.json lacks {', '.join(missing)}: make setup")
    kept = {part["bom-ref"] for part in (bill["metadata"]["component"], *bill["components"])}
    bill["dependencies"] = [
        {**entry, "dependsOn": [ref for ref in entry["dependsOn"] if ref in kept]} if "dependsOn" in entry else entry
        for entry in bill["dependencies"]
        if entry["ref"] in kept
    ]
    return json.dumps(bill, indent=2) + "\n"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def build(helm: str) -> list[Path]:
    """Make everything anew; returns the files."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    notes = notes_of((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(FOLDER))
    _run(helm, "package", "helm/weir", "--destination", str(FOLDER))
    (FOLDER / "NOTES.txt").write_text(notes, encoding="utf-8")
    environment = (ROOT / "build" / "sbom.json").read_text(encoding="utf-8")
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    (FOLDER / "sbom.json").write_text(bill_of(environment, pinned), encoding="utf-8")
    (FOLDER / SUMS).write_text(sums_of(FOLDER), encoding="utf-8")
    return sorted(FOLDER.iterdir())


def try_out(helm: str) -> None:
    """Install and use the files where nothing of the clone is.

    Raises:
        CalledProcessError: one of them does not do.
        ValueError: the source archive builds another wheel.
    """
    with tempfile.TemporaryDirectory(prefix="weir-release-") as name:
        empty = Path(name)
        (wheel,), (source,), (chart,) = (list(FOLDER.glob(pattern)) for pattern in ("*.whl", "*.tar.gz", "weir-*.tgz"))
        _run("sha256sum", "--check", "--strict", "--quiet", SUMS, cwd=FOLDER)
        uv = str(Path(sys.executable).with_name("uv"))
        _run(uv, "venv", "--quiet", "--python", sys.executable, "environment", cwd=empty)
        _run(uv, "pip", "install", "--quiet", "--python", "environment/bin/python", str(wheel), cwd=empty)
        for words in _TRIED:
            _run("environment/bin/weir", *words, cwd=empty, stdout=subprocess.DEVNULL)
        with tarfile.open(source) as archive:
            archive.extractall(empty / "source", filter="data")
        (folder,) = (empty / "source").iterdir()
        _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(empty), cwd=folder)
        if _names(empty / wheel.name) != _names(wheel):
            raise ValueError(f"{source.name} builds another wheel than {wheel.name}")
        values = str(ROOT / "helm" / "weir" / "ci" / "deployment-values.yaml")
        for words in (("lint", "--quiet", "--strict"), ("template", "weir")):
            chosen = ("--values", values, "--kube-version", "1.31.0")
            _run(helm, *words, str(chart), *chosen, cwd=empty, stdout=subprocess.DEVNULL)


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def _run(*words: str, cwd: Path = ROOT, stdout: int | None = None) -> None:
    subprocess.run(words, cwd=cwd, check=True, stdout=stdout)


def main() -> None:
    """Build, try, list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--helm", default="helm", help="the command that packages the chart")
    helm = parser.parse_args().helm
    files = build(helm)
    try_out(helm)
    sys.stdout.write("".join(f"{path.relative_to(ROOT)}  {path.stat().st_size:,} bytes\n" for path in files))


if __name__ == "__main__":
    main()
