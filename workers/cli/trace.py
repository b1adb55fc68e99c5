"""`weir trace`: from an event to its verdict or dead letter, to its trace, and to the spans where these are at hand.

Finding is done by `workers.tools.inspect.outcomes`, asking by `workers.tools.inspect.span_sources`, the tree is made by
`workers.tools.inspect.trace`.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.tree import Tree

from schemas.errors import ModerationError
from workers.cli.options import AsJson, Config, Since
from workers.cli.terminal import console, plain, progress_bar, show_json
from workers.settings.loading import load_settings, prepare_ray
from workers.telemetry.log import configure_logging
from workers.telemetry.span_encoding import SpanContext
from workers.tools.inspect.span_sources import spans_of_application
from workers.tools.inspect.trace import ReadSpan, SpanNode, read_spans, trace_tree

TIMEOUT_S = 10.0  # that the application has to answer


def trace(
    event: Annotated[str, typer.Argument(help="Event id, verdict id, or the event's source: TOPIC-PARTITION-OFFSET.")],
    spans: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Span directory, or the file of a collector's file exporter. Default: the settings' directory, or else"
            " the application itself.",
        ),
    ] = None,
    since: Since = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show what became of an event, its trace id, and its trace as a tree where there are spans to read.

    Without files of spans, asks the application that runs on the Ray cluster of RAY_ADDRESS, or on this machine, for
    what its replicas still have (telemetry.recent_spans_mib).

    Exits with 0 only if a verdict or a dead letter of it was found.
    """
    configure_logging("CRITICAL")  # the client would say in ten lines what one says
    from workers.tools.inspect.outcomes import EventOutcome, find_outcomes  # kafka-python takes half a second

    settings = load_settings(config)
    with progress_bar("outcomes") as progress:
        found = find_outcomes(settings, event, since, progress)
    exported, missing = _exported(
        spans or settings.telemetry.span_directory, [item.context for item in found if item.context is not None]
    )

    def entry(outcome: EventOutcome) -> dict[str, Any]:
        record = outcome.record
        return {
            "outcome": "dead_letter" if outcome.is_dead_letter else "verdict",
            "end": outcome.end,
            "source": outcome.source,
            "written": record.record_id,
            "trace_id": None if outcome.context is None else outcome.context.trace.hex(),
        }

    trees = [_tree(exported, outcome.context) for outcome in found]
    if as_json:
        show_json(
            [
                entry(outcome) | {"trace": None if tree is None else tree.to_dict()}
                for outcome, tree in zip(found, trees, strict=True)
            ]
        )
        raise typer.Exit(int(not found))
    out = console()
    for outcome, tree in zip(found, trees, strict=True):
        told = entry(outcome)
        line = f"{told['outcome']} ({told['end']}) of {told['source']}, written as {told['written']}"
        out.print(escape(plain(line)))
        out.print(f"trace {told['trace_id'] or 'none: the record names no span'}")
        if tree is not None:
            out.print(shown_tree(tree))
        elif told["trace_id"] is not None:
            out.print(escape(plain(missing)))
    if not found:
        typer.echo("neither a verdict nor a dead letter of it was found", err=True)
    raise typer.Exit(int(not found))


def _exported(path: Path | None, contexts: list[SpanContext]) -> tuple[list[ReadSpan], str]:
    """Spans, and what to say where a message's are not among them."""
    if path is not None:
        return (read_spans(path) if contexts else []), "its spans are not here"
    if not contexts:
        return [], ""
    prepare_ray()
    try:
        asked = spans_of_application(contexts, TIMEOUT_S)
    except ModerationError as error:
        return [], f"no spans of it: no --spans, and the application does not answer ({error})"
    return asked, "the application has no spans of it: see telemetry.recent_spans_mib, or give --spans"


def _tree(exported: list[ReadSpan], context: SpanContext | None) -> SpanNode | None:
    if context is None:
        return None
    try:
        return trace_tree(exported, context)
    except LookupError:
        return None


def shown_tree(node: SpanNode) -> Tree:
    """A tree for the terminal."""
    tree = Tree(_label(node))
    tree.children = [shown_tree(child) for child in node.children]
    return tree


def _label(node: SpanNode) -> str:
    known = node.attributes
    extra = [f"{node.duration_ms:.1f} ms", node.service] if node.service else []
    if node.linked:
        extra.append("linked")
    if size := known.get("moderation.batch.size") or known.get("messaging.batch.message_count"):
        extra.append(f"batch of {size}")
    if known.get("moderation.cache.hit"):
        extra.append("completion of an equal prompt, kept")
    elif "moderation.queue_ms" in known:
        extra.append(f"queued {known['moderation.queue_ms']:.1f} ms, judged in {known['moderation.guard_ms']:.1f} ms")
    if end := known.get("error.type") or known.get("moderation.severity"):
        extra.append(str(end))
    if why := known.get("moderation.sampled_for"):
        extra.append(f"traced because {why}")
    return f"{node.name} [dim]({', '.join(extra)})[/]" if extra else node.name
