"""Writes infra/docs/schemas.md from the published schemas; `make fmt` runs it, a test compares it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.documents import documents

PAGE = Path(__file__).with_name("docs") / "schemas.md"
_HEAD = """\
# Schemas

Written by `infra/schemas_page.py` from `schemas/`; do not edit. `weir schema NAME` prints the documents, which
`schemas/published/` holds as files: JSON Schemas, and the AsyncAPI document of the topics.
"""


def schemas_page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    for name, text in documents().items():
        if not name.endswith(".json"):
            continue
        schema = json.loads(text)
        title = schema.get("title", name.partition(".")[0].replace("_", " "))
        said = " ".join(schema.get("description", "").split())
        parts.append(f"\n## {title}\n\n`{name}`. {said}\n\n")
        parts.append("| field | type | needed | what it is |\n|---|---|---|---|\n")
        parts += _rows(schema, schema, "")
    return "".join(parts)


def _rows(schema: dict[str, Any], whole: dict[str, Any], before: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        resolved = _resolved(field, whole)
        needed = "yes" if name in schema.get("required", ()) else ""
        said = field.get("description") or ("" if resolved is field else resolved.get("description", ""))
        yield f"| {before}`{name}` | {_type(field, whole)} | {needed} | {_cell(said)} |\n"
        if "properties" in resolved:
            yield from _rows(resolved, whole, f"{before}`{name}` ")


def _resolved(field: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    for part in [field, *field.get("anyOf", ()), *field.get("allOf", ())]:
        if "$ref" in part:
            found: dict[str, Any] = whole["$defs"][part["$ref"].rpartition("/")[2]]
            return found
    return field


def _type(field: dict[str, Any], whole: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(part, whole) for part in field["anyOf"])
    resolved = _resolved(field, whole)
    if "enum" in resolved:
        return ", ".join(f"`{value}`" for value in resolved["enum"])
    if "const" in resolved:
        return f"`{resolved['const']}`"
    kind = str(resolved.get("type", "any"))
    return f"list of {_type(resolved['items'], whole)}" if kind == "array" and "items" in resolved else kind


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(schemas_page(), encoding="utf-8")
