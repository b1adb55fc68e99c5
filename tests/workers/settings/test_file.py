"""The settings file as YAML: a key given twice is refused, of which YAML's readers take the last without a word."""

import os
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from workers.settings.loading import PREFIX, Settings, load_settings


@pytest.fixture
def in_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder, with no variable of the machine's own."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("kafka: {group_id: a}\ntopics: {verdicts: v}\nkafka: {sasl_password: hunter2}", "'kafka'"),
        ("kafka:\n  sasl_password: hunter1\n  sasl_password: hunter2\n", "'sasl_password'"),
    ],
)
def test_a_key_given_twice_is_refused_by_name(in_folder: Path, text: str, key: str) -> None:
    (in_folder / "weir.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    message = str(caught.value)

    assert message.startswith("weir.yaml: ")
    assert f"key {key} is given twice" in message
    assert "line 3" in message
    assert "hunter" not in message


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "kafka: {}\n"])
def test_an_empty_file_changes_nothing(in_folder: Path, text: str) -> None:
    (in_folder / "weir.yaml").write_text(text, encoding="utf-8")

    assert load_settings() == Settings()


def test_a_merged_key_may_be_overridden(in_folder: Path) -> None:
    text = "kafka: {<<: {group_id: general, client_id: me}, group_id: own}"
    (in_folder / "weir.yaml").write_text(text, encoding="utf-8")

    assert (load_settings().kafka.group_id, load_settings().kafka.client_id) == ("own", "me")
