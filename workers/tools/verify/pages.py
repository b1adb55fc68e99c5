"""What the ledger keeps of each input offset: 25 bytes, in pages of 1,024 offsets.

Pages that were not used lately lie compressed in a temporary SQLite database, so that memory is bounded by the pages at
hand and not by the length of the topics. SQLite makes that file where TMPDIR says, without a name, and frees it itself.
Does not know what the bytes mean; `workers.tools.verify.ledger` does.
"""

import sqlite3
import zlib
from array import array
from collections import OrderedDict
from typing import NamedTuple

PAGE = 1_024
RESIDENT = 1_024  # pages of 25 kB
_CACHE_KIB = 4_096


class PageKey(NamedTuple):
    """Where a page belongs.

    Attributes:
        lane: 0 for what the outcome topics hold; each extra topic of a policy has one of its own.
        inputs: number of the input partition.
        nth: 0 for the first outcome of each record; a record that has outcomes that differ has more.
        number: offset divided by `PAGE`.
    """

    lane: int
    inputs: int
    nth: int
    number: int


class Page:
    """One slot for each offset: `flags` (8 bits), and 64 bits each of `payloads`, `identities` and `judges`."""

    __slots__ = ("flags", "identities", "is_changed", "judges", "payloads")

    def __init__(self, body: bytes | None = None) -> None:
        self.is_changed = False
        content = bytes(25 * PAGE) if body is None else body
        self.flags = bytearray(content[:PAGE])
        self.payloads, self.identities, self.judges = (
            array("Q", content[PAGE + part * 8 * PAGE :][: 8 * PAGE]) for part in range(3)
        )

    def body(self) -> bytes:
        """All of it, as the constructor takes it."""
        return b"".join((self.flags, self.payloads, self.identities, self.judges))


class LedgerPages:
    """Pages by key, at most `resident` of them in memory. Not for several threads."""

    def __init__(self, resident: int = RESIDENT) -> None:
        self._resident = resident
        self._held: OrderedDict[PageKey, Page] = OrderedDict()
        # "": a database of its own in a temporary file. What is lost with the process is not missed.
        self._store = sqlite3.connect("", isolation_level=None)
        for pragma in ("page_size=16384", "journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
            self._store.execute(f"PRAGMA {pragma}")
        self._store.execute(
            "CREATE TABLE pages (lane INTEGER, inputs INTEGER, nth INTEGER, number INTEGER, body BLOB,"
            " PRIMARY KEY (lane, inputs, nth, number))"
        )

    def page(self, key: PageKey) -> Page:
        """The page, made if it is not there, to be changed."""
        page = self.find(key)
        if page is None:
            page = self._hold(key, Page())
        page.is_changed = True
        return page

    def find(self, key: PageKey) -> Page | None:
        """The page, to be looked at; None where nothing was kept."""
        page = self._held.get(key)
        if page is not None:
            self._held.move_to_end(key)
            return page
        found = self._store.execute(
            "SELECT body FROM pages WHERE lane = ? AND inputs = ? AND nth = ? AND number = ?", key
        ).fetchone()
        return None if found is None else self._hold(key, Page(zlib.decompress(found[0])))

    def numbers(self, lane: int, inputs: int) -> list[int]:
        """Numbers of the pages of first outcomes that are there, in order."""
        stored = self._store.execute(
            "SELECT number FROM pages WHERE lane = ? AND inputs = ? AND nth = 0", (lane, inputs)
        ).fetchall()
        held = {key.number for key in self._held if (key.lane, key.inputs, key.nth) == (lane, inputs, 0)}
        return sorted(held.union(number for (number,) in stored))

    def close(self) -> None:
        """Free the file; nothing can be read any more."""
        self._held.clear()
        self._store.close()

    def _hold(self, key: PageKey, page: Page) -> Page:
        self._held[key] = page
        if len(self._held) > self._resident:
            oldest, gone = self._held.popitem(last=False)
            if gone.is_changed:
                self._store.execute(
                    "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?)", (*oldest, zlib.compress(gone.body(), 1))
                )
        return page
