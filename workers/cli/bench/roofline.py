"""`weir bench roofline`: what the engine's passes take at the limits of a GPU that need not be there.

The counting is done in `workers.bench.engine.roofline`.
"""

from typing import Annotated, Literal

import typer
from rich.table import Table

from workers.cli.options import AsJson
from workers.cli.terminal import console, show_json

_MESSAGES = [1, 4, 8, 16, 32, 64, 128, 256]
_COLUMNS = {
    "messages": "messages a pass",
    "tokens": "tokens",
    "products_ms": "products ms",
    "attention_ms": "attention ms",
    "copies_ms": "copies ms",
    "rest_ms": "rest ms",
    "launching_ms": "launching ms",
    "messages_per_s": "messages/s at most",
    "messages_per_s_graphed": "with a graph",
    "bound_by": "waits for",
}


def roofline(
    shape: Annotated[Literal["0.6B", "4B", "8B"], typer.Option(help="Which Qwen3Guard-Gen.")] = "0.6B",
    task: Annotated[Literal["prompt", "response"], typer.Option(help="What is judged.")] = "prompt",
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a message.")] = 10,
    messages: Annotated[
        list[int], typer.Option(min=1, help="Messages of a pass; may be given many times.")
    ] = _MESSAGES,
    compiled: Annotated[bool, typer.Option(help="Take what lies between the products as compiled.")] = True,
    tflops: Annotated[float, typer.Option(min=1, help="Of products in bfloat16; an H200's as measured.")] = 790.0,
    bandwidth: Annotated[float, typer.Option(min=0.01, help="Of memory, in TB/s.")] = 4.3,
    launch_us: Annotated[float, typer.Option(min=0, help="Of the host, for each kernel.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Lower bounds of each pass on a GPU: products, attention, copies, launches. Counted on this machine, not measured.

    Where launching takes longer than computing, the GPU waits for the host, and a CUDA graph pays.
    """
    from workers.bench.engine.roofline import Gpu, Roofline, figures  # torch takes seconds

    gpu = Gpu(tflops * 1e12, bandwidth * 1e12, launch_us / 1e6)
    model = Roofline(shape, task, gpu, compiled=compiled)
    passes = [figures(model.cost_of(count, tokens), gpu) for count in messages]
    if as_json:
        limits = {"tflops": tflops, "bandwidth_tb_s": bandwidth, "launch_us": launch_us}
        show_json({"shape": shape, "task": task, "tokens": tokens, "compiled": compiled, **limits, "passes": passes})
        return
    table = Table(*_COLUMNS.values(), title=f"{shape}, {task}, {tokens} tokens a message: counted, not measured")
    for figure in passes:
        table.add_row(*(_shown(figure[name]) for name in _COLUMNS))
    console().print(table)


def _shown(figure: float | str) -> str:
    return figure if isinstance(figure, str) else f"{figure:,.2f}" if isinstance(figure, float) else f"{figure:,}"
