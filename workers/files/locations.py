"""Finds files: from a path or URI to one of pyarrow's filesystems, and from arguments to the files that they name.

Opens no file.
"""

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa
from pyarrow import fs

from schemas.errors import ConfigurationError

_MAGIC = re.compile(r"[*?\[]")
_SECRET = re.compile(r"key|secret|password|passwd|token|credential|signature|^sig$|^sas", re.IGNORECASE)
_HIDDEN = ("_", ".")  # Spark's _SUCCESS, our own _temporary


class Found(NamedTuple):
    """One file: its URI or absolute path, and its name relative to what the argument fixed."""

    uri: str
    name: str


class LeftOut(NamedTuple):
    """A file or folder that an argument holds and that is not read, and why."""

    uri: str
    why: str


class Files(NamedTuple):
    """What some arguments name."""

    found: list[Found]
    left_out: list[LeftOut]


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
    if scheme in ("gs", "gcs") and rest.partition("/")[0].rpartition("@")[0] not in ("", "anonymous"):
        raise ConfigurationError(f"{scheme}://…@…: a URI with a login in it; give it as the environment has it")
    for option in re.split("[&;]", rest.partition("?")[2]):
        name = unquote(option.partition("=")[0])
        if _SECRET.search(name):
            raise ConfigurationError(
                f"{scheme}://…?{name}=…: a URI with a secret in it; give it as the environment has it"
            )
    try:
        files, path = fs.FileSystem.from_uri(uri)
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{uri.partition('?')[0]}: {_without_options(uri, error)}") from None
    return files, path.rstrip("/")


def _without_options(uri: str, error: Exception) -> str:
    """The first line of an error, which may quote the URI with its options."""
    options = uri.partition("?")[2]
    first = str(error).partition("\n")[0]
    return first.replace(options, "…") if options else first


def reason_of(error: OSError) -> str:
    """What a file system says, in one line."""
    return error.strerror or str(error).partition("\n")[0][:200]


def find_files(arguments: Sequence[str], suffixes: Sequence[str], own: str | None = None) -> Files:
    """The files that paths, folders, globs (`**` for any depth) and URIs of them name, each once, in order of name.

    A path that is there is no glob, whatever stands in it. A URI is written as URIs are: a space is %20, and what
    follows a question mark is options of its file system.

    A folder's and a glob's files are those with one of the suffixes, in any case. Hidden ones are left out, and what a
    link would show a second time.

    Args:
        arguments: as given.
        suffixes: in lower case.
        own: a folder that is none of the input, though it may lie in it.

    Raises:
        ConfigurationError: an argument names nothing, or two files have one name.
    """
    found: dict[str, Found] = {}
    left_out: dict[str, LeftOut] = {}
    for argument in arguments:
        try:
            here = _expand(argument, tuple(suffixes), None if own is None else filesystem_of(own)[1])
        except OSError as error:
            raise ConfigurationError(f"{argument}: cannot be read: {reason_of(error)}") from None
        if not here.found:
            passed = f"; {len(here.left_out)} left out, such as {here.left_out[0].uri}" if here.left_out else ""
            raise ConfigurationError(f"{argument}: no file there that ends in one of {', '.join(suffixes)}{passed}")
        found.update((item.uri, item) for item in here.found)
        left_out.update((item.uri, item) for item in here.left_out)
    names: dict[str, str] = {}
    for item in found.values():
        if (other := names.setdefault(item.name, item.uri)) != item.uri:
            raise ConfigurationError(f"{other} and {item.uri}: both would be called {item.name}; name their folder")
    passed_by = [item for uri, item in sorted(left_out.items()) if uri not in found]
    return Files(sorted(found.values(), key=lambda item: item.name), passed_by)


def _expand(argument: str, suffixes: tuple[str, ...], own: str | None) -> Files:
    scheme, separator, rest = argument.partition("://")
    prefix = scheme + separator
    if separator:  # in a URI, what follows a question mark is options of the file system, and so of each file
        rest, mark, options = rest.partition("?")
        options = mark + options
    else:
        prefix, rest, options = "", argument, ""

    parts = rest.split("/")
    magic = next((number for number, part in enumerate(parts) if _MAGIC.search(part)), None)
    while magic is not None and not prefix and Path("/".join(parts[: magic + 1])).exists():
        later = (number for number, part in enumerate(parts) if number > magic and _MAGIC.search(part))
        magic = next(later, None)
    fixed = "/".join(parts[:magic]) or ("/" if rest.startswith("/") else ".")
    files, root = filesystem_of(argument if magic is None else prefix + fixed + options)

    def uri_of(path: str) -> str:
        # As it was given, up to what was found: a login, an account or a name node is no part of a path.
        return prefix + fixed.rstrip("/") + quote(path[len(root) :]) + options if prefix else path

    pattern = None if magic is None else re.compile(_translate(parts[magic:]))
    if magic is None and (name := _file_at(files, root)) is not None:
        return Files([Found(uri_of(root), name)], [])
    listed = _listed(files, root)
    found, left_out = [], [LeftOut(uri_of(path), why) for path, why in listed.left_out]
    for path in listed.paths:
        name = path[len(root) :].lstrip("/")
        if pattern is not None and not pattern.fullmatch(name):
            continue
        if own is not None and path.startswith(f"{own}/"):
            path, why = max(own, root, key=len), "the run itself"
        elif any(part.startswith(_HIDDEN) for part in name.split("/")):
            why = "hidden"
        elif not name.lower().endswith(suffixes):
            why = "none of the forms that are read"
        else:
            found.append(Found(uri_of(path), name))
            continue
        left_out.append(LeftOut(uri_of(path), why))
    return Files(found, left_out)


def _file_at(files: Any, path: str) -> str | None:
    """The name of the file there; None for a folder."""
    info = files.get_file_info(path)
    if info.type == fs.FileType.NotFound and isinstance(files, fs.LocalFileSystem):  # elsewhere a folder is a prefix
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return str(info.base_name) if info.type == fs.FileType.File else None


class _Listed(NamedTuple):
    paths: list[str]
    left_out: list[tuple[str, str]]


def _listed(files: Any, root: str) -> _Listed:
    """All files below a folder; on a local disk each once, however many links lead to it."""
    if not isinstance(files, fs.LocalFileSystem):
        infos = files.get_file_info(fs.FileSelector(root, allow_not_found=True, recursive=True))
        return _Listed([info.path for info in infos if info.type == fs.FileType.File], [])
    paths, links = _walked(root)
    left_out: list[tuple[str, str]] = []
    read = {os.path.realpath(path) for path in paths}
    top = os.path.realpath(root)
    for link in links:
        target = os.path.realpath(link)
        behind = [link]
        if Path(target).is_dir():
            if f"{target}/".startswith(f"{top}/") or f"{top}/".startswith(f"{target}/"):
                left_out.append((link, "a link to a folder that is read by its own name"))
                continue
            below = _listed(files, link)
            behind, left_out = below.paths, [*left_out, *below.left_out]
        for path in behind:
            end = os.path.realpath(path)
            if end in read or not Path(end).is_file():
                left_out.append((path, "a link to a file that is read by another name" if end in read else "no file"))
                continue
            read.add(end)
            paths.append(path)
    return _Listed(sorted(paths), left_out)


def _walked(root: str) -> tuple[list[str], list[str]]:
    """The files of a folder, and the links, which are not followed."""
    paths, links = [], []
    for folder, folders, names in os.walk(root, onerror=_raise if Path(root).exists() else None):
        for name in (*folders, *names):
            path = f"{folder}/{name}"
            if Path(path).is_symlink():
                links.append(path)
            elif Path(path).is_file():
                paths.append(path)
    return paths, sorted(links)


def _raise(error: OSError) -> None:
    raise error


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
