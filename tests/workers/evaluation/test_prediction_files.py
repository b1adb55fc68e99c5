"""Prediction files: what is written is read again, exactly, and nothing else is taken for one."""

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from schemas.verdict import Severity
from tests.pipelines.evaluation.sample_predictions import drawn, prediction
from tests.pipelines.judged_records import PROVENANCE
from workers.evaluation.prediction_files import PredictionWriter, RunRecord, read_predictions

RUN = RunRecord(
    "1.0",
    "0.1.0",
    "2026-11-21T12:00:00+00:00",
    "demo",
    "one_pass",
    1.0,
    "whole",
    "greedy",
    PROVENANCE,
    {"a.jsonl": "x"},
)


def write(path: Path, count: int = 50) -> None:
    with PredictionWriter(path) as writer:
        writer.write_run(RUN)
        writer.write(drawn(1, count))
        writer.write([prediction("last", Severity.UNSAFE, None)])


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "p.jsonl")
    run, predictions = read_predictions(tmp_path / "p.jsonl")
    assert run == RUN
    assert predictions == [*drawn(1, 50), prediction("last", Severity.UNSAFE, None)]


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "p.jsonl")
    with pytest.raises(ConfigurationError, match="exists already"):
        PredictionWriter(tmp_path / "p.jsonl")
    with pytest.raises(ConfigurationError, match="none is not a folder"):
        PredictionWriter(tmp_path / "none" / "p.jsonl")


def test_no_file_is_made_before_there_is_something_to_write(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path / "p.jsonl"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused_by_line_and_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_predictions(path)
    path.write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is empty"):
        read_predictions(path)
    path.write_bytes(b'{"text": "secret"}\n')
    with pytest.raises(ConfigurationError, match="line 1 is not of a prediction file") as caught:
        read_predictions(path)
    assert "secret" not in str(caught.value)
    path.unlink()
    write(path, 2)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], lines[2].replace(b'"severity":', b'"sev":', 1)]))
    with pytest.raises(ConfigurationError, match=r"line 3 is not of a prediction file \(label.severity"):
        read_predictions(path)
