"""One message's trace as a tree, put together from the spans of several processes.

A span hangs under its parent. `poll`, the GPU batch, `parse`, `send` and `commit` are traces of their own and hang
where a link joins them to the message: a link of theirs, or the message's link to the batch that gave a kept
completion. Reads OTLP JSON, as span directories and a collector's file exporter hold it. Does not collect spans.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from workers.telemetry.span_encoding import SpanContext

Attributes = Mapping[str, Any]


class ReadSpan(NamedTuple):
    """One span as it was exported; `parent` and `links` are ids in hex."""

    trace: str
    span: str
    parent: str
    name: str
    service: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    links: tuple[tuple[str, str], ...]
    is_error: bool


@dataclass
class SpanNode:
    """One span. `linked` says that it belongs to another trace; times are seconds after the tree's first span."""

    name: str
    service: str
    start_s: float
    duration_ms: float
    linked: bool
    is_error: bool
    attributes: Attributes
    children: list["SpanNode"] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {
            "name": self.name,
            "service": self.service,
            "start_s": round(self.start_s, 6),
            "duration_ms": round(self.duration_ms, 3),
            "linked": self.linked,
            "error": self.is_error,
            "attributes": self.attributes,
            "children": [child.to_dict() for child in self.children],
        }


def read_spans(path: Path) -> list[ReadSpan]:
    """All spans of a span directory, or of one file; a line that is still being written is left out."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    lines = (line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}"))
    return spans_in(lines)


def spans_in(lines: Iterable[str]) -> list[ReadSpan]:
    """All spans of lines as a span directory has them."""
    return [span for line in lines for span in _spans_of(json.loads(line))]


def _spans_of(request: dict[str, Any]) -> Iterator[ReadSpan]:
    for resource in request.get("resourceSpans", ()):
        service = _attributes(resource.get("resource", {})).get("service.name", "")
        for span in (span for scope in resource["scopeSpans"] for span in scope.get("spans", ())):
            yield ReadSpan(
                span["traceId"],
                span["spanId"],
                span.get("parentSpanId", ""),
                span["name"],
                service,
                int(span["startTimeUnixNano"]),
                int(span["endTimeUnixNano"]),
                _attributes(span),
                tuple((link["traceId"], link["spanId"]) for link in span.get("links", ())),
                span.get("status", {}).get("code") == 2,
            )


def _attributes(owner: dict[str, Any]) -> dict[str, Any]:
    return {item["key"]: _value(item["value"]) for item in owner.get("attributes", ())}


def _value(value: dict[str, Any]) -> Any:
    if "intValue" in value:  # as text, since JSON's numbers have no 64 bits
        return int(value["intValue"])
    return next(iter(value.values()), None)


def trace_tree(spans: Iterable[ReadSpan], context: SpanContext) -> SpanNode:
    """The tree of the trace that a record's headers name.

    Where that trace began before, or its span was not exported, the tree begins at the earliest span that was.

    Args:
        spans: as `read_spans` gives them.
        context: of the record's `traceparent`.

    Raises:
        LookupError: no span of that trace was exported, nor one that links to it.
    """
    spans = list(spans)
    trace_id = context.trace.hex()
    own = _own(spans, context)
    if not own:
        raise LookupError(f"no span of trace {trace_id}")
    first = min(span.start_ns for span in own.values())
    hanging = _hanging(spans, own)
    roots = sorted(hanging.get("", []), key=lambda item: item[0].start_ns)
    nodes = [_node(span, is_link, hanging, first) for span, is_link in roots]
    if len(nodes) == 1:
        return nodes[0]
    return SpanNode("(not exported)", "", 0.0, 0.0, False, False, {}, nodes)


def traces_beside(spans: Sequence[ReadSpan], context: SpanContext) -> set[str]:
    """Ids of the traces that the message's own spans are of or link to: what belongs to it may be there."""
    own = _own(spans, context).values()
    return {span.trace for span in own} | {trace_id for span in own for trace_id, _ in span.links}


def _own(spans: Sequence[ReadSpan], context: SpanContext) -> dict[str, ReadSpan]:
    trace_id = context.trace.hex()
    own = {span.span: span for span in spans if span.trace == trace_id}
    if not own:  # a process span that is linked to its producer's has a trace of its own
        linked = [span for span in spans if (trace_id, context.span.hex()) in span.links and span.parent == ""]
        own = {span.span: span for span in spans if span.trace in {other.trace for other in linked}}
    return own


def _hanging(spans: list[ReadSpan], own: Mapping[str, ReadSpan]) -> dict[str, list[tuple[ReadSpan, bool]]]:
    """What hangs under each own span, and whether a link puts it there; roots hang under an empty id."""
    hanging: dict[str, list[tuple[ReadSpan, bool]]] = {}
    for span in own.values():
        hanging.setdefault(span.parent if span.parent in own else "", []).append((span, False))
    told = set()
    for span in spans:
        under = next((to for _, to in span.links if to in own and span.span not in own), None)
        if under is not None:
            hanging.setdefault(under, []).append((span, True))
            told.add(span.span)
    linked_to = {to: span.span for span in own.values() for _, to in span.links}
    for span in spans:
        if span.span in linked_to and span.span not in own and span.span not in told:
            hanging.setdefault(linked_to[span.span], []).append((span, True))
    return hanging


def _node(span: ReadSpan, linked: bool, hanging: Mapping[str, list[tuple[ReadSpan, bool]]], first: int) -> SpanNode:
    node = SpanNode(
        name=span.name,
        service=span.service,
        start_s=(span.start_ns - first) / 1e9,
        duration_ms=(span.end_ns - span.start_ns) / 1e6,
        linked=linked,
        is_error=span.is_error,
        attributes=span.attributes,
    )
    if not linked:
        children = sorted(hanging.get(span.span, []), key=lambda item: item[0].start_ns)
        node.children = [_node(child, is_link, hanging, first) for child, is_link in children]
    return node
