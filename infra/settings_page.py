"""Writes infra/docs/settings.md from the settings; `make fmt` runs it, a test compares it."""

from pathlib import Path

from workers.settings.table import settings_table

PAGE = Path(__file__).with_name("docs") / "settings.md"
_HEAD = """\
# Settings

Written by `infra/settings_page.py` from `workers/settings/`; do not edit.

Settings come from the environment under these names, or from `weir.yaml` (`kafka: {group_id: …}`; another path by
`WEIR_CONFIG`). The environment wins. An unknown key, a key given twice, a wrong value or an unsafe pair stops the start
and is named. Exporters of traces and metrics have the standard `OTEL_…` variables and are off without an endpoint.

"""


def settings_page() -> str:
    """The page, in Markdown."""
    return f"{_HEAD}{settings_table()}\n"


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
