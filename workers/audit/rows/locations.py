"""Finds files: from a path or URI to one of pyarrow's filesystems, and from arguments to the files that they name.

Opens no file.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

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
        ConfigurationError: there is no such filesystem; or the URI has a password, which would stand in manifests.
    """
    if "://" not in uri:
        return fs.LocalFileSystem(), str(Path(uri).absolute())
    scheme, _, rest = uri.partition("://")
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise ConfigurationError(f"{scheme}://…@…: a URI with a password in it; give it as the environment has it")
    try:
        files, path = fs.FileSystem.from_uri(uri)
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{uri}: {str(error).partition(chr(10))[0]}") from None
    return files, path.rstrip("/")


def reason_of(error: OSError) -> str:
    """What a file system says, in one line."""
    return error.strerror or str(error).partition("\n")[0][:200]


def find_files(arguments: Sequence[str], suffixes: Sequence[str]) -> list[Found]:
    """The files that paths, folders, globs (`**` for any depth) and URIs of them name, each once, in order of name.

    A URI is written as URIs are: a space is %20, and what follows a question mark is options of its file system.

    A folder's and a glob's files are those with one of the suffixes; hidden ones are left out.

    Raises:
        ConfigurationError: an argument names nothing, or two files have one name.
    """
    found: dict[str, Found] = {}
    for argument in arguments:
        try:
            here = list(_expand(argument, tuple(suffixes)))
        except OSError as error:
            raise ConfigurationError(f"{argument}: cannot be read: {reason_of(error)}") from None
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
    prefix = scheme + separator
    if separator:  # in a URI, what follows a question mark is options of the file system, and so of each file
        rest, mark, options = rest.partition("?")
        options = mark + options
    else:
        prefix, rest, options = "", argument, ""

    def uri_of(path: str) -> str:
        return prefix + quote(path) + options if prefix else path

    parts = rest.split("/")
    magic = next((number for number, part in enumerate(parts) if _MAGIC.search(part)), None)
    if magic is None:
        files, root = filesystem_of(argument)
        info = files.get_file_info(root)
        if info.type == fs.FileType.File:
            yield Found(uri_of(root), info.base_name)
            return
        pattern = None
    else:
        files, root = filesystem_of(
            prefix + ("/".join(parts[:magic]) or ("." if not rest.startswith("/") else "/")) + options
        )
        pattern = re.compile(_translate(parts[magic:]))
    for info in files.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True)):
        name = info.path[len(root) :].lstrip("/")
        if info.type != fs.FileType.File or any(part.startswith(_HIDDEN) for part in name.split("/")):
            continue
        if name.endswith(suffixes) and (pattern is None or pattern.fullmatch(name)):
            yield Found(uri_of(info.path), name)


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
