"""Breaks a copy of the code, one mutant at a time, and says which of them a test has caught: `make mutants`.

python -m tests.mutants [NAME…]     those whose name holds one of the words; all without
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".venv", ".git", ".*_cache", "__pycache__", ".hypothesis", "*.egg-info")
TIMEOUT_S = 300
FAILED = 1  # of pytest's exit codes the one that says: tests ran, and some failed


def run(mutant: Mutant, copy: Path) -> str | None:
    """None where the test failed, as it should; else what happened instead."""
    file = copy / mutant.file
    sound = file.read_text(encoding="utf-8")
    if sound.count(mutant.sound) != 1:
        return f"the sound code stands {sound.count(mutant.sound)} times in {mutant.file}"
    file.write_text(sound.replace(mutant.sound, mutant.broken), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not integration"]
        done = subprocess.run(
            [*command, mutant.test], cwd=copy, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end within {TIMEOUT_S} s"
    finally:
        file.write_text(sound, encoding="utf-8")
    return None if done.returncode == FAILED else f"exit code {done.returncode}: {done.stdout[-300:]}"


def say(line: str) -> None:
    """Print at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(words: list[str]) -> int:
    """Run the mutants; the exit code is 0 if each was caught."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    escaped = 0
    with tempfile.TemporaryDirectory(prefix="weir-mutants-") as folder:
        copy = Path(folder) / "weir"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        for mutant in chosen:
            started = time.monotonic()
            fault = run(mutant, copy)
            escaped += fault is not None
            verdict = "caught " if fault is None else "ESCAPED"
            say(f"{verdict} {time.monotonic() - started:5.1f} s  {mutant.name}  {fault or ''}")
    say(f"{len(chosen) - escaped} of {len(chosen)} mutants caught")
    return 1 if escaped or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
