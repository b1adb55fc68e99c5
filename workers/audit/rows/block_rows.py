"""Reads the rows of blocks from one open file at a time; a block that does not follow the last one reopens it.

Knows nothing of what rows mean.
"""

from collections.abc import Sequence
from typing import Any

from schemas.errors import ModerationError
from workers.audit.rows.blocks import UNREADABLE, Block, constants_of, stamp_of
from workers.files.cursors import cursor_of
from workers.files.locations import filesystem_of
from workers.files.row_values import Row

_NEAR = 16  # blocks that are passed by rather than opening the file anew: other actors have them


class BlockRows:
    """Reads blocks of files.

    Args:
        wanted: columns of the rows.
        lookback: rows before a block that come with it.
    """

    def __init__(self, wanted: Sequence[str], lookback: int) -> None:
        self._wanted = wanted
        self._lookback = lookback
        self._uri = ""
        self._cursor: Any = None
        self._is_text = False
        self._recent: list[Row] = []  # the last rows taken, up to `lookback`, which end at the cursor's position

    def read(self, block: Block) -> tuple[list[Row], list[Row]]:
        """A block's rows, and up to `lookback` rows that stand before them.

        Raises:
            ModerationError: the file cannot be read, or is not what it was when the run was planned.
        """
        try:
            rows, before = self._read(block)
            changed = stamp_of(block.uri) != block.stamp
        except UNREADABLE as error:
            self._uri = ""
            raise ModerationError(f"{block.uri}: cannot be read any more: {type(error).__name__}") from None
        if changed:
            self._uri = ""
            raise ModerationError(f"{block.uri}: has changed since the run was planned")
        if len(rows) < block.rows:
            raise ModerationError(f"{block.uri}: ends before row {block.start + block.rows}, which it had")
        return rows, before

    def _read(self, block: Block) -> tuple[list[Row], list[Row]]:
        seen_from = max(0, block.start - self._lookback)
        if self._uri != block.uri or not self._reaches(block, seen_from):
            self._open(block)
        cursor = self._cursor
        if cursor.position < seen_from:
            cursor.skip(seen_from - cursor.position)
            self._recent = []
        if cursor.position < block.start:
            self._keep(cursor.take(block.start - cursor.position))
        before = self._recent
        rows: list[Row] = cursor.take(block.rows)
        self._keep(rows)
        return rows, before

    def _reaches(self, block: Block, seen_from: int) -> bool:
        """Whether reading on is possible, and not dearer than opening the file at another place."""
        position = self._cursor.position
        if not position - len(self._recent) <= seen_from and position != seen_from:
            return False
        if position > block.start:
            return False
        # A file of tables is opened at a group of rows, which may begin far before the row.
        return bool(position >= block.open_row or (not self._is_text and block.start - position <= _NEAR * block.rows))

    def _keep(self, rows: list[Row]) -> None:
        if self._lookback:
            self._recent = [*self._recent, *rows][-self._lookback :]

    def _open(self, block: Block) -> None:
        assert block.written is not None
        files, path = filesystem_of(block.uri)
        raw = files.open_input_file(path)
        self._cursor = cursor_of(
            raw, block.written, self._wanted, constants_of(block.uri), block.open_row, block.open_mark
        )
        self._is_text = block.written.form.is_text
        self._uri, self._recent = block.uri, []
