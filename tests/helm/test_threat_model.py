"""The threat model names tests and targets that exist."""

from __future__ import annotations

import re

from tests.helm.rendering import ROOT

PAGE = (ROOT / "infra" / "threat-model.md").read_text(encoding="utf-8")
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in TESTS)


def test_every_test_that_it_names_exists() -> None:
    named = set(re.findall(r"`((?:tests/)?[\w/]*test_[\w./…]+|tests/[\w/]+)`", PAGE))
    assert len(named) >= 15
    files = {path.name for path in TESTS}
    for name in named:
        if name.startswith("tests/"):
            assert (ROOT / name).exists(), name
        elif name.endswith(".py"):
            assert name in files, name
        else:
            assert re.search(rf"def {name.removesuffix('…')}", SOURCE) or any(
                file.startswith(name.removesuffix("…")) for file in files
            ), name


def test_every_target_that_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert all(re.search(rf"(?m)^{target}:", makefile) for target in re.findall(r"(?m)^make (\w+)", PAGE))
