"""Splits the pinned requirements: those without PyTorch and CUDA to stdout, PyTorch's own line, unhashed, to stderr.

PyTorch's builds for CPUs have the same version and other hashes.
"""

import re
import sys
from pathlib import Path

_CUDA = re.compile(r"(nvidia|cuda)-|triton==")


def split(text: str) -> tuple[str, str]:
    """Requirements without PyTorch and CUDA, and PyTorch's name and version."""
    entries = [entry for entry in re.split(r"(?m)^(?=\S)", text) if entry.strip()]
    rest = [entry for entry in entries if not _CUDA.match(entry) and not entry.startswith("torch==")]
    (torch,) = (entry.split()[0] for entry in entries if entry.startswith("torch=="))
    return "".join(rest), f"{torch}\n"


def main() -> None:
    """Split the file that the first argument names."""
    rest, torch = split(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(rest)
    sys.stderr.write(torch)


if __name__ == "__main__":
    main()
