"""Reads labelled files: finds out which form a file has, reads its examples, and counts what was left out.

Judges nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.evaluation.examples import LabelledExample
from pipelines.fitting.length_policy import with_text
from schemas.errors import ConfigurationError
from schemas.reading.turns import Counts, whole_characters
from schemas.suggestion import did_you_mean
from workers.evaluation.benchmark_rows import FORMATS, Reader, RowSource, format_of
from workers.evaluation.labelled_rows import BENCHMARK, COLUMNS, Mapped
from workers.evaluation.row_files import RowFile
from workers.files.csv_dialect import AS_FOUND, DialectAsked
from workers.files.cursors import Written

AUTO = "auto"
_BY_NAME = {known.name: known for known in FORMATS}
FORMAT_NAMES = (AUTO, BENCHMARK, *_BY_NAME)


class LabelledFiles:
    """Files of labelled examples.

    Args:
        paths: the files; each may have another form.
        form: one of `FORMAT_NAMES`; `auto` goes by the columns of a file's rows.
        mapped: how a user's own columns are read; any mapping makes all files the user's own.
        dialect: what is known of CSV files.

    Attributes:
        skipped: why rows are no examples, and how many; complete once all are read.
        forms: the form of each file that has been opened, which its rows' columns tell, all together.

    Raises:
        ConfigurationError: no such form.
    """

    def __init__(self, paths: Sequence[Path], form: str, mapped: Mapped, dialect: DialectAsked = AS_FOUND) -> None:
        if form not in FORMAT_NAMES:
            meant = did_you_mean(form, FORMAT_NAMES)
            raise ConfigurationError(f"format {form!r}: not one of {', '.join(FORMAT_NAMES)}{meant}")
        if unknown := set(mapped.columns) - set(COLUMNS):
            meant = did_you_mean(min(unknown), COLUMNS)
            raise ConfigurationError(f"column {min(unknown)!r}: not one of {', '.join(COLUMNS)}{meant}")
        if mapped.columns or mapped.unsafe:
            if form not in (AUTO, BENCHMARK):
                raise ConfigurationError(f"format {form!r} has columns and labels of its own, which cannot be mapped")
            form = BENCHMARK
        self._names = _names(paths)
        self._form = form
        self._dialect = dialect.checked()
        self._mapped = mapped
        self.skipped: Counter[str] = Counter()
        self.forms: dict[str, str] = {}

    def read(self) -> Iterator[LabelledExample]:
        """The examples, file by file, in order.

        Raises:
            ConfigurationError: a file cannot be read or a row has another form; two examples have one id; after the
                last example, that a column or a label was given which no row has.
        """
        seen: set[str] = set()
        self._unmet = set(self._mapped.unsafe)
        for path, name in self._names.items():
            for example in self._read_file(path, name):
                if example.example_id in seen:
                    raise ConfigurationError(f"{path}: two examples have the id {example.example_id!r}")
                seen.add(example.example_id)
                yield example
        if self._unmet:
            raise ConfigurationError(f"--unsafe {min(self._unmet)}: no row has this label")

    def _read_file(self, path: Path, name: str) -> Iterator[LabelledExample]:
        file = RowFile(path, self._dialect)
        if not file.columns:
            raise ConfigurationError(f"{path}: holds no row")
        form, read = self._reader(path, file.columns)
        self.forms[str(path)] = form + _dialect_of(file.how)
        for number, row in file.rows():
            try:
                found = read(row, RowSource(path, number, name))
            except ConfigurationError as error:
                raise ConfigurationError(f"{path}: row {number} of form {form}, {error}") from None
            if self._unmet:
                self._unmet.discard(self._mapped.label_of(row))
            if isinstance(found, str):
                self.skipped[found] += 1
            else:
                yield from map(_with_whole_characters, found)

    def _reader(self, path: Path, columns: Collection[str]) -> tuple[str, Reader]:
        for given, column in self._mapped.columns.items():
            if column not in columns:
                meant = did_you_mean(column, map(str, columns))
                raise ConfigurationError(f"{path}: --column {given}={column}: no row has the column {column!r}{meant}")
        if self._form == BENCHMARK:
            return BENCHMARK, self._mapped.read
        known = format_of(columns) if self._form == AUTO else _BY_NAME[self._form]
        if known is not None:
            if missing := known.columns - set(columns):
                raise ConfigurationError(f"{path}: no row has the column {min(missing)!r}, as format {known.name} has")
            return known.name, known.read
        if COLUMNS["label"] in columns or COLUMNS["refusal"] in columns:
            return BENCHMARK, self._mapped.read
        names = ", ".join(sorted(map(str, columns))[:12])
        raise ConfigurationError(f"{path}: no benchmark has the columns {names}; map them with --column")


def _with_whole_characters(example: LabelledExample) -> LabelledExample:
    """As events of live traffic are judged: halves of characters are replaced, which no model can read."""
    counts: Counts = Counter()
    contents = [whole_characters(turn["content"], counts) for turn in example.conversation]
    name, language = (whole_characters(said or "", counts) for said in (example.example_id, example.language))
    turns = tuple(map(with_text, example.conversation, contents))
    return replace(example, example_id=name, conversation=turns, language=language or None)


def _dialect_of(how: Written) -> str:
    """What is not usual in the dialect of a CSV; nothing of other files."""
    usual = {"delimiter": "\t" if how.form.kind == "tsv" else ",", "quote": '"', "escape": None, "encoding": "utf-8"}
    said = {} if how.dialect is None else how.dialect._asdict()
    return "".join(f"; {name} {value!r}" for name, value in said.items() if value != usual[name])


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """What rows of each file are called by: its name, with as many of its folders as tell it from the others."""
    names = {}
    for path in dict.fromkeys(paths):
        parts, depth = path.absolute().parts, 1
        others = [other.absolute().parts for other in paths if other.absolute() != path.absolute()]
        while depth < len(parts) and any(other[-depth:] == parts[-depth:] for other in others):
            depth += 1
        names[path] = "/".join(parts[-depth:])
    return names
