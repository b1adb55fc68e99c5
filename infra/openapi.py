"""Writes infra/docs/openapi.json, the document of the Ask lane's routes; `make fmt` runs it, a test compares it."""

import json
from pathlib import Path

from workers.ask.openapi import openapi

FILE = Path(__file__).with_name("docs") / "openapi.json"


def written() -> str:
    """The file's text."""
    return json.dumps(openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
