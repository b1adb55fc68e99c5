"""Where files are: a path or a URI to a filesystem of pyarrow, and the files that arguments name.

Opens no file.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import fs

from schemas.errors import ConfigurationError

_MAGIC = re.compile(r"[*?\[]")
_HIDDEN = ("_", ".")  # Spark's _SUCCESS, our own _temporary


class Found(NamedTuple):
    """One file: its URI or absolute path, and its name relative to what the argument fixed."""

    uri: str
    name: str


def filesystem_of(uri: str) -> tuple[Any, str]:
    """The filesystem of a path or URI, and the path in it.

    Raises:
        ConfigurationError: there is no such filesystem.
    """
    if "://" not in uri:
        return fs.LocalFileSystem(), str(Path(uri).absolute())
    try:
        files, path = fs.FileSystem.from_uri(uri)
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{uri}: {str(error).partition(chr(10))[0]}") from None
    return files, path.rstrip("/")


def find_files(arguments: Sequence[str], suffixes: Sequence[str]) -> list[Found]:
    """The files that paths, folders, globs (`**` for any depth) and URIs of them name, each once, in order of name.

    A folder's and a glob's files are those with one of the suffixes; hidden ones are left out.

    Raises:
        ConfigurationError: an argument names nothing, or two files have one name.
    """
    found: dict[str, Found] = {}
    for argument in arguments:
        here = list(_expand(argument, tuple(suffixes)))
        if not here:
            raise ConfigurationError(f"{argument}: no file there that ends in one of {', '.join(suffixes)}")
        found.update((item.uri, item) for item in here)
    names: dict[str, str] = {}
    for item in found.values():
        if (other := names.setdefault(item.name, item.uri)) != item.uri:
            raise ConfigurationError(f"{other} and {item.uri}: both would be called {item.name}; name their folder")
    return sorted(found.values(), key=lambda item: item.name)


def _expand(argument: str, suffixes: tuple[str, ...]) -> Iterator[Found]:
    scheme, separator, rest = argument.partition("://")
    prefix = scheme + separator if separator else ""
    first, *others = (rest if separator else argument).split("/")
    parts = [first, *others]
    magic = next((number for number, part in enumerate(parts) if _MAGIC.search(part)), None)
    if magic is None:
        files, root = filesystem_of(argument)
        info = files.get_file_info(root)
        if info.type == fs.FileType.File:
            yield Found(prefix + root, info.base_name)
            return
        pattern = None
    else:
        files, root = filesystem_of(
            prefix + ("/".join(parts[:magic]) or ("." if not argument.startswith("/") else "/"))
        )
        pattern = re.compile(_translate(parts[magic:]))
    for info in files.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True)):
        name = info.path[len(root) :].lstrip("/")
        if info.type != fs.FileType.File or any(part.startswith(_HIDDEN) for part in name.split("/")):
            continue
        if name.endswith(suffixes) and (pattern is None or pattern.fullmatch(name)):
            yield Found(prefix + info.path, name)


def _translate(parts: Sequence[str]) -> str:
    """A glob's parts as a regular expression; `*` stays within a folder."""
    pattern = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            pattern += ".*" if last else "(?:.*/)?"
            continue
        for token in re.findall(r"\[[^\]]+\]|.", part):
            if token == "*":
                pattern += "[^/]*"
            elif token == "?":
                pattern += "[^/]"
            elif len(token) > 1:
                pattern += "[^" + token[2:] if token[1] == "!" else token
            else:
                pattern += re.escape(token)
        pattern += "" if last else "/"
    return pattern
