"""What a text refers to is there: pages, files, modules, decision records."""

import re
from pathlib import Path

import pytest

from tests.tree import ROOT, git_files

PAGES = git_files("*.md")
TEXTS = [
    path
    for path in git_files("*.py", "*.md", "*.yaml", "*.tpl", "*.txt", "*.toml", "*.sh", "Makefile", ".ci/run")
    if not path.match("requirements*.txt") and not path.match("workers/bench/stream/peers/programs/*.txt")
]
OURS = ("schemas", "pipelines", "workers", "tests", "infra", "helm")
PAGE = re.compile(r"(?<![\w/.-])((?:[\w.-]+/)*[\w-]+\.md)\b")
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s]+)\)")
PATH = re.compile(rf"`((?:{'|'.join(OURS)})/[\w./-]*)`")
MODULE = re.compile(r"`((?:schemas|pipelines|workers)(?:\.\w+)+)")
DECISION = re.compile(r"(?i)decisions?[ /](\d{4})")
ids = {"ids": lambda path: str(path.relative_to(ROOT))}


def is_there(name: str, path: Path) -> bool:
    """Whether a file of this name exists: from the root, beside the text that names it, or as the end of a path."""
    return (ROOT / name).exists() or (path.parent / name).exists() or any(page.match(name) for page in PAGES)


def is_module(name: str) -> bool:
    """Whether a dotted name begins with a module, and goes on with nothing but what may be in it."""
    file = ROOT / Path(*name.split("."))
    if file.with_suffix(".py").is_file() or file.is_dir():
        return True
    parent, _, attribute = name.rpartition(".")
    source = (ROOT / Path(*parent.split("."))).with_suffix(".py")
    if source.is_file():
        return re.search(rf"\b{attribute}\b", source.read_text(encoding="utf-8")) is not None
    holder = (ROOT / Path(*parent.split(".")[:-1])).with_suffix(".py")  # a class's method
    return holder.is_file() and attribute in holder.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, **ids)
def test_links_and_paths_of_a_page_lead_to_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in LINK.findall(text)]

    assert [link for link in links if not (path.parent / link).exists()] == []
    assert [name for name in PATH.findall(text) if not (ROOT / name).exists()] == []


def test_every_page_that_is_cited_exists() -> None:
    absent = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in TEXTS
        for name in PAGE.findall(path.read_text(encoding="utf-8"))
        if not is_there(name, path)
    }

    assert absent == set()


def test_every_module_that_a_text_names_exists() -> None:
    absent = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in TEXTS
        for name in MODULE.findall(path.read_text(encoding="utf-8"))
        if not is_module(name)
    }

    assert absent == set()


def test_every_decision_that_is_cited_has_a_record() -> None:
    records = {path.name[:4] for path in (ROOT / "infra" / "decisions").glob("*.md")}
    cited = {number for path in TEXTS for number in DECISION.findall(path.read_text(encoding="utf-8"))}

    assert len(records) >= 15
    assert cited <= records


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    text = f"See THERE{'.md'}, `pipelines{'.offset'}`, infra/decisions/{99:04}."

    assert [is_there(name, tmp_path / "x") for name in PAGE.findall(text)] == [False]
    assert [is_module(name) for name in MODULE.findall(text)] == [False]
    assert DECISION.findall(text) == ["0099"]


def test_the_glossary_explains_each_word_once() -> None:
    page = (ROOT / "infra" / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (?!word )([a-z][^|]*) \| ([^|]+) \|$", page)
    words = [word for row, _ in rows for word in row.split(", ")]

    assert len(words) > 50
    assert len(words) == len(set(words))
    assert {"in flight", "completed", "committable", "committed", "outcome", "ruling", "baseline", "lane"} <= set(words)
