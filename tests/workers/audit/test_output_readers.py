"""What a run writes is read to the value by what people read Parquet with; by Spark only where pyspark is installed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pytest
from pyarrow import parquet

from tests.workers.audit.scripted_lane import (
    MAX_BYTES,
    ScriptedLane,
    chat,
    planned,
    rows_of,
    used_policy,
    write_parquet,
)
from workers.audit.block_work import BlockWork, RunWork
from workers.audit.rows.tables import DEAD_LETTER_SCHEMA, SCHEMA_VERSION, VERDICT_SCHEMA
from workers.audit.run_folder import DEAD_LETTERS, VERDICTS

ROWS = 200
Row = dict[str, Any]
Read = Callable[[Path], list[Row]]
_SCORES = ("severity_scores", "category_scores")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blocks over two days and rows without a time, with scores, texts and dead letters."""
    folder = tmp_path_factory.mktemp("readers")
    rows = [{**row, "at": None if number % 17 == 0 else row["at"]} for number, row in enumerate(chat(ROWS))]
    plan, columns = planned(write_parquet(folder / "chat.parquet", rows), 20)
    work = RunWork(str(folder / "run"), "1", columns, None, used_policy(), None, 10, None, True, MAX_BYTES)
    with BlockWork(work, *ScriptedLane(str(folder), scores=True)(), None) as worker:
        for block in plan.blocks:
            worker.do(block)
    return folder / "run"


def by_duckdb(folder: Path) -> list[Row]:
    found = duckdb.sql(f"select * from read_parquet('{folder}/**/*.parquet', hive_partitioning=true)")
    rows: list[Row] = found.to_arrow_table().to_pylist()
    return rows


def by_pandas(folder: Path) -> list[Row]:
    rows: list[Row] = pandas.read_parquet(folder).to_dict("records")
    return rows


@pytest.fixture(scope="module")
def _spark() -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed")
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "1", "spark.driver.memory": "512m"}
    builder = sql.SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.fixture(params=["duckdb", "pandas", "spark"])
def read(request: pytest.FixtureRequest) -> Read:
    """Reads a folder of Parquet with its hive partitions."""
    if request.param != "spark":
        return {"duckdb": by_duckdb, "pandas": by_pandas}[request.param]
    session = request.getfixturevalue("_spark")
    return lambda folder: [row.asDict(recursive=True) for row in session.read.parquet(str(folder)).collect()]


def plain(row: Row) -> Row:
    """A row as Python's own values, whoever read it."""
    said: Row = {}
    for name, value in row.items():
        if name in _SCORES:
            said[name] = None if value is None else dict(value)
        elif name == "categories":
            said[name] = list(value)
        elif value is None or value is pandas.NaT or value != value:  # NaN, as pandas has nulls
            said[name] = None
        elif isinstance(value, datetime):
            said[name] = value.astimezone(UTC)  # Spark gives the time of this machine's zone, and does not say so
        else:
            said[name] = str(value) if name in ("date", "verdict") else value
    return said


def by_offset(rows: list[Row]) -> list[Row]:
    return sorted(map(plain, rows), key=lambda row: row["source_offset"])


def test_every_value_of_every_verdict_is_read(run: Path, read: Read) -> None:
    verdicts = [
        {
            **row,
            "date": f"{row['occurred_at']:%Y-%m-%d}" if row["occurred_at"] else "unknown",
            "verdict": row["severity"],
        }
        for row in rows_of(run)[0]
    ]
    found = by_offset(read(run / VERDICTS))

    assert set(found[0]) == {*VERDICT_SCHEMA.names, "date", "verdict"}
    assert found == by_offset(verdicts)
    assert len(Counter(row["date"] for row in found)) == 3
    assert {len(row["categories"]) for row in found} == {0, 1}


def test_every_value_of_every_dead_letter_is_read(run: Path, read: Read) -> None:
    found = by_offset(read(run / DEAD_LETTERS))

    assert set(found[0]) == set(DEAD_LETTER_SCHEMA.names)
    assert found == by_offset(rows_of(run)[1])


def test_a_day_and_a_verdict_are_found_by_their_partitions(run: Path) -> None:
    found = duckdb.sql(
        f"select verdict, count(*) from read_parquet('{run}/verdicts/**/*.parquet', hive_partitioning=true)"
        " where date = '2026-01-01' group by verdict"
    ).fetchall()
    moments = [row for row in rows_of(run)[0] if row["occurred_at"]]

    assert dict(found) == Counter(row["severity"] for row in moments if row["occurred_at"].day == 1)


def test_files_say_which_schema_they_have(run: Path) -> None:
    for file in run.rglob("*.parquet"):
        assert parquet.read_schema(file).metadata[b"weir.schema_version"] == SCHEMA_VERSION.encode()
