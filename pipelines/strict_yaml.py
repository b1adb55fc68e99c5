"""Reads YAML strictly: plain data, one document, no key given twice. Its errors quote nothing of what stands there.

Knows nothing of what the keys mean.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, BinaryIO

import yaml

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,63}")
# PyYAML's errors quote aliases, tags and values, and a password may begin with `*` or `!`. Its own names of tokens may
# stay, and single signs of its grammar.
_QUOTED = re.compile(r"""(?!'(?:<[a-z ]+>|[^\w\s])')(?:'[^']*'?|"[^"]*"?).*""", re.DOTALL)

_OWN = "of this module"  # in place of PyYAML's context


class StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, of which SafeLoader silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """See PyYAML.

        Raises:
            yaml.YAMLError: names the key.
        """
        # Looked at before merge keys (<<) are expanded: to override a merged key is what they are for.
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue
            if key in seen:
                raise _given_twice(key, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _given_twice(key: Hashable, mark: Any) -> yaml.MarkedYAMLError:
    is_name = isinstance(key, bool) or (isinstance(key, str) and _NAME.fullmatch(key))
    return yaml.constructor.ConstructorError(
        _OWN, None, f"{f'key {key!r}' if is_name else 'a key'} is given twice", mark
    )


def loaded(content: bytes | BinaryIO) -> Any:
    """The one document of a text or of an open file.

    Raises:
        yaml.YAMLError: it is not YAML, has a value that its tag does not allow, is nested too deep, or a key is given
            twice. Says where and why, and quotes no alias, tag or value.
    """
    try:
        return StrictLoader(content).get_single_data()
    except yaml.MarkedYAMLError as error:
        problem = error.problem or error.context or type(error).__name__
        if error.context != _OWN:
            problem = _QUOTED.sub("…", problem)
        fault = f"{problem}{_place(error.problem_mark or error.context_mark)}"
    except yaml.YAMLError as error:
        fault = f"not a text that YAML can be ({type(error).__name__})"
    except RecursionError:
        fault = "nested too deep"
    except (ValueError, TypeError, AttributeError) as error:  # PyYAML lets them through for impossible dates and tags
        fault = f"a value that its type does not allow ({type(error).__name__})"
    raise yaml.YAMLError(fault)


def _place(mark: Any) -> str:
    return "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"


def sections_of(path: Path) -> dict[str, Any]:
    """What a file of settings has; nothing where there is none, or where it is empty.

    Raises:
        OSError: it cannot be read.
        yaml.YAMLError: it is no mapping, or not YAML; the error quotes no value.
    """
    if not path.is_file():
        return {}
    with path.open("rb") as stream:
        content = loaded(stream)
    if not isinstance(content, dict | None):
        raise yaml.YAMLError(f"a mapping of sections is needed, found {type(content).__name__}")
    return content or {}
