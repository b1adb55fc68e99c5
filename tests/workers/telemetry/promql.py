"""The metric names and labels that a PromQL expression names."""

import re

_WORDS = {
    "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "and", "or", "unless",
}  # fmt: skip


def names_in(expression: str) -> tuple[set[str], set[str]]:
    """Metric names, and labels in selectors and groupings."""
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    for group in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression):
        labels |= {label.strip() for label in group.split(",") if label.strip()}
    bare = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)", " ", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"|\boffset\s+\w+", " ", bare)
    names = {word for word in re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()", bare) if word not in _WORDS}
    return names, labels
