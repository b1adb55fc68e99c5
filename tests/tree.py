"""The files of the repository, for tests that read it as a whole."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def git_files(*patterns: str) -> list[Path]:
    """Files that git tracks, or would: without what it ignores. Patterns are git's; none means all."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]
