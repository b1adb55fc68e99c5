"""The documentation as a site: nothing of it comes from another host, diagrams are pictures, and tables sort."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.docs_offline import SITE, faults, remote_in_page, remote_in_style
from infra.docs_pictures import SHADES, picture_of, with_pictures
from tests.tree import ROOT
from tests.workers.audit.report.browser import BROWSER, look, required

README = ROOT / "README.md"
TABLES = ROOT / "workers" / "audit" / "report" / "page" / "tables.js"
ROWS = (("b", "1,000"), ("a", "20 ms"), ("c", "-"), ("d", "3"))


@pytest.fixture
def _browser() -> None:
    if BROWSER is None and required():
        pytest.fail("REQUIRE_BROWSER=1, but there is no chromium: apt-get install chromium", pytrace=False)
    if BROWSER is None:
        pytest.skip("needs chromium: apt-get install chromium")


@pytest.mark.parametrize(
    "planted",
    [
        '<script src="https://unpkg.com/x.js"></script>',
        '<img srcset="a.png, //cdn.example/b.png 2x">',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<svg><image href="http://x.example/a.png"/></svg>',
        "<style>@font-face { src: url('https://x.example/f') }</style>",
        '<p style="background: url(//x.example/a)">',
        '<pre class="highlight mermaid">',
    ],
)
def test_whatever_a_page_would_load_from_another_host_is_found(planted: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(f"<html><body>{planted}</body></html>", encoding="utf-8")

    assert len(list(faults(tmp_path))) == 1


def test_links_and_what_comes_with_the_site_are_no_fault() -> None:
    page = '<a href="https://x.example">x</a><link rel="canonical" href="https://x.example/"><img src="../a.svg">'

    assert remote_in_page(page) == []
    assert remote_in_style("a { background: url(b.png) } /* https://x.example */") == []
    assert remote_in_style("@import '//x.example/a.css';") == ["//x.example/a.css"]


def test_the_readme_s_diagram_is_a_picture_for_light_and_dark_and_one_that_has_changed_is_refused() -> None:
    text = README.read_text(encoding="utf-8")
    (block,) = re.findall(r"(?ms)^```mermaid\n(.*?)^```$", text)
    page = with_pictures(text, README)
    drawn = {shade: picture_of(block, shade) for shade in SHADES}

    assert "```mermaid" not in page
    for shade, picture in drawn.items():
        assert f"({picture.relative_to(ROOT)}#only-{shade})" in page
        assert remote_in_page(picture.read_text(encoding="utf-8")) == []
    assert {path.name for path in (ROOT / "infra" / "docs" / "pictures").iterdir()} == {
        picture.name for picture in drawn.values()
    }, "of diagrams that are no more"
    with pytest.raises(FileNotFoundError, match=r"README\.md: a diagram has no picture yet: python"):
        with_pictures(text.replace("chat.events", "chat.messages"), README)


@pytest.mark.browser
@pytest.mark.usefixtures("_browser")
def test_a_click_on_a_column_s_head_sorts_the_table(tmp_path: Path) -> None:
    rows = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in ROWS)
    page = tmp_path / "page.html"
    page.write_text(
        f"<main><table><thead><tr><th>name</th><th>time</th></tr></thead><tbody>{rows}</tbody></table></main>"
        f"<script src='{TABLES.as_uri()}'></script><script>for (const column of [0, 0, 1, 1]) {{"
        "document.querySelectorAll('th')[column].click();"
        "console.log([...document.querySelectorAll('td:first-child')].map((cell) => cell.textContent).join(''))"
        "}</script>",
        encoding="utf-8",
    )
    said = look(page, tmp_path, 400, 300).console

    assert [line.split('"')[1] for line in said] == ["abcd", "dcba", "dabc", "cbad"]


@pytest.mark.browser
@pytest.mark.usefixtures("_browser")
def test_a_browser_asks_no_host_for_anything_of_the_site(tmp_path: Path) -> None:
    if not (SITE / "index.html").is_file():
        if required():
            pytest.fail("REQUIRE_BROWSER=1, but there is no site: make docs", pytrace=False)
        pytest.skip("no site here: make docs")
    seen = look(SITE / "index.html", tmp_path, 390, 1200)

    assert [address for address in seen.asked if not address.startswith(("file:", "data:", "blob:"))] == []
    assert seen.console == []
