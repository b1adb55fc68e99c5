"""All settings as a Markdown table, for `infra/docs/settings.md`.

Reads no setting.
"""

from workers.settings.loading import PREFIX, Settings
from workers.settings.section import leaves_of


def settings_table() -> str:
    """All settings as a Markdown table; `infra/docs/settings.md` is this text."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for setting, item in leaves_of(Settings):
        default = item.default
        shown = (
            ",".join(default)
            if isinstance(default, tuple)
            else ""
            if default is None or default == {}
            else str(default)
        )
        variable = f"{PREFIX}{setting.replace('.', '__')}".upper()
        rows.append(f"| `{variable}` | {f'`{shown}`' if shown else ''} | {item.description} |")
    return "\n".join(rows)
