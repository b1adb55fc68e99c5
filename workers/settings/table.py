"""All settings as a Markdown table, for `infra/docs/settings.md`.

Reads no setting.
"""

from workers.settings.loading import PREFIX, Settings


def settings_table() -> str:
    """All settings as a Markdown table; `infra/docs/settings.md` is this text."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for section, field in Settings.model_fields.items():
        for name, item in getattr(field.annotation, "model_fields", {}).items():
            default = item.default
            shown = (
                ",".join(default)
                if isinstance(default, tuple)
                else ""
                if default is None or default == {}
                else str(default)
            )
            variable = f"{PREFIX}{section}__{name}".upper()
            rows.append(f"| `{variable}` | {f'`{shown}`' if shown else ''} | {item.description} |")
    return "\n".join(rows)
