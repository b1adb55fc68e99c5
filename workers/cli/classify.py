"""`weir classify`: verdicts for a text or for JSONL events, with the engine in this process; with --stream, for deltas.

Needs neither Kafka nor Ray. The lines are judged by `workers.guard.lines`, deltas by `workers.serving.deltas.lines`.
"""

import asyncio
import hashlib
import io
import json
import os
import secrets
import stat
import sys
from collections.abc import Callable
from typing import Annotated, BinaryIO, Literal

import typer

from pipelines.judging import Judge
from pipelines.moderation import Moderation
from workers.cli.options import Config, Model
from workers.cli.terminal import progress_bar, show_json_text
from workers.guard.lines import in_chunks, judge_lines, read_lines
from workers.guard.setup import judge_of, moderation_of
from workers.settings.loading import Settings, load_settings

_ID_KEY = secrets.token_bytes(32)


def classify(
    text: Annotated[str, typer.Argument(help="One user message; - or nothing reads JSONL events from stdin.")] = "-",
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Judge answers token by token, with a Qwen3Guard-Stream model: JSONL deltas."),
    ] = False,
    answer: Annotated[
        str | None, typer.Option(help="With --stream and a text: the answer to it.", metavar="TEXT")
    ] = None,
    debounce: Annotated[
        Literal["paper", "script"] | None,
        typer.Option(
            help="With --stream, raise at the second token in a row that is: not Safe; of the same such label."
        ),
    ] = None,
    model: Model = None,
    config: Config = None,
) -> None:
    """Print a verdict as JSON for a text, or for each event line, in order; errors are JSON lines too.

    With --stream, print a verdict for the user's turn and for each token of the answer. Exits with 1 if any line got an
    error.
    """
    settings = load_settings(config).with_model(model)
    if not stream and (answer is not None or debounce is not None):
        raise typer.BadParameter("only with --stream", param_hint="--answer" if answer is not None else "--debounce")
    if answer is not None and text == "-":
        raise typer.BadParameter("only with a text that it answers", param_hint="--answer")
    if text == "-" and sys.stdin.isatty():
        typer.echo("reading standard input, one JSON object a line", err=True)
    given = _opened(text, answer or "") if stream else _event(text)
    source = sys.stdin.buffer if text == "-" else io.BytesIO(given)
    with progress_bar("bytes", quiet=text != "-" or sys.stdout.isatty()) as progress:
        if stream:
            errors = _classify_deltas(source, settings, debounce or "paper", progress)
        else:
            errors = asyncio.run(_classify(source, settings, *_parts(settings), progress))
    raise typer.Exit(int(errors > 0))


def _opened(text: str, answer: str) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}], "delta": answer, "final": True}).encode()


def _classify_deltas(
    source: BinaryIO,
    settings: Settings,
    debounce: Literal["paper", "script"],
    progress: Callable[[int, int | None], None],
) -> int:
    from workers.serving.deltas.lines import DeltaLines  # torch takes seconds
    from workers.serving.engine_choice import load_stream_guard

    lines = DeltaLines(load_stream_guard(settings.guard, debounce))
    total = _size(source)
    done = errors = 0
    for chunk in in_chunks(read_lines(source, settings.limits.max_event_bytes), settings.delivery.chunk_size):
        for line in lines.judged(chunk):
            show_json_text(line.text)
            errors += line.is_error
        done += sum(len(line) + 1 for line in chunk)
        progress(done, total)
    return errors


def _event(text: str) -> bytes:
    # The id stands for the text, because a verdict's id is made of ids and sources only. A key of this process: a
    # plain digest of a short message is as good as the message.
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=_ID_KEY, digest_size=8).hexdigest()
    return json.dumps({"event_id": f"text-{digest}", "text": text}).encode()


def _parts(settings: Settings) -> tuple[Moderation, Judge]:
    from workers.serving.local_guard import load_local_guard

    moderation = moderation_of(settings)
    return moderation, judge_of(settings, load_local_guard(settings.guard))


async def _classify(
    stream: BinaryIO,
    settings: Settings,
    moderation: Moderation,
    judge: Judge,
    progress: Callable[[int, int | None], None],
) -> int:
    total = _size(stream)
    done = errors = 0

    def advanced(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    lines = read_lines(stream, settings.limits.max_event_bytes)
    skips = settings.events.nothing_to_judge == "skip"
    chunks = in_chunks(lines, settings.delivery.chunk_size)
    async for lines_out in judge_lines(chunks, moderation, judge, advanced, skips=skips):
        for line in lines_out:
            show_json_text(line.text)
            errors += line.is_error
    return errors


def _size(stream: BinaryIO) -> int | None:
    """Bytes of a regular file; None for a pipe, whose size is unknown."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, io.UnsupportedOperation):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
