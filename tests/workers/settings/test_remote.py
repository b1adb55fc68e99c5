"""Addresses of servers: comma-separated, plain, and never repeated where a login could be in one (P10)."""

import pytest

from schemas.errors import ConfigurationError
from workers.settings.loading import load_settings


def test_addresses_come_from_the_environment_without_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_GUARD__ENGINE", "remote")
    monkeypatch.setenv("WEIR_GUARD__REMOTE__URLS", "http://a:8000/v1, https://b.example/guard/,http://[::1]:8000")
    monkeypatch.setenv("WEIR_GUARD__REMOTE__FLAVOUR", "sglang")
    remote = load_settings().guard.remote

    assert remote.urls == ("http://a:8000", "https://b.example/guard", "http://[::1]:8000")
    assert remote.flavour == "sglang"


@pytest.mark.parametrize(
    "url",
    ["http://me:hunter2@a:8000", "https://a/?key=hunter2", "hunter2", "ftp://hunter2", "http://a,http://a/v1#hunter2"],
)
def test_p10_an_address_with_a_login_or_of_another_kind_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("WEIR_GUARD__REMOTE__URLS", url)

    with pytest.raises(ConfigurationError, match=r"^guard\.remote\.urls=\(hidden\): ") as refused:
        load_settings()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("URLS", "http://a:1,http://a:1/v1", "guard.remote.urls=(hidden): Value error, an address stands there twice"),
        ("FLAVOUR", "ollama", "guard.remote.flavour='ollama'"),
        ("BEHAVIOUR_SHA256", "abc", "guard.remote.behaviour_sha256='abc'"),
        ("PROMPTS_PER_CALL", "1025", "guard.remote.prompts_per_call='1025'"),
        ("URL", "http://a:1", "WEIR_GUARD__REMOTE__URL: unknown setting"),
    ],
)
def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str) -> None:
    monkeypatch.setenv(f"WEIR_GUARD__REMOTE__{variable}", value)

    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert named in str(refused.value)


def test_a_section_that_is_no_mapping_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^guard\.remote: a mapping of settings is needed, found str$"):
        load_settings(guard={"remote": "x"})
    with pytest.raises(ConfigurationError, match=r"^guard\.remote\.adress: unknown setting$"):
        load_settings(guard={"remote": {"adress": "x"}})
