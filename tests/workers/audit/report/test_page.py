"""The page: whole in itself, sound HTML, the JSON's figures, and nothing from outside that could act in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.workers.audit.report.report_runs import Row, dead_letter, scores, silent, verdict, write_run
from workers.audit.report.files import RunFiles
from workers.audit.report.html import duration, one_line, percent, render, short
from workers.audit.report.model import AuditReport
from workers.audit.report.report import Choices, build_report

HOSTILE = "<script>alert(1)</script>"
QUOTED = "\"><img src=x onerror='alert(2)'>{{ 7 * 191 }}&amp;"
TURNED = "gpj.\u202egnp\x1b[31m\nsecond"
VOID = {"meta", "br"}


class Outline(HTMLParser):
    """Elements of a page; fails where tags do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closed out of order"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    return parsed


def hostile_rows() -> list[Row]:
    return [
        verdict(
            HOSTILE, "Unsafe", "Violent", tenant=QUOTED, language=HOSTILE, conversation_id=TURNED, text=HOSTILE * 2
        ),
        verdict(
            TURNED, "Controversial", QUOTED, tenant=HOSTILE, language=QUOTED, severity_scores=scores(0.1, 0.5, 0.4)
        ),
        verdict("plain", source_topic=HOSTILE),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    folder = tmp_path_factory.mktemp("runs")
    letters = [dead_letter(HOSTILE, "too_long", source_topic=QUOTED, detail=HOSTILE)]
    rows = hostile_rows()
    new = write_run(folder / "new", rows, letters, versions={HOSTILE: QUOTED})
    old = write_run(folder / "old", [verdict(HOSTILE, tenant=QUOTED, text=HOSTILE * 2), *rows[1:]], revision=QUOTED)
    return build_report(RunFiles(new), RunFiles(old), Choices(include_text=True), silent)


@pytest.fixture(scope="module")
def page(report: AuditReport) -> str:
    return render(report)


def test_names_from_outside_cannot_act(page: str) -> None:
    tags = outline(page).tags
    events = [name for _, attributes in tags for name in attributes if name.startswith("on")]

    assert not {"img", "iframe", "link", "object", "form"} & {tag for tag, _ in tags}
    assert [attributes for tag, attributes in tags if tag == "script"] == [{}], "its own"
    assert events == []
    assert "1337" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_marks_that_turn_or_hide_text_are_shown_as_what_they_are(page: str) -> None:
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "gpj.\\u202egnp\\x1b[31m\\nsecond" in page


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    tags = outline(page).tags
    links = {value for _, attributes in tags for name, value in attributes.items() if name in {"href", "src"}}

    assert all(link and link.startswith("#") for link in links)
    assert re.findall(r"https?://|url\((?!#)|@import", page) == []
    assert not any("style" in attributes for _, attributes in tags)


def test_its_own_policy_allows_its_style_sheet_and_its_script_and_nothing_else(page: str) -> None:
    tags = outline(page).tags
    policy = next(attributes["content"] for tag, attributes in tags if tag == "meta" and "http-equiv" in attributes)

    def digest(tag: str) -> str:
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    own = f"style-src 'sha256-{digest('style')}'; script-src 'sha256-{digest('script')}'"
    assert policy == f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def test_the_page_can_be_read_without_eyes(page: str) -> None:
    tags = outline(page).tags
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    charts = [attributes for tag, attributes in tags if tag == "svg" and attributes.get("class") == "chart"]

    assert ("html", {"lang": "en"}) in tags
    assert len(names) == len(set(names))
    assert {attributes["href"] for tag, attributes in tags if tag == "a"} <= {f"#{name}" for name in names}
    assert {attributes.get("aria-labelledby") for tag, attributes in tags if tag == "section"} <= set(names)
    assert charts
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert all(
        attributes.get("aria-hidden") == "true" or attributes in charts for tag, attributes in tags if tag == "svg"
    )
    assert [tag for tag, _ in tags].count("table") == [tag for tag, _ in tags].count("caption")
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    assert [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)][:2] == [1, 2]


def test_the_page_has_the_figures_of_the_json(report: AuditReport, page: str) -> None:
    again = AuditReport.model_validate_json(report.model_dump_json())
    text = " ".join(" ".join(outline(page).text).split())

    assert render(again) == page
    assert json.loads(report.model_dump_json())["comparison"]["matrix"] == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert "Same severity 66.67 %" in text.replace("\xa0", " ")
    assert "before \\ after Safe Controversial Unsafe Safe 1 0 1 Controversial 0 1 0 Unsafe 0 0 0" in text
    assert "This page holds message text." in text


def test_text_is_not_in_the_page_unless_it_was_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [verdict("a", "Unsafe", text="the very words")])
    hidden, shown = (
        render(build_report(RunFiles(run), None, Choices(include_text=wanted), silent)) for wanted in (False, True)
    )

    assert "the very words" not in hidden
    assert "the very words" in shown
    assert hashlib.sha256(b"the very words").hexdigest() not in hidden + shown


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    page = render(build_report(RunFiles(write_run(tmp_path / "run", [])), None, Choices(), silent))

    assert "No verdict" in page
    outline(page)


def test_clocks_gone_wrong_by_millennia_do_not_hold_the_page_up(tmp_path: Path) -> None:
    moments = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC))
    run = write_run(tmp_path / "run", [verdict(str(moment), occurred_at=moment) for moment in moments])
    began = time.process_time()
    page = render(build_report(RunFiles(run), None, Choices(), silent))

    assert "9999 years" in page
    assert time.process_time() - began < 30  # labels made anew for each row of the table took four minutes


def test_numbers_are_written_for_people() -> None:
    assert [percent(share) for share in (0, 0.00001, 0.0333, 0.99999, 1)] == [
        "0.00\xa0%",
        "< 0.01\xa0%",
        "3.33\xa0%",
        "> 99.99\xa0%",
        "100.00\xa0%",
    ]
    numbers = (0, 999, 1_500, 999_499, 999_500, 2.5e9)
    assert [short(number) for number in numbers] == ["0", "999", "1.5\xa0k", "999\xa0k", "1\xa0M", "2.5\xa0G"]
    assert [duration(seconds) for seconds in (1.25, 600, 7_200)] == ["1.2 s", "10.0 min", "2.0 h"]
    assert one_line("a\tb") == "a\\tb"
