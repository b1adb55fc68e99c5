"""What the README says of the code is checked here: the paths it names; and the settings page is the generated one."""

import re
from pathlib import Path

from infra.settings_page import PAGE, settings_page

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    found = re.search(rf"(?ms)^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", README)
    assert found is not None, f"README.md has no section {title!r}"
    return found[1]


def test_the_settings_page_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), "make fmt writes it"


def test_life_of_a_message_is_numbered_and_each_step_names_files_that_exist() -> None:
    steps = re.findall(r"(?ms)^(\d+)\. (.*?)(?=^\d+\. |\Z)", section("Life of a message"))

    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert len(steps) >= 8
    for number, text in steps:
        paths = re.findall(r"`([\w./-]+/[\w./-]+)`", text)
        assert paths, f"step {number} names no file"
        assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_path_and_link_of_the_readme_exists() -> None:
    named = re.findall(r"`((?:schemas|pipelines|workers|tests|infra|helm)/[\w./-]*)`", README)
    linked = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?://|#)([^)]+)\)", README)]

    assert [path for path in named + linked if not (ROOT / path).exists()] == []
