"""Writes the documents of the Ask lane's routes, OpenAPI and AsyncAPI; `make fmt` runs it, a test compares them."""

import json
from pathlib import Path

from workers.ask.openapi import asyncapi, openapi

DOCS = Path(__file__).with_name("docs")


def written() -> dict[Path, str]:
    """The files' texts."""
    documents = {"openapi.json": openapi(), "asyncapi-stream.json": asyncapi()}
    return {DOCS / name: json.dumps(made, indent=1, ensure_ascii=False) + "\n" for name, made in documents.items()}


if __name__ == "__main__":
    for file, text in written().items():
        file.write_text(text, encoding="utf-8")
