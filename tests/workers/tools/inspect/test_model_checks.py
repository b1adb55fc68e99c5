"""`weir check` of the model that judges turns while they are written."""

from typing import Any

import pytest

from workers.serving.engine.loading import DEMO_FOLDER
from workers.settings.loading import Settings, load_settings
from workers.tools.inspect import model_checks as checks
from workers.tools.inspect.check import CheckResult


def settings_of(model: str, *, stream: bool = True, **sections: Any) -> Settings:
    ask = {"enabled": True, "stream": stream}
    return load_settings(ask=ask, stream_guard={"model": model, "device": "cpu"}, **sections)


def checked(settings: Settings, *, skipped: str | None = None) -> dict[str, CheckResult]:
    return {found.name: found for found in checks.model_checks(settings, 60, 60, skipped=skipped)}


@pytest.fixture(autouse=True)
def gen_model_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_model", lambda _: "fine")


def test_the_stream_model_is_loaded_and_asked_where_something_needs_it() -> None:
    found = checked(settings_of("demo"))["stream model"]
    assert (found.status, found.found.startswith("demo ")) == ("ok", True)
    assert "stream model" not in checked(settings_of("demo", stream=False))
    assert checked(settings_of("demo"), skipped="--skip-model")["stream model"].status == "skip"


def test_where_only_turns_are_wanted_no_gen_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_model", lambda _: pytest.fail("loaded"))
    found = checked(settings_of("demo", guard={"enabled": False}))
    assert {name: one.status for name, one in found.items()} == {"device": "ok", "model": "skip", "stream model": "ok"}


def test_a_model_of_the_other_kind_is_named_with_its_setting() -> None:
    found = checked(settings_of(str(DEMO_FOLDER)))["stream model"]
    assert (found.status, "stream_guard.model" in found.found) == ("fail", True)
