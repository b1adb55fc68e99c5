"""Writes infra/docs/python.md from the docstrings of what others may call from Python; `make fmt` runs it, a test
compares it. Reads the source and imports none of it.
"""

import ast
import inspect
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "infra" / "docs" / "python.md"
SEAMS = {
    "workers.moderator": ("Moderator", "Moderator.load", "Moderator.judge", "Item"),
    "schemas.event": ("ChatEvent", "ChatEvent.task"),
    "schemas.verdict": ("Verdict",),
    "schemas.dead_letter": ("DeadLetter",),
    "pipelines.guard_parser": ("parse_verdict",),
    "workers.serving.engine.one_pass": ("OnePassEngine", "OnePassEngine.load"),
    "workers.serving.engine.reference": ("ReferenceEngine", "ReferenceEngine.load"),
    "workers.serving.engine.completion": ("Engine", "Engine.judge", "Completion"),
    "workers.serving.app": ("build_app",),
}
_HEAD = """\
# From Python

Written by `infra/python_page.py` from the docstrings; do not edit. These names stay; whatever else is imported may move
with any version. `infra/examples/` has examples.
"""
_SECTION = re.compile(r"(?m)^(Args|Attributes|Raises|Returns|Yields):$")


def python_page() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    for module, names in SEAMS.items():
        tree = ast.parse((ROOT / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8"))
        parts.append(f"\n## `{module}`\n")
        parts += [_entry(tree, name) for name in names]
    return "".join(parts)


def _entry(tree: ast.Module, name: str) -> str:
    node: ast.AST = tree
    for part in name.split("."):
        node = next(item for item in ast.iter_child_nodes(node) if part in (getattr(item, "name", None), _target(item)))
    if isinstance(node, ast.Assign):
        docstring = tree.body[tree.body.index(node) + 1]
        assert isinstance(docstring, ast.Expr), f"{name} has no docstring"
        assert isinstance(docstring.value, ast.Constant), f"{name} has no docstring"
        return f"\n### `{name}`\n\n```python\n{ast.unparse(node)}\n```\n\n{inspect.cleandoc(docstring.value.value)}\n"
    assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    assert text, f"{name} has no docstring"
    return f"\n### `{name}`\n\n```python\n{_head(node)}\n```\n\n{_markdown(text)}\n"


def _target(node: ast.AST) -> str | None:
    return ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else None


def _head(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if isinstance(node, ast.ClassDef):
        fields = (item for item in node.body if isinstance(item, ast.AnnAssign))
        shown = (f"\n    {ast.unparse(item.target)}: {_type(item.annotation)}" for item in fields)
        return f"class {node.name}({', '.join(map(ast.unparse, node.bases))})".replace("()", "") + "".join(shown)
    decorators = "".join(f"@{ast.unparse(item)}\n" for item in node.decorator_list)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{decorators}def {node.name}({ast.unparse(node.args)}){returns}"


def _type(annotation: ast.expr) -> str:
    """Without what a validator is told."""
    while isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        assert isinstance(annotation.slice, ast.Tuple)
        annotation = annotation.slice.elts[0]
    return ast.unparse(annotation)


def _markdown(text: str) -> str:
    """A docstring's sections as bold words and lists."""
    lines, listed = [], False
    for line in text.splitlines():
        if (found := _SECTION.fullmatch(line)) is not None:
            lines += ["", f"**{found[1]}**", ""]
            listed = True
        elif listed and line.startswith("    ") and line[4] != " ":
            name, colon, rest = line.strip().partition(":")
            lines.append(f"- `{name}`:{rest}" if colon and " " not in name else f"- {line.strip()}")
        else:
            listed = listed and (line.startswith("    ") or not line)
            lines.append(f"  {line.strip()}" if listed and line else line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


if __name__ == "__main__":
    PAGE.write_text(python_page(), encoding="utf-8")
