"""The benchmark on a tiny shape: what it prints, and that its scripts cost the passes they should."""

import json
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from workers.bench.engine import shapes as bench_shapes
from workers.bench.engine import throughput as bench
from workers.bench.engine import tokenising as bench_tokenising
from workers.bench.engine.alone import measure_alone
from workers.bench.engine.shapes import (
    REPLY_TOKENS,
    VERDICT_TOKENS,
    message_lengths,
    random_guard,
    random_prompts,
    scripted_decoder,
)
from workers.bench.engine.tokenising import MadeUpTokenizer, Tokenising
from workers.serving.engine.completion import PreparedPrompt
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.passes import PassLimits

RATES = {"one_pass", "batch_invariant", "reference", "model_card_loop", "tokenising_per_core", "tokenising_together"}
ALONE = {"alone_p50_ms", "alone_p99_ms", "forward_p50_ms", "forward_p99_ms", "alone_ratio", "alone_runs"}
KEYS = RATES | ALONE | {"bound", "share_of_bound", "batch_invariant_share", "tokenising", "machine", "runs"}
CPU = torch.device("cpu")
TINY = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 8}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench_shapes.SHAPES, "0.6B", TINY)
    monkeypatch.setattr(bench_tokenising, "RANKS", 1000)
    monkeypatch.setattr(bench, "CONVERSATIONS", 20)


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
        "--alone",
        "3",
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
    assert all(report[name] > 0 for name in (*RATES, *ALONE, "bound"))
    assert all(run.keys() >= RATES for run in report["runs"])
    assert report["share_of_bound"] == pytest.approx(report["one_pass"] / report["bound"])
    assert report["batch_invariant_share"] == pytest.approx(report["batch_invariant"] / report["one_pass"])
    assert report["alone_ratio"] == pytest.approx(report["alone_p99_ms"] / report["forward_p99_ms"])
    assert report["alone_runs"] == 3
    assert report["tokenising"]["tokenizer"].startswith("made up")


def test_without_json_it_is_a_table() -> None:
    result = _run()
    assert result.exit_code == 0, result.output
    assert "model_card_loop" in result.stdout


def test_an_unknown_shape_is_refused() -> None:
    assert _run("--shape", "9B").exit_code == 2


@pytest.mark.parametrize(("accepted", "passes"), [(1.0, {1}), (0.0, {2})])
def test_a_refused_draft_costs_a_second_pass(accepted: float, passes: set[int]) -> None:
    network = random_guard("0.6B", device=CPU, dtype=torch.float32)
    for task in bench_shapes.FRAMES:
        prompts = random_prompts(task, [*message_lengths(6, mean=10, mixed=True), 1_100])  # the last one in pieces
        decoder = scripted_decoder(SuffixForward(network), prompts, PassLimits(1024, 8, 0.1), accepted=accepted)
        answers = decoder.decode(prompts)
        assert {answer.passes for answer in answers} == passes
        assert {len(answer.ids) for answer in answers} == {VERDICT_TOKENS[task]}


def test_the_shapes_have_the_real_counts() -> None:
    prompt, response = (random_prompts(task, [10])[0] for task in ("prompt", "response"))
    assert len(prompt) == 201 + 10 + 1 + 95
    assert len(response) == 267 + 10 + 1 + 4 + 10 + 1 + 118
    assert message_lengths(3, mean=10, mixed=False) == [10, 10, 10]
    lengths = message_lengths(2000, mean=10, mixed=True)
    assert min(lengths) == 1
    assert 9 < sum(lengths) / len(lengths) < 11


@pytest.mark.parametrize("ranks", [1000, 20_000])
def test_the_made_up_tokenizer_makes_the_real_counts(ranks: int) -> None:
    made_up = MadeUpTokenizer(ranks)
    builder = made_up.builder()
    lengths = [1, 10, 25]
    counts = {}
    for task in bench_shapes.FRAMES:
        prompts = [builder.prepare(chat) for chat in made_up.conversations(task, lengths)]
        counts[task] = [len(prompt) for prompt in prompts if isinstance(prompt, PreparedPrompt) and prompt.task == task]

    assert made_up.backend.get_vocab_size() == ranks + 5
    assert counts == {task: [len(prompt) for prompt in random_prompts(task, lengths)] for task in counts}


def test_tokenising_prepares_every_conversation_whatever_the_threads() -> None:
    tokenising = Tokenising("response", 21)

    assert len(tokenising) == 21
    assert sorted(tokenising.run(1)) == sorted(tokenising.run(4))
    assert len(tokenising.run(4)) == 21


def test_the_forward_beside_a_message_alone_runs_as_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = SuffixForward(random_guard("0.6B", device=CPU, dtype=torch.float32))
    prompts = random_prompts("response", [10, 3])
    decoder = scripted_decoder(forward, prompts, PassLimits(1024, 8, 0.1), accepted=1.0)
    tokenizer = MadeUpTokenizer(1000).backend
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    start = SuffixForward.start

    def watched(self: SuffixForward, ids: torch.Tensor, prefix: Any, places: torch.Tensor | None) -> Any:
        if places is not None:
            shapes.append((tuple(ids.shape), tuple(places.flatten().tolist())))
        return start(self, ids, prefix, places)

    monkeypatch.setattr(SuffixForward, "start", watched)
    advanced: list[int] = []
    measured = measure_alone(decoder, forward, tokenizer, prompts, repeats=3, advance=lambda: advanced.append(1))

    assert len(advanced) == 3
    assert len(shapes) == 6
    assert shapes[0::2] == shapes[1::2]  # whichever of both came first
    own = 10 + 1 + 4 + REPLY_TOKENS + 1 + 118
    assert shapes[0][0] == (1, own + VERDICT_TOKENS["response"] - 1)
    assert measured["alone_ratio"] == pytest.approx(measured["alone_p99_ms"] / measured["forward_p99_ms"])
