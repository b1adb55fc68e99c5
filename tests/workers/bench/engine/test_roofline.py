"""The roofline: what it counts is the model's own arithmetic, and a graph helps where launches take longest."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from workers.bench.engine.products import product_shapes
from workers.bench.engine.roofline import H200, KINDS, PassCost, Roofline, figures
from workers.bench.engine.shapes import FRAMES, SHAPES, VERDICT_TOKENS, VOCABULARY, config_of
from workers.cli.bench.bench import app

ROWS, MESSAGE = 4, 10


@pytest.fixture(autouse=True)
def _few_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "0.6B", {**SHAPES["0.6B"], "num_hidden_layers": 3})


@pytest.fixture
def cost() -> PassCost:
    return Roofline("0.6B", "prompt").cost_of(ROWS, MESSAGE)


def test_products_and_attention_are_those_of_the_layers(cost: PassCost) -> None:
    config = config_of("0.6B")
    tokens = MESSAGE + FRAMES["prompt"][1] + VERDICT_TOKENS["prompt"] - 1
    verdicts, keys = VERDICT_TOKENS["prompt"], FRAMES["prompt"][0] + tokens
    qkv, output, gate_up, down = (2 * out * inner for out, inner in product_shapes(config))
    # Of the last layer, all but queries, keys and values is computed where a choice is made.
    whole, last = 2 * tokens, verdicts
    products = (whole + tokens) * qkv + (whole + last) * (output + gate_up + down)
    products += verdicts * 2 * config.hidden_size * VOCABULARY
    attention = 4 * config.num_attention_heads * config.head_dim * keys * (whole + last)

    assert cost.tokens == tokens
    assert cost.flops["products"] == ROWS * products
    assert cost.flops["attention"] == ROWS * attention
    assert cost.flops["copies"] == cost.flops["rest"] == 0


def test_a_pass_takes_what_is_longer_computing_or_launching(cost: PassCost) -> None:
    slow_host, quick_host = replace(H200, launch_s=1.0), replace(H200, launch_s=0.0)

    assert cost.took_s(slow_host) == cost.launches
    assert cost.took_s(quick_host) == sum(cost.seconds.values())
    assert figures(cost, slow_host)["bound_by"] == "launches"
    assert figures(cost, quick_host)["bound_by"] in KINDS
    assert figures(cost, slow_host)["messages_per_s_graphed"] == figures(cost, quick_host)["messages_per_s"]


def test_compiled_pieces_launch_less_and_read_less(cost: PassCost) -> None:
    plain = Roofline("0.6B", "prompt", compiled=False).cost_of(ROWS, MESSAGE)

    assert cost.launches < plain.launches
    assert cost.seconds["rest"] < plain.seconds["rest"]
    assert cost.flops == plain.flops


def test_more_messages_launch_nothing_more(cost: PassCost) -> None:
    more = Roofline("0.6B", "prompt").cost_of(4 * ROWS, MESSAGE)

    assert more.launches == cost.launches
    assert more.flops["products"] == 4 * cost.flops["products"]


def test_the_command_tells_each_pass() -> None:
    told = CliRunner().invoke(app, ["roofline", "--messages", "1", "--messages", "512", "--json"])
    shown = CliRunner().invoke(app, ["roofline", "--messages", "1"])

    report = json.loads(told.stdout)
    assert [item["messages"] for item in report["passes"]] == [1, 512]
    assert [item["bound_by"] for item in report["passes"]] == ["launches", "products"]
    assert "counted, not measured" in shown.stdout
