"""One message's trace as a tree, put together from the span files of several processes.

A span hangs under its parent; `poll`, the GPU batch and `commit` are traces of their own that link to the message,
and hang where their link points. Does not collect spans.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass
class SpanNode:
    """One span. `linked` says that it belongs to another trace; times are seconds after the tree's first span."""

    name: str
    service: str
    start_s: float
    duration_ms: float
    linked: bool
    attributes: dict[str, Any]
    children: list["SpanNode"] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {
            "name": self.name,
            "service": self.service,
            "start_s": round(self.start_s, 6),
            "duration_ms": round(self.duration_ms, 3),
            "linked": self.linked,
            "children": [child.to_dict() for child in self.children],
        }


def read_spans(directory: Path) -> list[dict[str, Any]]:
    """All spans that the processes wrote into a span directory."""
    return [json.loads(line) for path in sorted(directory.glob("*.jsonl")) for line in path.open(encoding="utf-8")]


def trace_tree(spans: Iterable[dict[str, Any]], trace_id: str) -> SpanNode:
    """The tree of one trace.

    Args:
        spans: as `read_spans` gives them.
        trace_id: 32 hex digits.

    Raises:
        LookupError: no root span with that trace id.
    """
    spans = list(spans)
    own = {span["context"]["span_id"]: span for span in spans if span["context"]["trace_id"] == f"0x{trace_id}"}
    hanging: dict[str | None, list[tuple[dict[str, Any], bool]]] = {}
    for span in own.values():
        parent = span["parent_id"]
        hanging.setdefault(parent if parent in own else None, []).append((span, False))
    for span in spans:
        if span["context"]["span_id"] in own:
            continue
        for link in span["links"]:
            if link["context"]["span_id"] in own:
                hanging.setdefault(link["context"]["span_id"], []).append((span, True))
                break
    if None not in hanging:
        raise LookupError(f"no span of trace {trace_id}")
    first = min(_seconds(span["start_time"]) for span in own.values())
    root, _ = hanging[None][0]
    return _node(root, False, hanging, first)


def _node(
    span: dict[str, Any], linked: bool, hanging: dict[str | None, list[tuple[dict[str, Any], bool]]], first: float
) -> SpanNode:
    start = _seconds(span["start_time"])
    node = SpanNode(
        name=span["name"],
        service=span["resource"]["attributes"].get("service.name", ""),
        start_s=start - first,
        duration_ms=(_seconds(span["end_time"]) - start) * 1000,
        linked=linked,
        attributes=span["attributes"],
    )
    if not linked:
        children = sorted(hanging.get(span["context"]["span_id"], []), key=lambda item: str(item[0]["start_time"]))
        node.children = [_node(child, is_link, hanging, first) for child, is_link in children]
    return node


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
