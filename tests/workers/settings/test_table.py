"""The settings as a table: generated, so that the README cannot drift from the code."""

import re

from workers.settings.loading import variable_names
from workers.settings.table import settings_table


def test_the_table_has_one_row_a_setting_with_its_default_and_a_sentence() -> None:
    head, rule, *rows = settings_table().splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]

    assert (head, rule) == ("| variable | default | what it is |", "|---|---|---|")
    assert [row[0].strip("`") for row in cells] == list(variable_names())
    assert all(len(row) == 3 and row[2] for row in cells), "each setting says what it is"
    assert ["`WEIR_TOPICS__EVENTS`", "`chat.events`", "input topics, comma-separated"] in cells
    assert [
        "`WEIR_GUARD__REVISION`",
        "",
        "hub commit to pin; of a folder: sha256:…, or a name before it",
    ] in cells
