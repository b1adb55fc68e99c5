"""Writes the settings table into README.md; `make fmt` runs it, a test compares it."""

import re
from pathlib import Path

from workers.settings.loading import settings_table

README = Path(__file__).parents[1] / "README.md"


def main() -> None:
    """Replace what stands between the two settings markers."""
    text = README.read_text(encoding="utf-8")
    table = f"<!-- settings -->\n{settings_table()}\n<!-- /settings -->"
    README.write_text(re.sub(r"(?s)<!-- settings -->.*?<!-- /settings -->", lambda _: table, text), encoding="utf-8")


if __name__ == "__main__":
    main()
