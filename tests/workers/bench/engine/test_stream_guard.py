"""The benchmark of growing answers on a tiny shape: what it prints, and that it measures what it says."""

import json

import pytest
import torch
import typer
from typer.testing import CliRunner

from tests.weir_result import Result
from workers.bench.engine import shapes
from workers.bench.engine import stream_guard as bench

TINY = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 8}
WAYS = {"feeding again", *(f"{n} a delta" for n in ("3 sessions, 1", "3 sessions, 4", "3 sessions, 16"))}
QUICK = ("--device", "cpu", "--threads", "1", "--context", "40", "--sessions", "3", "--rounds", "1")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes.SHAPES, "0.6B", TINY)
    monkeypatch.setattr(shapes, "VOCABULARY", 3072)
    monkeypatch.setattr(bench, "POSITIONS", 1024)


def test_json_has_both_ways_and_their_ratio() -> None:
    app = typer.Typer()
    app.command()(bench.main)
    result = CliRunner().invoke(app, [*QUICK, "--layers", "1", "--json"])
    report = json.loads(result.stdout)

    assert result.exit_code == 0, result.output
    assert report["layers"] == 1
    assert report["ms_per_token"].keys() >= WAYS
    shared = report["ms_per_token"]["3 sessions, 1 a delta"]
    assert report["ratio"] == pytest.approx(report["ms_per_token"]["feeding again"] / shared)
    assert len(report["runs"]) == 1


def test_the_command_prints_a_table_and_refuses_an_unknown_shape() -> None:
    assert "feeding again" in Result("bench", "stream-guard", *QUICK).out
    assert Result("bench", "stream-guard", "--shape", "9B").code == 2


def test_a_delta_of_so_many_words_is_so_many_tokens() -> None:
    model = bench.random_stream_model("0.6B", None, device=torch.device("cpu"), dtype=torch.float32)
    measured = bench.StreamBench(model, context=40, sessions=2)
    measured.fill()
    [one, two] = measured._sessions  # noqa: SLF001
    before = len(one)
    measured.round()

    assert (len(one) - before, len(two) - before) == (2 * sum(bench.DELTAS), sum(bench.DELTAS))
