"""Measures what a token of a growing answer costs: sessions that share steps, beside feeding the whole text again.

Random weights of the real shape: speed only, no quality. Feeding again is what the model's own code does for every
token: one forward over all that is there, and the heads. Knows nothing of settings, Kafka or Ray.
"""

import json
import statistics
import sys
from collections.abc import Callable
from typing import Annotated, Any, Final

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from transformers import AutoTokenizer

from workers.bench.engine.machine import machine_of, seconds_of
from workers.bench.engine.shapes import SHAPES, random_guard
from workers.serving.engine.loading import resolve_device, resolve_dtype
from workers.serving.engine.stream_guard import StreamGuard
from workers.serving.engine.streaming.heads import HeadGroup, Labels
from workers.serving.engine.streaming.session import Session
from workers.serving.engine.streaming.stream_model import STREAM_DEMO_FOLDER, StreamModel

INNER: Final = 512
POSITIONS: Final = 8192
# Tokens of one delta. Most servers send each token, or a few together.
DELTAS: Final = (1, 4, 16)
# One token of the demo's tokenizer, which stands in for the real one: ids are ids.
_WORD: Final = " the"
_RISKS: Final = ("Safe", "Unsafe", "Controversial")
_PROGRESS: Final = Console(stderr=True)


def random_stream_model(shape: str, layers: int | None, *, device: torch.device, dtype: torch.dtype) -> StreamModel:
    """Random weights of the shape, the first `layers` of them, with random heads and the demo's tokenizer."""
    network: Any = random_guard(shape, device=device, dtype=dtype).model
    if layers is not None:
        network.layers = network.layers[:layers]
        network.config.num_hidden_layers = len(network.layers)
    generator = torch.Generator().manual_seed(5)

    def head(categories: int) -> HeadGroup:
        def drawn(*size: int) -> torch.Tensor:
            return torch.randn(*size, generator=generator).mul_(0.05).to(device)

        labels = Labels(_RISKS, tuple(map(str, range(categories))))
        width = network.config.hidden_size
        ones = torch.ones(INNER, device=device)
        return HeadGroup(labels, drawn(INNER, width), ones, drawn(3, INNER), drawn(categories, INNER), 1e-6)

    tokenizer: Any = AutoTokenizer.from_pretrained(STREAM_DEMO_FOLDER)
    return StreamModel("random", "random", tokenizer, network, head(8), head(9), device, dtype, POSITIONS)


class StreamBench:
    """Sessions whose answers are `context` tokens long, and the same model fed again; both ready to be measured."""

    def __init__(self, model: StreamModel, *, context: int, sessions: int) -> None:
        self._model = model
        self._context = context
        self._guard = StreamGuard(model)
        self._sessions = [
            self._guard.open([{"role": "user", "content": f"question {number}"}]) for number in range(sessions)
        ]
        self._ids = torch.randint(256, 3000, (1, context), generator=torch.Generator().manual_seed(2)).to(model.device)

    def fill(self) -> float:
        """Bring all sessions to the context; returns milliseconds a token, which is what a replay costs, too."""
        taken = seconds_of(lambda: self._push(self._sessions, self._context), self._model.device)
        return taken * 1000 / (self._context * len(self._sessions))

    def round(self) -> dict[str, float]:
        """Milliseconds a token of each way, measured in turn."""
        device = self._model.device
        figures = {"feeding again": seconds_of(self._fed_again, device) * 1000}
        for size in DELTAS:
            taken = seconds_of(lambda size=size: self._push(self._sessions, size), device)  # type: ignore[misc]
            figures[f"{len(self._sessions)} sessions, {size} a delta"] = taken * 1000 / (size * len(self._sessions))
            alone = seconds_of(lambda size=size: self._push(self._sessions[:1], size), device)  # type: ignore[misc]
            figures[f"1 session, {size} a delta"] = alone * 1000 / size
        return figures

    @property
    def bytes_per_token(self) -> float:
        """Keys and values that are held now, by the tokens that are."""
        held = self._guard.live_pages * self._guard.page_bytes
        return held / sum(len(session) for session in self._sessions)

    def _push(self, sessions: list[Session], tokens: int) -> None:
        for verdicts in self._guard.push([(session, _WORD * tokens, False) for session in sessions]):
            assert verdicts.error is None

    def _fed_again(self) -> None:
        network: Any = self._model.network
        with torch.inference_mode():
            hidden = network(self._ids, use_cache=False).last_hidden_state[0]
            for heads in (self._model.response, self._model.query):
                heads(hidden[-1:].float()).tolist()


def measure(bench: StreamBench, rounds: int, advance: Callable[[], None]) -> dict[str, Any]:
    """The medians of all rounds, the rounds, and the ratio of feeding again to sessions with a token a delta."""
    replay = bench.fill()
    advance()
    runs = []
    bench.round()  # to be warm
    for _ in range(rounds):
        runs.append(bench.round())
        advance()
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    again, shared = medians["feeding again"], next(name for name in medians if name.endswith("sessions, 1 a delta"))
    return {
        "ms_per_token": medians,
        "replay_ms_per_token": replay,
        "ratio": again / medians[shared],
        "bytes_per_token": bench.bytes_per_token,
        "runs": runs,
    }


def main(
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "0.6B",
    layers: Annotated[int | None, typer.Option(min=1, help="The first layers only; default: all.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<index>.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bf16, fp16 or fp32.")] = "auto",
    context: Annotated[int, typer.Option(min=1, max=POSITIONS // 2, help="Tokens that an answer already has.")] = 512,
    sessions: Annotated[int, typer.Option(min=1, help="Answers that grow at once.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of both ways in turn.")] = 5,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 for torch's own choice.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Milliseconds a token of growing answers: sessions in shared steps, beside feeding the whole text again."""
    if shape not in SHAPES:
        raise typer.BadParameter(f"shape is one of {', '.join(SHAPES)}")
    where = resolve_device(device)
    torch.set_num_threads(threads or torch.get_num_threads())
    machine = machine_of(where)
    with Progress(console=_PROGRESS, disable=not sys.stderr.isatty()) as progress:
        step = progress.add_task("measuring", total=rounds + 1)
        model = random_stream_model(shape, layers, device=where, dtype=resolve_dtype(dtype, where, torch.bfloat16))
        bench = StreamBench(model, context=context, sessions=sessions)
        measured = measure(bench, rounds, lambda: progress.advance(step))
    about = {
        "shape": shape,
        "layers": model.network.config.num_hidden_layers,
        "dtype": str(model.dtype).removeprefix("torch."),
        "context": context,
    }
    report = {**about, **measured, "machine": machine}
    if json_output:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        _print_table(report)


def _print_table(report: dict[str, Any]) -> None:
    title = f"{report['shape']} {report['dtype']}, {report['layers']} layers, context {report['context']}"
    table = Table("ms a token", "median", "rounds", title=title)
    for name, median in report["ms_per_token"].items():
        table.add_row(name, f"{median:,.2f}", " ".join(f"{run[name]:,.2f}" for run in report["runs"]))
    out = Console()
    out.print(table)
    out.print(f"feeding again is {report['ratio']:.1f} times a token of shared steps, a token a delta")
    out.print(f"filling the context: {report['replay_ms_per_token']:,.2f} ms a token; so a replay")
    out.print(f"keys and values: {report['bytes_per_token']:,.0f} bytes a token")
    out.print(f"machine: {report['machine']}")


if __name__ == "__main__":
    typer.run(main)
