"""The promises: each is defined on one page, kept in files that exist, and proved by tests that carry its number."""

import re
from pathlib import Path

import pytest

from tests.tree import ROOT, git_files

PAGE = ROOT / "infra" / "docs" / "promises.md"
SECTION = re.compile(r"(?ms)^## P(\d+): [^\n]+\n(.*?)(?=^## |\Z)")
PROMISES = {int(number): text for number, text in SECTION.findall(PAGE.read_text(encoding="utf-8"))}
CITED = re.compile(r"\bP(\d{1,2})\b")
IN_A_NAME = re.compile(r"(?m)^\s*(?:async )?def test((?:_p\d+)+)_|^class Test((?:P\d+)+)")


def test_the_page_numbers_the_promises_from_1_on() -> None:
    assert list(PROMISES) == list(range(1, len(PROMISES) + 1))
    assert len(PROMISES) >= 13


def cited_in(path: Path) -> set[int]:
    return {int(number) for number in CITED.findall(path.read_text(encoding="utf-8"))}


def proved_in(path: Path) -> set[int]:
    names = ("".join(groups) for groups in IN_A_NAME.findall(path.read_text(encoding="utf-8")))
    return {int(number) for name in names for number in re.findall(r"\d+", name)}


def test_every_promise_that_source_or_docs_cite_is_defined() -> None:
    files = git_files("*.py", "*.md", "*.yaml", "*.tpl", "*.txt", "Makefile")
    unknown = {str(path.relative_to(ROOT)): found for path in files if (found := cited_in(path) - set(PROMISES))}

    assert unknown == {}


def test_every_promise_in_the_name_of_a_test_is_defined() -> None:
    unknown = {path.name: found for path in git_files("tests/*.py") if (found := proved_in(path) - set(PROMISES))}

    assert unknown == {}


@pytest.mark.parametrize("number", PROMISES)
def test_a_promise_is_kept_in_files_that_exist_and_proved_by_tests_that_name_it(number: int) -> None:
    kept = re.search(r"(?s)^- Kept in (.*?)\n- ", PROMISES[number], re.MULTILINE)
    proved = re.search(r"(?s)^- Proved by (.*)", PROMISES[number], re.MULTILINE)
    assert kept is not None and proved is not None  # noqa: PT018
    sources = re.findall(r"`([\w/]+\.py)`", kept[1])
    tests = re.findall(r"`([\w/]+\.py)`", proved[1])

    assert sources
    assert [path for path in sources if not (ROOT / path).is_file()] == []
    assert tests
    assert [path for path in tests if number not in proved_in(ROOT / path)] == []


def test_numbers_are_found_in_names_and_in_texts(tmp_path: Path) -> None:
    path = tmp_path / "test_some.py"
    path.write_text(f'"""P3 and (P{21})."""\nasync def test_p8_p1_x(): ...\nclass TestP2P9Any: ...\n', encoding="utf-8")

    assert cited_in(path) == {3, 21}
    assert proved_in(path) == {1, 2, 8, 9}
