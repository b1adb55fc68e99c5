"""Measures the engines side by side on one machine: messages per second, and their share of what its products allow.

Run as `python -m workers.serving.engine.bench`. Random weights of the real shape: speed only, no quality. Knows
nothing of settings, Kafka or Ray.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import transformers
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch.nn import functional

from workers.serving.engine.bench_shapes import (
    FRAMES,
    SHAPES,
    VOCABULARY,
    ScriptedDecoder,
    as_loaded,
    message_lengths,
    random_guard,
    random_prompts,
)
from workers.serving.engine.judgement import PreparedPrompt, Task
from workers.serving.engine.loading import resolve_device, resolve_dtype
from workers.serving.engine.one_pass import limits_of
from workers.serving.engine.passes import PassLimits, cut_into_passes
from workers.serving.engine.reference import ReferenceEngine
from workers.serving.engine.suffix_forward import SuffixForward

# "Safety: Safe\nCategories: None" and its end token; a response has a third line.
_VERDICT_TOKENS: Final[dict[Task, int]] = {"prompt": 8, "response": 13}
_GEMM_REPEATS: Final = 3
_PROGRESS: Final = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Work:
    """What is measured: one model, one batch of prompts, and the products that one message costs."""

    network: Any
    prompts: list[PreparedPrompt]
    task: Task

    @property
    def rows_per_message(self) -> float:
        """Tokens of a message that no other message shares, with its draft."""
        own = sum(map(len, self.prompts)) / len(self.prompts) - FRAMES[self.task][0]
        return own + _VERDICT_TOKENS[self.task] - 1

    def gflop_per_message(self) -> float:
        """Multiplications and additions, each counted, of all layers, attention and the vocabulary's rows."""
        config: Any = self.network.config
        rows, verdict = self.rows_per_message, _VERDICT_TOKENS[self.task]
        seen = FRAMES[self.task][0] + rows / 2
        layers = config.num_hidden_layers
        attention = 4 * config.num_attention_heads * config.head_dim * seen
        # Of the last layer, all but keys and values is computed for the verdict's rows only.
        per_row = 2 * sum(out * inner for out, inner in product_shapes(config))
        last = 2 * config.hidden_size * 2 * config.num_key_value_heads * config.head_dim
        full = (layers - 1) * rows * (per_row + attention) + rows * last + verdict * (per_row + attention)
        return float(full + 2 * verdict * config.hidden_size * VOCABULARY) / 1e9


def product_shapes(config: Any) -> list[tuple[int, int]]:
    """(output, input) widths of one layer's four products."""
    heads = config.num_attention_heads * config.head_dim
    both = heads + 2 * config.num_key_value_heads * config.head_dim
    hidden, inner = config.hidden_size, config.intermediate_size
    return [(both, hidden), (hidden, heads), (2 * inner, hidden), (hidden, inner)]


def measure_products(network: Any, rows: int) -> float:
    """GFLOP/s of a layer's products for so many rows, on weights too many for any cache, the best way there is."""
    device, dtype = network.device, network.dtype
    weights = [
        [torch.randn(out, inner, device=device).mul_(0.02).to(dtype) for out, inner in product_shapes(network.config)]
        for _ in range(min(network.config.num_hidden_layers, 8))
    ]
    inputs = [torch.randn(rows, weight.shape[1], device=device).to(dtype) for weight in weights[0]]

    def once(multiply: Callable[[torch.Tensor, Any], torch.Tensor], matrices: Sequence[Sequence[Any]]) -> None:
        for layer in matrices:
            for matrix, weight in zip(inputs, layer, strict=True):
                multiply(matrix, weight)

    ways: list[tuple[Callable[[torch.Tensor, Any], torch.Tensor], Sequence[Sequence[Any]]]]
    ways = [(functional.linear, weights)]
    if device.type == "cpu" and dtype == torch.bfloat16:
        # What inductor's freezing does with weights: laid out for the product beforehand, in a second copy.
        operators = torch.ops.mkldnn
        packed = [[operators._reorder_linear_weight(weight, rows) for weight in layer] for layer in weights]  # noqa: SLF001
        ways.append((partial(_packed_product, operators), packed))
    with torch.inference_mode():
        for way in ways:
            once(*way)
        best = min(_seconds(partial(once, *way), device) for way in ways for _ in range(_GEMM_REPEATS))
    flops = 2 * rows * sum(weight.numel() for layer in weights for weight in layer)
    return float(flops) / best / 1e9


def _packed_product(operators: Any, matrix: torch.Tensor, weight: Any) -> torch.Tensor:
    product: torch.Tensor = operators._linear_pointwise(matrix, weight, None, "none", [], "")  # noqa: SLF001
    return product


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    started = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - started


def model_card_loop(network: Any, prompts: Sequence[PreparedPrompt], new_tokens: int) -> None:
    """The model card's way: one `generate` for each message."""
    for prompt in prompts:
        ids = torch.tensor(prompt.token_ids, device=network.device)[None]
        network.generate(ids, do_sample=False, max_new_tokens=new_tokens, pad_token_id=0)


def machine_of(device: torch.device) -> dict[str, object]:
    """What figures depend on beside the code."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else None
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "threads": torch.get_num_threads(),
        "load_average": load,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def measure(
    work: Work,
    *,
    accepted: float,
    limits: PassLimits,
    rounds: int,
    baselines: int,
    compiled: bool,
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Rounds of all contenders in turn; messages/s of each are its median round's, and `runs` holds every round."""
    device = work.network.device
    new_tokens = _VERDICT_TOKENS[work.task]
    lengths = [len(prompt) - FRAMES[work.task][0] + new_tokens - 1 for prompt in work.prompts]
    passes = list(cut_into_passes(lengths, limits))
    rows = round(statistics.median(len(indices) * max(lengths[i] for i in indices) for indices in passes))
    reference = ReferenceEngine(as_loaded(work.network, "random"), max_new_tokens=new_tokens)
    decoder = ScriptedDecoder(SuffixForward(work.network), work.prompts, limits, accepted=accepted)
    few = work.prompts[:baselines]
    runs: list[dict[str, float]] = []
    seconds = {"first_verdict": _seconds(lambda: decoder.decode(work.prompts[:1]), device)}
    if compiled:
        seconds["compiling"] = _seconds(decoder.compile, device)
    decoder.decode(work.prompts[:8])
    model_card_loop(work.network, few[:1], new_tokens)
    for _ in range(rounds):
        started = time.process_time()
        run = {"one_pass": len(work.prompts) / _seconds(lambda: decoder.decode(work.prompts), device)}
        # On a machine with other work, this tells what the clock cannot.
        run["one_pass_cpu_seconds_per_message"] = (time.process_time() - started) / len(work.prompts)
        advance()
        run["reference"] = len(few) / _seconds(lambda: reference.run(few), device)
        advance()
        run["model_card_loop"] = len(few) / _seconds(lambda: model_card_loop(work.network, few, new_tokens), device)
        advance()
        run["products_gflops"] = measure_products(work.network, rows)
        advance()
        runs.append(run)
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    # The machine's best round: a bound is not lowered by what else the machine was doing.
    best = max(run["products_gflops"] for run in runs)
    bound = best / work.gflop_per_message()
    return {
        **medians,
        "rows_per_pass": rows,
        "gflop_per_message": work.gflop_per_message(),
        "bound": bound,
        "share_of_bound": medians["one_pass"] / bound,
        "seconds": seconds,
        "runs": runs,
    }


def main(
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "0.6B",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<index>.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32.")] = "auto",
    task: Annotated[str, typer.Option(help="prompt or response.")] = "prompt",
    accepted: Annotated[float, typer.Option(min=0, max=1, help="Share of messages whose draft is right.")] = 1.0,
    messages: Annotated[int, typer.Option(min=1, help="Messages a round, for the one-pass engine.")] = 32,
    baselines: Annotated[int, typer.Option(min=1, help="Messages a round, for the others.")] = 8,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a message.")] = 10,
    mixed: Annotated[bool, typer.Option("--mixed", help="Spread the lengths as chat does.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of all contenders in turn.")] = 3,
    batch_invariant: Annotated[bool, typer.Option("--batch-invariant", help="One message a pass.")] = False,
    compiled: Annotated[bool, typer.Option(help="Measure compiled layers.")] = True,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 for torch's own choice.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Messages per second of the one-pass engine, the reference engine and the model card's loop, in one run."""
    if shape not in SHAPES or task not in FRAMES:
        raise typer.BadParameter(f"shape is one of {', '.join(SHAPES)} and task one of {', '.join(FRAMES)}")
    asked: Task = "prompt" if task == "prompt" else "response"
    where = resolve_device(device)
    torch.set_num_threads(threads or torch.get_num_threads())
    machine = machine_of(where)
    with Progress(console=_PROGRESS, disable=not sys.stderr.isatty()) as progress:
        step = progress.add_task("measuring", total=rounds * 4)
        network = random_guard(shape, device=where, dtype=resolve_dtype(dtype, where, torch.bfloat16))
        prompts = random_prompts(asked, message_lengths(messages, mean=tokens, mixed=mixed))
        measured = measure(
            Work(network, prompts, asked),
            accepted=accepted,
            limits=limits_of(where, batch_invariant=batch_invariant),
            rounds=rounds,
            baselines=min(baselines, messages),
            compiled=compiled and not batch_invariant,
            advance=lambda: progress.advance(step),
        )
    dtype_name = str(network.dtype).removeprefix("torch.")
    report = {"shape": shape, "dtype": dtype_name, "task": task, "accepted": accepted, **measured, "machine": machine}
    if json_output:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _print_table(report)


def _print_table(report: dict[str, Any]) -> None:
    table = Table(title=f"{report['shape']} {report['dtype']} {report['task']}, {report['accepted']:.0%} accepted")
    table.add_column("messages/s")
    table.add_column("median", justify="right")
    table.add_column("rounds")
    for name in ("one_pass", "reference", "model_card_loop"):
        rounds = " ".join(f"{run[name]:.2f}" for run in report["runs"])
        table.add_row(name, f"{report[name]:.2f}", rounds)
    table.add_row("bound", f"{report['bound']:.2f}", f"one pass is at {report['share_of_bound']:.0%} of it")
    Console().print(table)
    Console().print(f"products: {report['products_gflops']:.0f} GFLOP/s at {report['rows_per_pass']} rows a pass")
    Console().print(f"seconds: {report['seconds']}")
    Console().print(f"machine: {report['machine']}")


if __name__ == "__main__":
    typer.run(main)
