"""`weir plan`: what it prints, figures from a file, and what is refused."""

import json
from pathlib import Path

import pytest

from tests.weir_result import Result
from workers.settings.loading import load_settings

LOAD = ("--messages-per-second", "10000", "--tokens", "10")
FIGURE = {"gpu": "rented", "model": "4B", "tokens": 10, "messages_per_second": 900, "source": "our run of 3 May"}


def test_a_plan_says_that_nobody_has_measured_the_gpu_and_shows_its_working() -> None:
    result = Result("plan", *LOAD, "--price", "3.5")
    assert result.code == 0
    assert "0.6B on h200, reckoned, never measured" in result.out
    assert "113 through the model" in result.out
    assert "WEIR_GUARD__REPLICAS=6" in result.out


def test_the_plan_as_json() -> None:
    plan = Result("plan", *LOAD, "--gpu", "l4", "--task", "response", "--json").json
    assert plan["workload"]["task"] == "response"
    assert plan["measured"] is False
    assert plan["cost_per_million"] is None
    assert plan["replicas"] == int(plan["settings"]["WEIR_GUARD__REPLICAS"])
    assert plan["working"]


@pytest.mark.parametrize("load", [(), ("--tokens", "30000", "--target", "60000")])
def test_its_settings_are_settings(monkeypatch: pytest.MonkeyPatch, load: tuple[str, ...]) -> None:
    settings = Result("plan", *LOAD, *load, "--json").json["settings"]
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    loaded = load_settings(None)
    assert loaded.guard.replicas == int(settings["WEIR_GUARD__REPLICAS"])
    assert loaded.limits.in_flight_records == int(settings["WEIR_LIMITS__IN_FLIGHT_RECORDS"])


def test_measured_figures_are_given_or_read(tmp_path: Path) -> None:
    given = Result("plan", *LOAD, "--rate", "1000", "--json").json
    assert (given["measured"], given["source"], given["replicas"]) == (True, "given by --rate", 16)
    path = tmp_path / "figures.json"
    path.write_text(json.dumps([FIGURE]))
    read = Result("plan", *LOAD, "--model", "4B", "--gpu", "rented", "--figures", str(path), "--json").json
    assert (read["measured"], read["source"]) == (True, "our run of 3 May")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "cannot be read: No such file"),
        ("[", "not JSON"),
        ("{}", "not a list of objects"),
        (json.dumps([{"gpu": "a"}]), "figure 1 has not exactly gpu, model, tokens, messages_per_second, source"),
        (json.dumps([FIGURE, {**FIGURE, "tokens": 0}]), "figure 2: tokens is not a number above 0"),
        (json.dumps([{**FIGURE, "messages_per_second": float("inf")}]), "messages_per_second is not a number above 0"),
        (json.dumps([{**FIGURE, "gpu": 7}]), "figure 1: gpu is not a name"),
    ],
)
def test_a_file_of_figures_that_cannot_be_used_is_refused(tmp_path: Path, content: str | None, error: str) -> None:
    path = tmp_path / "figures.json"
    if content is not None:
        path.write_text(content)
    result = Result("plan", *LOAD, "--figures", str(path))
    assert result.code == 2
    assert error in result.err


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--gpu", "v100", "gpu: no figure and no data sheet of 'v100'"),
        ("--target", "1", "target_ms: 1 is too short"),
        ("--rate", "0", "rate: 0.0 is not a number above 0"),
        ("--rate", "inf", "rate: inf is not a number above 0"),
        ("--spare", "-1", "spare: -1 is below 0"),
    ],
)
def test_the_impossible_is_refused_in_one_line(option: str, value: str, error: str) -> None:
    result = Result("plan", *LOAD, option, value)
    assert result.code == 2
    assert result.err.startswith(f"weir: {error}")


TURNS = ("--answer-tokens-per-second", "2000", "--turns", "50")


def test_answers_that_are_being_written_are_planned_alone_or_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, beside = Result("plan", *TURNS, "--json").json, Result("plan", *LOAD, *TURNS, "--json").json
    shown = Result("plan", *LOAD, *TURNS, "--price", "3")

    assert alone.keys() == {"assumptions", "stream"}
    assert beside["stream"] == alone["stream"]
    assert beside["replicas"] == Result("plan", *LOAD, "--json").json["replicas"]
    assert "0.6B on h200, reckoned, never measured" in shown.out
    assert "turns: 0.6B on h200, reckoned, never measured" in shown.out
    assert "cost per million tokens" in shown.out
    for name, value in (beside["settings"] | beside["stream"]["settings"]).items():
        monkeypatch.setenv(name, value)
    assert load_settings(None).stream_guard.replicas == alone["stream"]["replicas"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ((), "give --messages-per-second and --tokens, --answer-tokens-per-second, or all three"),
        (("--tokens", "10"), "messages_per_second and tokens: give both"),
        ((*TURNS, "--step-ms", "400"), "target_ms: 500 is too short; a delta waits for one step"),
    ],
)
def test_what_is_not_said_is_not_planned(options: tuple[str, ...], error: str) -> None:
    result = Result("plan", *options)

    assert (result.code, result.out) == (2, "")
    assert error in result.err


def test_servers_that_run_the_model_are_planned_by_their_measured_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    load = (
        "--messages-per-second",
        "5000",
        "--tokens",
        "40",
        "--price",
        "2",
        "--server-rate",
        "1500",
        "--call-ms",
        "200",
    )
    planned = Result("plan", *load, "--json").json
    shown = Result("plan", *load)

    assert planned["servers"] == 6, "5,000 / (1,500 x 0.7) are 5, and one is spare"
    assert planned["calls"] * planned["replicas"] * 32 >= 1500 * 0.2, "a server's messages under way at that rate"
    assert planned["latency_ms"] == 400
    assert planned["cost_per_million"] == pytest.approx(6 / 5000 * 1e6 / 3600 * 2)
    assert "remote engine, as measured" in shown.out
    assert "WEIR_GUARD__ENGINE=remote" in shown.out
    monkeypatch.setenv("WEIR_GUARD__REMOTE__URLS", "http://a:1,http://b:1")
    for name, value in planned["settings"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings(None)
    assert (settings.guard.engine, settings.guard.remote.calls) == ("remote", planned["calls"])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--server-rate", "0"), "server_rate: 0.0 is not a number above 0"),
        (("--server-rate", "100", "--call-ms", "-1"), "call_ms: -1.0 is not a number above 0"),
        (("--server-rate", "100"), "server_rate: 100 messages/s make 144 servers, guard.remote.urls takes 64"),
        (("--server-rate", "1000", "--call-ms", "300"), "target_ms: 500 is too short"),
    ],
)
def test_servers_that_cannot_be_planned_are_refused_by_name(options: tuple[str, ...], error: str) -> None:
    result = Result("plan", *LOAD, *options)

    assert result.code == 2
    assert error in result.err
