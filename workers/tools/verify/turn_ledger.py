"""The ledger of turns: whether each one that was judged while it was written has its last verdict, and no other.

A `TurnBook` takes the records of the topics in, and becomes the ledger. A turn is known by its name, and begins with
its first frame that is no dead letter. Does not read Kafka; `workers.tools.verify.verify_turns` does. What it holds
lies in a temporary SQLite database, so memory is bounded.
"""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from schemas.dead_letter import read_dead_letter
from schemas.errors import EventError
from schemas.reasons import NOTHING_TO_JUDGE
from schemas.record import Partition, SourceRecord
from schemas.turns.frame import decode_frame
from schemas.turns.verdict import StreamVerdict
from workers.tools.verify.ledger import Finding

# What a turn may have ended with before it was read again, and ended otherwise.
_NOT_SETTLED: Final = ("idle", "gap", "inference_failed", "replica_crash")
_CACHE_KIB: Final = 4_096
_TABLES: Final = """
    CREATE TABLE parts (part INTEGER PRIMARY KEY, committed INTEGER);
    CREATE TABLE frames (
        turn BLOB, part INTEGER, place INTEGER, first INTEGER, last INTEGER, PRIMARY KEY (part, place)
    );
    CREATE TABLE unread (part INTEGER, place INTEGER, PRIMARY KEY (part, place));
    CREATE TABLE letters (part INTEGER, place INTEGER, PRIMARY KEY (part, place));
    CREATE TABLE said (
        turn BLOB, id TEXT, body BLOB, judge BLOB, policy TEXT, role TEXT, final INTEGER, settled INTEGER,
        raised INTEGER, number INTEGER, record TEXT, PRIMARY KEY (turn, id)
    );
"""
_CLOSING: Final = """
    CREATE TABLE taken AS SELECT turn, part, place, first, last FROM frames WHERE (part, place) NOT IN letters;
    CREATE INDEX of_turn ON taken (turn);
    CREATE TABLE turns AS
        SELECT b.turn, b.part, MIN(b.place) AS place, b.place < p.committed AS done,
            EXISTS (SELECT 1 FROM taken t WHERE t.turn = b.turn AND t.last) AS written,
            EXISTS (SELECT 1 FROM said s WHERE s.turn = b.turn AND s.final) AS ended
        FROM taken b JOIN parts p ON p.part = b.part WHERE b.first GROUP BY b.turn;
    CREATE TABLE ends AS SELECT turn, judge, policy, role, raised, settled, number, record FROM said WHERE final;
    CREATE INDEX of_end ON ends (turn);
"""
_OF_A_TURN: Final = "SELECT part, place FROM turns WHERE NOT ended AND "
_OF_A_FRAME: Final = "SELECT u.part, place FROM unread u JOIN parts p ON p.part = u.part WHERE "
_WITHOUT: Final = " AND (u.part, place) NOT IN letters"
_FOUND: Final = {
    "missing": f"{_OF_A_TURN} done UNION ALL {_OF_A_FRAME} place < committed {_WITHOUT}",
    "not_yet_judged": f"{_OF_A_TURN} NOT done AND written UNION ALL {_OF_A_FRAME} place >= committed {_WITHOUT}",
}
_SEEN: Final = {
    "conflicting": """
        SELECT MAX(record) FROM ends WHERE settled GROUP BY turn, judge
            HAVING COUNT(*) > MAX(1, COUNT(DISTINCT policy))
        UNION ALL SELECT e.record FROM ends e WHERE NOT e.raised AND EXISTS (SELECT 1 FROM said s WHERE s.turn = e.turn
            AND s.judge = e.judge AND s.role = e.role AND NOT s.final)""",
    "out_of_order": """
        SELECT s.record FROM said s JOIN ends e ON e.turn = s.turn AND e.judge = s.judge
            AND s.policy = COALESCE(e.policy, s.policy)
        WHERE NOT s.final AND e.settled AND s.number > e.number""",
    "unknown": "SELECT MIN(record) FROM said WHERE turn NOT IN (SELECT turn FROM frames) GROUP BY turn",
}


@dataclass(frozen=True, slots=True)
class TurnLedger:
    """What was counted.

    Attributes:
        turns: that have begun within the frames that were read.
        ended: those of them that have a last verdict.
        open: those whose writer has not ended them, and that have none.
        skipped: frames with nothing in them that is a frame, where that is no dead letter.
        dead_letters: frames that are one.
        raises: verdicts that a text was raised.
        duplicates: further equal copies of a verdict.
        rejudged: turns that more than one model or revision has ended.
        judged_on: turns that ended unsettled (`idle`, `gap`, a broken guard) and then once more.
        missing: turns without a last verdict, and frames that cannot be read without a dead letter, although the group
            has committed past them.
        not_yet_judged: the same of those that it has not, and that their writers have ended.
        conflicting: turns with two settled ends by one model and policy, or whose last verdict takes a raise back.
        unknown: turns of which there are verdicts and no frame, although all frames were read.
        unreadable: records of the verdict topic that are no verdict of a turn.
        unequal_duplicates: verdicts of one id that differ.
        out_of_order: raises behind their turn's end.
        outside: as `unknown`, where not all frames were read.
        tail_allowed: `not_yet_judged` refutes nothing.
        findings: the first violations of each kind.
    """

    turns: int
    ended: int
    open: int
    skipped: int
    dead_letters: int
    raises: int
    duplicates: int
    rejudged: int
    judged_on: int
    missing: int
    not_yet_judged: int
    conflicting: int
    unknown: int
    unreadable: int
    unequal_duplicates: int
    out_of_order: int
    outside: int
    tail_allowed: bool
    findings: tuple[Finding, ...]

    @property
    def promises(self) -> dict[str, bool]:
        """Which promises hold over what was read."""
        faults = self.missing + self.conflicting + self.unknown + self.unreadable
        return {
            "P1": faults == 0 and (self.tail_allowed or self.not_yet_judged == 0),
            "P3": self.unreadable == 0,
            "P7": self.unequal_duplicates == 0,
            "P8": self.out_of_order == 0,
        }

    @property
    def is_proven(self) -> bool:
        """True where all promises hold."""
        return all(self.promises.values())


class TurnBook:
    """Takes records in: frames, then outcomes, those of one partition in offset order. Close it in any case.

    Args:
        committed: per partition of the frames, the committed offset.
        max_event_bytes: a larger frame cannot be read.
        skips: a record with nothing to judge needs no outcome.
        is_whole: all frames that there were are read.
        limit: findings kept of each kind.
    """

    def __init__(
        self,
        committed: Mapping[Partition, int],
        *,
        max_event_bytes: int,
        skips: bool = True,
        is_whole: bool = True,
        limit: int = 20,
    ) -> None:
        self._topic = next((topic for topic, _ in committed), "")
        self._max_bytes = max_event_bytes
        self._skips = skips
        self._is_whole = is_whole
        self._limit = limit
        self._number = 0
        self._counts: Counter[str] = Counter()
        self._findings: list[Finding] = []
        # "": a database of its own in a temporary file, as of `LedgerPages`.
        self._store = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
            self._store.execute(f"PRAGMA {pragma}")
        self._store.executescript(_TABLES)
        rows = [(number, offset) for (_, number), offset in committed.items()]
        self._store.executemany("INSERT INTO parts VALUES (?, ?)", rows)

    def add_frame(self, record: SourceRecord) -> None:
        """Take a record of the topic of deltas in."""
        try:
            frame = decode_frame(record.value, self._max_bytes)
        except EventError as error:
            if self._skips and error.reason in NOTHING_TO_JUDGE:
                self._counts["skipped"] += 1
                return
            self._store.execute("INSERT INTO unread VALUES (?, ?)", (record.partition, record.offset))
            return
        turn = _turn(frame.tenant, frame.conversation_id, frame.turn)
        row = (turn, record.partition, record.offset, frame.seq == 0, frame.final)
        self._store.execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?)", row)

    def add_dead_letter(self, record: SourceRecord) -> None:
        """Take a record of the dead-letter topic in; those of other lanes are passed over."""
        try:
            source = read_dead_letter(record).source
        except ValueError:
            return
        if source.topic == self._topic:
            self._store.execute("INSERT OR IGNORE INTO letters VALUES (?, ?)", (source.partition, source.offset))

    def add_verdict(self, record: SourceRecord) -> None:
        """Take a record of the topic of turns' verdicts in."""
        value = record.value or b""
        try:
            said = StreamVerdict.model_validate_json(value)
        except ValidationError as error:
            self._find("unreadable", record.record_id, f"not a verdict of a turn: {error.error_count()} faults")
            return
        turn, body = _turn(said.tenant, said.conversation_id, said.turn), _digest(value)
        known = self._store.execute(
            "SELECT body FROM said WHERE turn = ? AND id = ?", (turn, said.verdict_id)
        ).fetchone()
        if known is not None:
            if known[0] == body:
                self._counts["duplicates"] += 1
            else:
                self._find("unequal_duplicates", record.record_id, "its id stands for other bytes before")
            return
        self._number += 1
        self._counts["raises"] += not said.final
        judge = _digest(b"" if said.provenance is None else said.provenance.model_dump_json().encode())
        settled = said.end not in _NOT_SETTLED
        policy = None if said.policy is None else said.policy.sha256
        row = (turn, said.verdict_id, body, judge, policy, said.role, said.final, settled, said.raised)
        self._store.execute(
            "INSERT INTO said VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, self._number, record.record_id)
        )

    def close(self, *, tail_allowed: bool = False) -> TurnLedger:
        """Count, list what is wrong, and free what is held."""
        self._store.executescript(_CLOSING)
        for kind, query in _FOUND.items():
            for part, place in self._store.execute(query):
                self._find(kind, f"{self._topic}-{part}-{place}", "no last verdict of its turn, or no dead letter")
        for kind, query in _SEEN.items():
            for (record,) in self._store.execute(query):
                if kind == "unknown" and not self._is_whole:
                    self._counts["outside"] += 1
                else:
                    self._find(kind, record, "see infra/docs/deltas.md")
        counted = (
            "skipped", "raises", "duplicates", "missing", "not_yet_judged", "conflicting", "unknown", "unreadable",
            "unequal_duplicates", "out_of_order", "outside",
        )  # fmt: skip
        try:
            return TurnLedger(
                turns=self._count("turns"),
                ended=self._count("turns WHERE ended"),
                open=self._count("turns WHERE NOT (ended OR done OR written)"),
                dead_letters=self._count("letters"),
                rejudged=self._count("(SELECT 1 FROM ends GROUP BY turn HAVING COUNT(DISTINCT judge) > 1)"),
                judged_on=self._count(
                    "(SELECT 1 FROM ends GROUP BY turn, judge HAVING COUNT(*) > 1 AND SUM(settled) < 2)"
                ),
                tail_allowed=tail_allowed,
                findings=tuple(self._findings),
                **{name: self._counts[name] for name in counted},
            )
        finally:
            self.free()

    def free(self) -> None:
        """Free what is held; for one who does not get as far as `close`."""
        self._store.close()

    def _count(self, rows: str) -> int:
        return int(self._store.execute(f"SELECT COUNT(*) FROM {rows}").fetchone()[0])

    def _find(self, kind: str, record_id: str, detail: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= self._limit:
            self._findings.append(Finding(kind, record_id, detail))


def _turn(tenant: str, conversation_id: str, turn: int) -> bytes:
    return _digest("\x1f".join((tenant, conversation_id, str(turn))).encode("utf-8", "surrogatepass"))


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()
