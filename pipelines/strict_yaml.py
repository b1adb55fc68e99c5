"""Reads YAML strictly: plain data, one document, no key given twice.

Knows nothing of what the keys mean.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, BinaryIO

import yaml


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
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def loaded(content: bytes | BinaryIO) -> Any:
    """The one document of a text or of an open file, whose errors do not quote what stands there.

    Raises:
        yaml.YAMLError: it is not YAML, or a key is given twice.
        ValueError: PyYAML lets it through for impossible dates and the like.
        RecursionError: it is too deep.
    """
    return StrictLoader(content).get_single_data()


def sections_of(path: Path) -> dict[str, Any]:
    """What a file of settings has; nothing where there is none, or where it is empty.

    Raises:
        OSError: it cannot be read.
        yaml.YAMLError, ValueError: it is no mapping, or not YAML; the error quotes no value.
    """
    if not path.is_file():
        return {}
    with path.open("rb") as stream:
        try:
            content = loaded(stream)
        except RecursionError:
            raise yaml.YAMLError("nested too deep") from None
    if not isinstance(content, dict | None):
        raise yaml.YAMLError(f"a mapping of sections is needed, found {type(content).__name__}")
    return content or {}
