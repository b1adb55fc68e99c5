"""The page in a real browser: it shows what it should, complains of nothing and asks for nothing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.workers.audit.report.browser import BROWSER, look, required
from tests.workers.audit.report.report_runs import NOON, dead_letter, scores, silent, verdict, write_run
from workers.audit.report.files import RunFiles
from workers.audit.report.html import render
from workers.audit.report.report import Choices, build_report

pytestmark = pytest.mark.browser
WIDTH, HEIGHT = 1000, 1200
UNSAFE, CONTROVERSIAL, PAPER, DARK_PAPER = (0xB3, 0x26, 0x1E), (0xD5, 0x8A, 0x00), (255, 255, 255), (0x14, 0x17, 0x1B)


@pytest.fixture(scope="module", autouse=True)
def _browser() -> None:
    if BROWSER is None and required():
        pytest.fail("REQUIRE_BROWSER=1, but there is no chromium: apt-get install chromium", pytrace=False)
    if BROWSER is None:
        pytest.skip("the browser's tests need chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    severities = ("Safe", "Safe", "Safe", "Controversial", "Unsafe")
    rows = [
        verdict(
            f"<script>fetch('http://example.test/{number}')</script>",
            severities[number % 5],
            *(["Violent"] if number % 5 > 2 else []),
            occurred_at=NOON + timedelta(hours=number // 3),
            severity_scores=scores(0.2, 0.3, 0.5),
            tenant="<img src=http://example.test/x onerror=alert(1)>",
        )
        for number in range(90)
    ]
    run = write_run(folder / "new", rows, [dead_letter("x", "too_long")], block_rows=50)
    old = write_run(folder / "old", rows[:80], block_rows=50)
    path = folder / "report.html"
    path.write_text(render(build_report(RunFiles(run), RunFiles(old), Choices(include_text=True), silent)))
    return path


def share(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((pixels == np.array(colour, np.uint8)).all(axis=2).mean())


def test_the_page_is_drawn_and_neither_complains_nor_asks(page: Path, tmp_path: Path) -> None:
    seen = look(page, tmp_path, WIDTH, HEIGHT)

    assert seen.pixels.shape == (HEIGHT, WIDTH, 3)
    assert 0.5 < share(seen.pixels, PAPER) < 0.98
    assert share(seen.pixels, UNSAFE) > 0.005
    assert share(seen.pixels, CONTROVERSIAL) > 0.005
    assert seen.console == []
    assert seen.asked == []


def test_the_page_is_dark_where_that_is_preferred(page: Path, tmp_path: Path) -> None:
    seen = look(page, tmp_path, WIDTH, HEIGHT, dark=True)

    assert share(seen.pixels, DARK_PAPER) > 0.5
    assert share(seen.pixels, PAPER) < 0.01


def test_a_click_on_a_column_s_head_sorts_its_table_and_what_is_left_over_stays_last(
    page: Path, tmp_path: Path
) -> None:
    """The page's own script is let in by the page's own policy; ours here, which clicks, needs another."""
    rows = "".join(
        f"<tr{kind}><th>{name}</th><td><svg></svg></td><td>{share}</td></tr>"
        for kind, name, share in (
            ("", "b", "1,000.50 %"),
            ("", "a", "&lt; 0.01 %"),
            ("", "c", "–"),
            (' class="rest"', "all others", "0 %"),
        )
    )
    clicks = (
        "const [name, mix, share] = document.querySelectorAll('#planted th[scope=col]');"
        "for (const head of [share, share, name, mix]) { head.click();"
        "console.log([...document.querySelectorAll('#planted tbody th')].map((cell) => cell.textContent).join(''), "
        "head.getAttribute('aria-sort')) }"
    )
    text = page.read_text().replace("Content-Security-Policy", "none")
    heads = "".join(f"<th scope=col>{name}</th>" for name in ("name", "mix", "share"))
    table = f"<table id=planted><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></main>"
    planted = tmp_path / "planted.html"
    planted.write_text(text.replace("</main>", table).replace("</body>", f"<script>{clicks}</script></body>"))

    assert [line.split('"')[1] for line in look(planted, tmp_path, WIDTH, HEIGHT).console] == [
        "abcall others ascending",
        "cbaall others descending",
        "abcall others ascending",
        "abcall others null",
    ]


def test_a_page_that_runs_a_script_or_asks_for_something_would_be_noticed(page: Path, tmp_path: Path) -> None:
    """What the tests above rest on: the browser's console and its requests are seen here."""
    added = "<script>console.log('a script ran')</script><img src='http://example.test/picture'></body>"
    text = page.read_text()
    guarded, open_to_all = tmp_path / "guarded.html", tmp_path / "open.html"
    guarded.write_text(text.replace("</body>", added))
    open_to_all.write_text(text.replace("</body>", added).replace("Content-Security-Policy", "none"))

    seen, unguarded = look(guarded, tmp_path, WIDTH, HEIGHT), look(open_to_all, tmp_path, WIDTH, HEIGHT)

    assert any("Content Security Policy" in line for line in seen.console)
    assert not any("a script ran" in line and "Refused" not in line for line in seen.console)
    assert seen.asked == []
    assert any("a script ran" in line for line in unguarded.console)
    assert unguarded.asked == ["http://example.test/picture"]
