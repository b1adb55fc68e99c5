"""Which files are read, by the suffix of their names, in any case.

Opens none.
"""

from typing import Literal, NamedTuple

from schemas.errors import ConfigurationError

Kind = Literal["parquet", "arrow", "jsonl", "json", "csv", "tsv"]
_KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
_TEXT = ("jsonl", "json", "csv", "tsv")
SUFFIXES = (
    *_KINDS,
    *(kind + packed for kind, name in _KINDS.items() if name in _TEXT for packed in _COMPRESSIONS),
)


class Form(NamedTuple):
    """What a file is. `compression` is of the file as a whole; Parquet and Arrow compress within."""

    kind: Kind
    compression: str | None

    @property
    def is_text(self) -> bool:
        """Whether its rows are text, which only reading can count."""
        return self.kind in _TEXT


def form_of(name: str) -> Form:
    """The form of a file.

    Raises:
        ConfigurationError: names what would be read.
    """
    ending = max((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), key=len, default=None)
    if ending is None:
        raise ConfigurationError(f"{name}: not one of {', '.join(SUFFIXES)}")
    packed = next((packed for packed in _COMPRESSIONS if ending.endswith(packed)), "")
    return Form(_KINDS[ending.removesuffix(packed)], _COMPRESSIONS.get(packed))
