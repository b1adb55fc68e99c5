"""The page of what stops moderation says what the code does."""

import re
from pathlib import Path

from pipelines.breaker.causes import WEIGHT_OF
from pipelines.breaker.rules import BreakerRules

PAGE = (Path(__file__).parents[3] / "infra/docs/stops.md").read_text(encoding="utf-8")


def test_every_reason_stands_on_the_page_with_its_weight() -> None:
    rows = re.findall(r"(?m)^\| `([a-z_0-9]+)` \| ([a-z_]+) \| .+ \|$", PAGE)

    assert rows == list(WEIGHT_OF.items())


def test_settings_that_the_page_names_exist() -> None:
    named = set(re.findall(r"`breaker\.([a-z_]+)`", PAGE))

    assert named
    assert named <= set(BreakerRules.model_fields)
