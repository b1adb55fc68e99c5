"""Measures the engines side by side on one machine: messages per second, and their share of what its products allow.

Run as `python -m workers.bench.engine.throughput`. Random weights of the real shape: speed only, no quality. Knows
nothing of settings, Kafka or Ray.
"""

import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from workers.bench.engine.alone import measure_alone
from workers.bench.engine.machine import machine_of, seconds_of
from workers.bench.engine.products import measure_products, product_shapes
from workers.bench.engine.shapes import (
    FRAMES,
    SHAPES,
    VERDICT_TOKENS,
    VOCABULARY,
    as_loaded,
    message_lengths,
    random_guard,
    random_prompts,
    scripted_decoder,
)
from workers.bench.engine.tokenising import Tokenising
from workers.serving.engine.completion import PreparedPrompt, Task
from workers.serving.engine.forward.graphs import with_graphs
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.loading import resolve_device, resolve_dtype
from workers.serving.engine.one_pass import invariant_passes, limits_of
from workers.serving.engine.passes import PassLimits, cut_into_passes
from workers.serving.engine.reference import ReferenceEngine

CONVERSATIONS: Final = 2_000
# As many as a replica has for preparing prompts.
_TOKENISING_THREADS: Final = 2
# The model card's loop is given one of so many messages of the other baselines: it gains nothing from a batch.
_OF_THE_LOOP: Final = 4
# Contenders and products of a round, and what the messages alone count for; for the progress bar.
_STEPS_OF_A_ROUND: Final = 7
_STEPS_ALONE: Final = 5
_SHOWN: Final = (
    "one_pass", "batch_invariant", "reference", "model_card_loop", "tokenising_per_core", "tokenising_together",
)  # fmt: skip
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
        return own + VERDICT_TOKENS[self.task] - 1

    def rows_per_pass(self, limits: PassLimits) -> int:
        """Tokens of the median pass."""
        lengths = [len(prompt) - FRAMES[self.task][0] + VERDICT_TOKENS[self.task] - 1 for prompt in self.prompts]
        passes = cut_into_passes(lengths, limits)
        return round(statistics.median(sum(lengths[index] for index in indices) for indices in passes))

    def gflop_per_message(self) -> float:
        """Multiplications and additions, each counted, of all layers, attention and the vocabulary's rows."""
        config: Any = self.network.config
        rows, verdict = self.rows_per_message, VERDICT_TOKENS[self.task]
        seen = FRAMES[self.task][0] + rows / 2
        layers = config.num_hidden_layers
        attention = 4 * config.num_attention_heads * config.head_dim * seen
        # Of the last layer, all but keys and values is computed for the verdict's rows only.
        per_row = 2 * sum(out * inner for out, inner in product_shapes(config))
        last = 2 * config.hidden_size * 2 * config.num_key_value_heads * config.head_dim
        full = (layers - 1) * rows * (per_row + attention) + rows * last + verdict * (per_row + attention)
        return float(full + 2 * verdict * config.hidden_size * VOCABULARY) / 1e9


def model_card_loop(network: Any, prompts: Sequence[PreparedPrompt], new_tokens: int) -> None:
    """The model card's way: one `generate` for each message."""
    for prompt in prompts:
        ids = torch.tensor(prompt.token_ids, device=network.device)[None]
        network.generate(ids, do_sample=False, max_new_tokens=new_tokens, pad_token_id=0)


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured: rounds, messages of the slower contenders in a round, and messages alone."""

    rounds: int
    baselines: int
    alone: int

    @property
    def steps(self) -> int:
        """How many the progress bar counts, in all."""
        return self.rounds * _STEPS_OF_A_ROUND + _STEPS_ALONE


class EngineBench:
    """All contenders, ready to be measured in turn.

    `accepted` is the share of messages whose draft is right; with `batch_invariant`, the one-pass engine is run so.
    """

    def __init__(self, work: Work, extent: Extent, *, accepted: float, batch_invariant: bool, compiled: bool) -> None:
        self._work = work
        self._extent = extent
        self._device: torch.device = work.network.device
        plain = SuffixForward(work.network)
        # It shares the weights.
        invariant, its_limits = invariant_passes(copy.copy(plain), compiled=compiled)
        self._limits = its_limits if batch_invariant else limits_of(self._device)
        self._compiled = compiled and not batch_invariant
        measured = invariant if batch_invariant else plain
        self._forward = with_graphs(measured, settled=not self._compiled)
        self._decoder = scripted_decoder(
            self._forward, work.prompts, self._limits, accepted=accepted, batch_invariant=batch_invariant
        )
        self._invariant = scripted_decoder(
            with_graphs(invariant, settled=True), work.prompts, its_limits, accepted=accepted, batch_invariant=True
        )
        self._few = work.prompts[: extent.baselines]
        self._reference = ReferenceEngine(as_loaded(work.network, "random"), max_new_tokens=VERDICT_TOKENS[work.task])
        self._tokenising = Tokenising(work.task, CONVERSATIONS)

    def measure(self, advance: Callable[[float], None]) -> dict[str, Any]:
        """Messages/s of each contender are its median round's; `runs` holds every round."""
        seconds = self._warm_up()
        runs = [self._round(advance) for _ in range(self._extent.rounds)]
        alone = measure_alone(
            self._decoder,
            self._forward,
            self._tokenising.backend,
            self._work.prompts,
            repeats=self._extent.alone,
            advance=lambda: advance(_STEPS_ALONE / self._extent.alone),
        )
        medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        # The machine's best round: a bound is not lowered by what else the machine was doing.
        bound = max(run["products_gflops"] for run in runs) / self._work.gflop_per_message()
        return {
            **medians,
            **alone,
            "batch_invariant_share": medians["batch_invariant"] / medians["one_pass"],
            "tokenising": {**self._tokenising.description(), "threads_together": _TOKENISING_THREADS},
            "rows_per_pass": self._work.rows_per_pass(self._limits),
            "gflop_per_message": self._work.gflop_per_message(),
            "bound": bound,
            "share_of_bound": medians["one_pass"] / bound,
            "seconds": seconds,
            "runs": runs,
        }

    def _warm_up(self) -> dict[str, float]:
        prompts = self._work.prompts
        seconds = {"first_verdict": seconds_of(lambda: self._decoder.decode(prompts[:1]), self._device)}
        if self._compiled:
            seconds["compiling"] = seconds_of(self._decoder.compile, self._device)
        # A GPU has each size of pass captured when it comes again.
        for _ in range(3 if self._device.type == "cuda" else 0):
            self._decoder.decode(prompts)
            self._invariant.decode(self._few)
        self._decoder.decode(prompts[:8])
        self._invariant.decode(prompts[:1])
        model_card_loop(self._work.network, self._few[:1], VERDICT_TOKENS[self._work.task])
        self._tokenising.run(1)
        return seconds

    def _round(self, advance: Callable[[float], None]) -> dict[str, float]:
        work, few, tokenising = self._work, self._few, self._tokenising
        loop = few[: max(1, len(few) // _OF_THE_LOOP)]
        contenders: dict[str, tuple[int, Callable[[], object]]] = {
            "one_pass": (len(work.prompts), lambda: self._decoder.decode(work.prompts)),
            "batch_invariant": (len(few), lambda: self._invariant.decode(few)),
            "reference": (len(few), lambda: self._reference.run(few)),
            "model_card_loop": (len(loop), lambda: model_card_loop(work.network, loop, VERDICT_TOKENS[work.task])),
            "tokenising_per_core": (len(tokenising), lambda: tokenising.run(1)),
            "tokenising_together": (len(tokenising), lambda: tokenising.run(_TOKENISING_THREADS)),
        }
        run: dict[str, float] = {}
        for name, (messages, contend) in contenders.items():
            started = time.process_time()
            run[name] = messages / seconds_of(contend, self._device)
            if name == "one_pass":
                # On a machine with other work, this tells what the clock cannot.
                run["one_pass_cpu_seconds_per_message"] = (time.process_time() - started) / messages
            advance(1)
        run["products_gflops"] = measure_products(work.network, work.rows_per_pass(self._limits))
        advance(1)
        return run


def main(
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "0.6B",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<index>.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32.")] = "auto",
    task: Annotated[str, typer.Option(help="prompt or response.")] = "prompt",
    accepted: Annotated[float, typer.Option(min=0, max=1, help="Share of messages whose draft is right.")] = 1.0,
    messages: Annotated[int, typer.Option(min=1, help="Messages a round, for the one-pass engine.")] = 32,
    baselines: Annotated[int, typer.Option(min=1, help="Messages a round, for the others.")] = 8,
    alone: Annotated[int, typer.Option(min=1, help="Messages one at a time, for the time of one alone.")] = 100,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a message.")] = 10,
    mixed: Annotated[bool, typer.Option("--mixed", help="Spread the lengths as chat does.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of all contenders in turn.")] = 3,
    batch_invariant: Annotated[bool, typer.Option("--batch-invariant", help="As with guard.batch_invariant.")] = False,
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
    extent = Extent(rounds, min(baselines, messages), alone)
    with Progress(console=_PROGRESS, disable=not sys.stderr.isatty()) as progress:
        step = progress.add_task("measuring", total=extent.steps)
        network = random_guard(shape, device=where, dtype=resolve_dtype(dtype, where, torch.bfloat16))
        prompts = random_prompts(asked, message_lengths(messages, mean=tokens, mixed=mixed))
        work = Work(network, prompts, asked)
        bench = EngineBench(work, extent, accepted=accepted, batch_invariant=batch_invariant, compiled=compiled)
        measured = bench.measure(lambda steps: progress.advance(step, steps))
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
    for name in _SHOWN:
        rounds = " ".join(f"{run[name]:.2f}" for run in report["runs"])
        table.add_row(name, f"{report[name]:.2f}", rounds)
    table.add_row("bound", f"{report['bound']:.2f}", f"one pass is at {report['share_of_bound']:.0%} of it")
    Console().print(table)
    Console().print(f"batch_invariant is at {report['batch_invariant_share']:.0%} of one_pass")
    Console().print(
        f"one message alone: {report['alone_p50_ms']:.1f} ms, p99 {report['alone_p99_ms']:.1f} ms; one forward of its "
        f"tokens: {report['forward_p50_ms']:.1f} ms, p99 {report['forward_p99_ms']:.1f} ms; ratio of the p99 "
        f"{report['alone_ratio']:.2f}, {report['alone_runs']} of each"
    )
    Console().print(f"tokenising: {report['tokenising']}")
    Console().print(f"products: {report['products_gflops']:.0f} GFLOP/s at {report['rows_per_pass']} rows a pass")
    Console().print(f"seconds: {report['seconds']}")
    Console().print(f"machine: {report['machine']}")


if __name__ == "__main__":
    typer.run(main)
