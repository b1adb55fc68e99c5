"""Rows a second of an audit with a guard that answers at once, beside bare Ray Data that does the same to each row.

Bare Ray Data reads Parquet, renders, asks, parses and writes Parquet with `map_batches`; it has no blocks to resume, no
checksums, no partitions and no manifest. Both have the same actors. Does not measure a model.
"""

import asyncio
import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import ray.data
from pyarrow import parquet
from ray.data import ActorPoolStrategy

from pipelines.lanes.batch import judge_batch
from schemas.verdict_writer import VerdictText
from workers.audit.actors import LaneFactory, Pool
from workers.audit.block_judge import Lane
from workers.audit.block_work import ReadTopic
from workers.audit.lane import lane_of
from workers.audit.manifest import PolicyUsed
from workers.audit.rows.blocks import Block, plan_files, survey
from workers.audit.rows.columns import Columns
from workers.audit.rows.event_rows import EventRows
from workers.audit.rows.tables import VERDICT_SCHEMA, RowFacts, table_of, verdict_row
from workers.audit.run import Asked, AuditRun
from workers.bench.chat import chat_words
from workers.bench.guards import InstantGuard
from workers.settings.loading import Settings

_FEWEST_WORDS, _MOST_WORDS = 4, 24
_GROUP_ROWS = 65_536
_LOOK_S = 0.5
_MEBIBYTE = 2**20
_MAPPING = {"id": "key", "tenant": "who", "text": "body", "time": "at", "language": "spoken"}
Step = Callable[[str], None]


@dataclass(frozen=True)
class InstantAnswers:
    """A guard that answers at once."""

    settings: Settings

    def __call__(self) -> tuple[Lane, ReadTopic | None]:
        """See `workers.audit.actors.LaneFactory`."""
        return lane_of(self.settings, InstantGuard(), 1, 0.0), None


@dataclass(frozen=True)
class AuditBenchResult:
    """Rows a second of each run, in the order in which they were made; memory of the audit's actors, in MiB.

    `memory` has the largest sum over all actors in each quarter of the longest run: flat if the last is the first.
    """

    rows: int
    runs: int
    actors: int
    block_rows: int
    audit: list[float]
    bare: list[float]
    memory: list[float]

    @property
    def ratio(self) -> float:
        """Median of the audit over median of bare Ray Data."""
        return statistics.median(self.audit) / statistics.median(self.bare)

    def to_dict(self) -> dict[str, object]:
        """As JSON shows it."""
        return {**asdict(self), "ratio": round(self.ratio, 3)}


def write_rows(path: Path, rows: int) -> None:
    """A chat log of that many rows, the same each time: one row in a hundred has a text that came before."""
    random, begin = Random(1), datetime(2026, 1, 1, tzinfo=UTC)
    writer = None
    for start in range(0, rows, _GROUP_ROWS):
        numbers = range(start, min(rows, start + _GROUP_ROWS))
        table = pa.table(
            {
                "key": [f"event-{number}" for number in numbers],
                "who": [f"tenant-{number % 7}" for number in numbers],
                "at": [begin + timedelta(seconds=number / 4) for number in numbers],
                "spoken": [("en", "de", "fr")[number % 3] for number in numbers],
                "body": [_text(random, number) for number in numbers],
            }
        )
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _text(random: Random, number: int) -> str:
    text = " ".join(chat_words(random, _FEWEST_WORDS, _MOST_WORDS))
    return f"{text} {number - number % 100 if number % 100 == 99 else number}"


def run_audit_bench(
    folder: Path,
    rows: int,
    runs: int,
    pool: Pool,
    block_rows: int,
    policy: PolicyUsed,
    factory: LaneFactory,
    max_event_bytes: int,
    step: Step,
) -> AuditBenchResult:
    """Alternate `runs` runs of each on one file; Ray is to be there."""
    source = folder / "rows.parquet"
    step(f"writing {rows:,} rows")
    write_rows(source, rows)
    audit: list[float] = []
    bare: list[float] = []
    memory: list[float] = []
    for number in range(runs):
        for side in ("audit", "bare") if number % 2 == 0 else ("bare", "audit"):
            step(f"run {number + 1} of {runs}: {side}")
            into = folder / f"{side}-{number}"
            started = time.perf_counter()
            if side == "bare":
                _bare(source, into, pool, block_rows, factory)
                bare.append(rows / (time.perf_counter() - started))
            else:
                with _ActorMemory() as seen:
                    _audit(source, into, pool, block_rows, policy, factory, max_event_bytes)
                    audit.append(rows / (time.perf_counter() - started))
                memory = seen.quarters()
            shutil.rmtree(into)
    return AuditBenchResult(rows, runs, pool.actors, block_rows, audit, bare, memory)


def _audit(
    source: Path,
    into: Path,
    pool: Pool,
    block_rows: int,
    policy: PolicyUsed,
    factory: LaneFactory,
    max_event_bytes: int,
) -> None:
    surveyed = survey([str(source)], block_rows, lambda _done, _all: None)
    columns = Columns.resolve(_MAPPING, surveyed.files, None)
    plan = plan_files(surveyed, block_rows, 0)
    asked = Asked(
        run=str(into),
        plan=plan,
        columns=columns,
        sample=None,
        since_run=None,
        policy=policy,
        block_rows=block_rows,
        keep_text=False,
        cache_size=65_536,
        rate=None,
        max_event_bytes=max_event_bytes,
    )
    AuditRun(asked).execute(factory, pool)


def _bare(source: Path, into: Path, pool: Pool, block_rows: int, factory: LaneFactory) -> None:
    columns = Columns.resolve(_MAPPING, survey([str(source)], _GROUP_ROWS, lambda _done, _all: None).files, None)
    ray.data.read_parquet(str(source), columns=list(columns.wanted)).map_batches(
        _BareActor,
        batch_size=block_rows,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=pool.actors),
        num_cpus=pool.cpus,
        fn_constructor_args=(factory, columns),
    ).write_parquet(str(into))


class _BareActor:
    """What an audit does to each row, and no more: no cache, no digests of texts, no partitions."""

    def __init__(self, factory: LaneFactory, columns: Columns) -> None:
        self._lane, _ = factory()
        self._columns = columns
        self._events = EventRows(columns)
        self._runner = asyncio.Runner()

    def __call__(self, batch: Any) -> Any:
        values = [batch.column(name).to_pylist() for name in self._columns.wanted]
        rows: list[Any] = list(zip(*values, strict=True))
        moderation = self._lane.moderation
        items = list(self._events.records(Block(0, "", "rows", 0, 0, len(rows)), rows, ()))
        admitted = [moderation.admit(item.record, received_at="-") for item in items]
        rulings = self._runner.run(judge_batch(admitted, moderation, self._lane.judge, judged_at="-"))
        written = []
        for item, ruling in zip(items, rulings, strict=True):
            if isinstance(ruling.outcome, VerdictText):
                facts = RowFacts(item.event_id, item.tenant, item.occurred_at, item.language, "", "", None)
                written.append(verdict_row(ruling.outcome, facts))
        return table_of(written, VERDICT_SCHEMA)


class _ActorMemory:
    """Looks at the resident memory of this machine's actors twice a second. Use as a context manager."""

    def __init__(self) -> None:
        self._seen: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="weir-memory", daemon=True)

    def __enter__(self) -> "_ActorMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def quarters(self) -> list[float]:
        """The largest sum in each quarter of the time."""
        seen = [size for size in self._seen if size]
        share = max(1, len(seen) // 4)
        return [round(max(seen[start : start + share]), 1) for start in range(0, min(len(seen), 4 * share), share)]

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self._seen.append(sum(_resident(process) for process in Path("/proc").iterdir() if process.name.isdigit()))


def _parent(process: str) -> str:
    """The number of a process's parent."""
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]


def _resident(process: Path) -> float:
    try:
        # Of this bench only: Ray's node process lies between an actor and the driver.
        if b"MapWorker" not in (process / "cmdline").read_bytes() or _parent(_parent(process.name)) != str(os.getpid()):
            return 0.0
        lines: Iterator[str] = iter((process / "status").read_text(encoding="utf-8").splitlines())
    except OSError:  # it has ended
        return 0.0
    return next((int(line.split()[1]) * 1024 / _MEBIBYTE for line in lines if line.startswith("RssAnon")), 0.0)
