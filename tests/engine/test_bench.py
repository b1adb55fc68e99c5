"""The benchmark on a tiny shape: what it prints, and that its scripts cost the passes they should."""

import json
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from workers.serving.engine import bench, bench_shapes
from workers.serving.engine.bench_shapes import ScriptedDecoder, message_lengths, random_guard, random_prompts
from workers.serving.engine.passes import PassLimits
from workers.serving.engine.suffix_forward import SuffixForward

KEYS = {"one_pass", "reference", "model_card_loop", "bound", "share_of_bound", "machine", "runs"}
TINY = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 8}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench_shapes.SHAPES, "0.6B", TINY)


def _run(*options: str) -> Any:
    app = typer.Typer()
    app.command()(bench.main)
    quick = [
        "--device",
        "cpu",
        "--threads",
        "1",
        "--messages",
        "4",
        "--baselines",
        "1",
        "--rounds",
        "2",
        "--no-compiled",
    ]
    return CliRunner().invoke(app, [*quick, *options])


@pytest.mark.parametrize("options", [[], ["--task", "response", "--accepted", "0.5", "--mixed", "--batch-invariant"]])
def test_json_is_one_object_with_the_promised_keys(options: list[str]) -> None:
    result = _run("--json", *options)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report.keys() >= KEYS
    assert len(report["runs"]) == 2
    assert all(report[name] > 0 for name in ("one_pass", "reference", "model_card_loop", "bound"))
    assert report["share_of_bound"] == pytest.approx(report["one_pass"] / report["bound"])


def test_without_json_it_is_a_table() -> None:
    result = _run()
    assert result.exit_code == 0, result.output
    assert "model_card_loop" in result.stdout


def test_an_unknown_shape_is_refused() -> None:
    assert _run("--shape", "9B").exit_code == 2


@pytest.mark.parametrize(("accepted", "passes"), [(1.0, {1}), (0.0, {2})])
def test_a_refused_draft_costs_a_second_pass(accepted: float, passes: set[int]) -> None:
    network = random_guard("0.6B", device=torch.device("cpu"), dtype=torch.float32)
    for task in bench_shapes.FRAMES:
        prompts = random_prompts(task, message_lengths(6, mean=10, mixed=True))
        decoder = ScriptedDecoder(SuffixForward(network), prompts, PassLimits(1024, 8, 0.1), accepted=accepted)
        answers = decoder.decode(prompts)
        assert {answer.passes for answer in answers} == passes
        assert {len(answer.ids) for answer in answers} == {bench._VERDICT_TOKENS[task]}  # noqa: SLF001


def test_the_shapes_have_the_real_counts() -> None:
    prompt, response = (random_prompts(task, [10])[0] for task in ("prompt", "response"))
    assert len(prompt) == 201 + 10 + 1 + 95
    assert len(response) == 267 + 10 + 1 + 4 + 10 + 1 + 118
    assert message_lengths(3, mean=10, mixed=False) == [10, 10, 10]
    lengths = message_lengths(2000, mean=10, mixed=True)
    assert min(lengths) == 1
    assert 9 < sum(lengths) / len(lengths) < 11
