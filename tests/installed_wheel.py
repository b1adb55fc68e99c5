"""The wheel as its users install it: an environment of its own with its commands, and folders to call them in."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_OURS = ("schemas", "pipelines", "workers")
_COMMANDS = {
    "weir": "workers.cli.app import main",
    "ray": "ray.scripts.scripts import main",
    "serve": "ray.serve.scripts import cli as main",
}


def install_wheel(folder: Path) -> Path:
    """Build the wheel and install it into a fresh environment; what it depends on is found in this one.

    Returns the folder of its commands: `weir`, and Ray's `ray` and `serve`.
    """
    built = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(built, cwd=_ROOT, check=True, capture_output=True)
    venv.create(folder / "environment", symlinks=True)
    python = folder / "environment" / "bin" / "python"
    (site,) = (folder / "environment").glob("lib/python*/site-packages")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    # A folder on the path of one that is: its own .pth files, such as that of our editable install, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    for name, imported in _COMMANDS.items():
        command = python.with_name(name)
        command.write_text(f"#!{python}\nfrom {imported}\nmain()\n", encoding="utf-8")
        command.chmod(0o755)
    asked = [python, "-c", "import workers; print(workers.__file__)"]
    found = subprocess.run(asked, cwd=folder, check=True, capture_output=True, text=True)
    assert Path(found.stdout.strip()).is_relative_to(site)
    return python.parent


def put_packages_named_like_ours(folder: Path) -> None:
    """Packages of the user's own that have our names, and fail whoever imports them in place of ours."""
    for name in _OURS:
        package = folder / name
        package.mkdir()
        (package / "__init__.py").write_text("raise AssertionError('not ours')\n", encoding="utf-8")
