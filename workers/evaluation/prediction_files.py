"""Prediction files: one JSON line about the run, then one for each example. They hold no message text.

They are written as the run goes, so that a stopped run keeps what it has judged, and read as a whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipelines.evaluation.examples import Prediction
from schemas.errors import ConfigurationError
from schemas.verdict import Provenance

Line = TypeVar("Line")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run was: enough to know what its figures are about.

    `files` maps each labelled file to its form; `decoding` is always greedy; `length` is `whole`, or the signature of
    the length policy. `debounce` says when an answer was raised that was judged token by token; None: none was.
    """

    schema_version: Literal["1.0"]
    weir_version: str
    started_at: str
    model: str
    engine: str
    score_temperature: float | None
    length: str
    decoding: Literal["greedy"]
    provenance: Provenance | None
    files: Mapping[str, str]
    debounce: str | None = None


_RUN = TypeAdapter(RunRecord)
_PREDICTION = TypeAdapter(Prediction)


class PredictionWriter:
    """Writes one prediction file, which is made with its first line; used in a `with` statement.

    Raises:
        ConfigurationError: there is a file already, or no folder to make it in.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise ConfigurationError(f"{path}: exists already and is not overwritten")
        if not path.parent.is_dir():
            raise ConfigurationError(f"{path}: cannot be written: {path.parent} is not a folder")
        self._path = path
        self._stream: BinaryIO | None = None

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def write_run(self, run: RunRecord) -> None:
        """The first line, once the first chunk has been judged and with it the provenance is known.

        Raises:
            ConfigurationError: the file cannot be made.
        """
        try:
            self._stream = self._path.open("xb")
        except OSError as error:
            raise ConfigurationError(f"{self._path}: cannot be written: {error.strerror}") from None
        self._stream.write(_RUN.dump_json(run) + b"\n")

    def write(self, predictions: Sequence[Prediction]) -> None:
        """The lines of a chunk, after that of the run."""
        assert self._stream is not None
        self._stream.writelines(_PREDICTION.dump_json(item) + b"\n" for item in predictions)
        self._stream.flush()


def read_predictions(path: Path) -> tuple[RunRecord, list[Prediction]]:
    """The run and its predictions.

    Raises:
        ConfigurationError: the file cannot be read, or a line is not one that `weir eval run` writes.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    if not lines:
        raise ConfigurationError(f"{path}: is empty")
    run = _parsed(_RUN, lines[0], path, 1)
    return run, [_parsed(_PREDICTION, line, path, number) for number, line in enumerate(lines[1:], 2)]


def _parsed(adapter: TypeAdapter[Line], line: bytes, path: Path, number: int) -> Line:
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"])) or item["type"] for item in error.errors()[:3])
        raise ConfigurationError(f"{path}: line {number} is not of a prediction file ({fields})") from None
