"""Reads labelled files: finds out which form a file has, reads its examples, and counts what was left out.

Judges nothing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from pipelines.evaluation.examples import LabelledExample
from schemas.errors import ConfigurationError
from workers.evaluation.benchmark_rows import FORMATS, Reader, RowSource, format_of
from workers.evaluation.labelled_rows import BENCHMARK, COLUMNS, Mapped
from workers.evaluation.row_files import Row, read_rows

AUTO = "auto"
_BY_NAME = {known.name: known for known in FORMATS}
FORMAT_NAMES = (AUTO, BENCHMARK, *_BY_NAME)


class LabelledFiles:
    """Files of labelled examples.

    Args:
        paths: the files; each may have another form.
        form: one of `FORMAT_NAMES`; `auto` goes by the columns of a file's first row.
        mapped: how a user's own columns are read; any mapping makes all files the user's own.

    Attributes:
        skipped: why rows are no examples, and how many; complete once all are read.
        forms: the form of each file that has been opened.

    Raises:
        ConfigurationError: no such form.
    """

    def __init__(self, paths: Sequence[Path], form: str, mapped: Mapped) -> None:
        if form not in FORMAT_NAMES:
            raise ConfigurationError(f"format {form!r}: not one of {', '.join(FORMAT_NAMES)}")
        if unknown := set(mapped.columns) - set(COLUMNS):
            raise ConfigurationError(f"column {min(unknown)!r}: not one of {', '.join(COLUMNS)}")
        if mapped.columns or mapped.unsafe:
            if form not in (AUTO, BENCHMARK):
                raise ConfigurationError(f"format {form!r} has columns and labels of its own, which cannot be mapped")
            form = BENCHMARK
        self._paths = paths
        self._form = form
        self._mapped = mapped
        self.skipped: Counter[str] = Counter()
        self.forms: dict[str, str] = {}

    def read(self) -> Iterator[LabelledExample]:
        """The examples, file by file, in order.

        Raises:
            ConfigurationError: a file cannot be read or a row has another form; two examples have one id.
        """
        seen: set[str] = set()
        for path in self._paths:
            for example in self._read_file(path):
                if example.example_id in seen:
                    raise ConfigurationError(f"{path}: two examples have the id {example.example_id!r}")
                seen.add(example.example_id)
                yield example

    def _read_file(self, path: Path) -> Iterator[LabelledExample]:
        rows = read_rows(path)
        first = next(rows, None)
        if first is None:
            raise ConfigurationError(f"{path}: holds no row")
        form, read = self._reader(path, first[1])
        self.forms[str(path)] = form
        for number, row in chain([first], rows):
            try:
                found = read(row, RowSource(path, number))
            except (KeyError, TypeError, ValueError, AttributeError):
                raise ConfigurationError(f"{path}: row {number} does not have the form of {form}") from None
            if isinstance(found, str):
                self.skipped[found] += 1
            else:
                yield from found

    def _reader(self, path: Path, row: Row) -> tuple[str, Reader]:
        if self._form == BENCHMARK:
            return BENCHMARK, self._mapped.read
        known = format_of(row) if self._form == AUTO else _BY_NAME[self._form]
        if known is not None:
            return known.name, known.read
        if COLUMNS["label"] in row or COLUMNS["refusal"] in row:
            return BENCHMARK, self._mapped.read
        names = ", ".join(sorted(map(str, row))[:12])
        raise ConfigurationError(f"{path}: no benchmark has the columns {names}; map them with --column")
