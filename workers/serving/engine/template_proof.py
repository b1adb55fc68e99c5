"""Proves, from a chat template's syntax, that it prints message contents and does nothing else with them.

Then a conversation's roles alone decide what the template writes around its contents, and no rendering has to be
compared with what was expected. Knows nothing of tokenizers.
"""

from typing import Final

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import loopcontrols

_MESSAGES: Final = "messages"
_NEIGHBOURS: Final = frozenset({"previtem", "nextitem"})
_ABOUT_A_LIST: Final = frozenset({"length", "count"})
# What is output within any other statement may go somewhere else than into the prompt.
_PASSING_ON: Final = (nodes.Template, nodes.If, nodes.For, nodes.Output)


class _UnprovenError(Exception):
    """Something is done with a message or a content that is not understood here."""


def only_prints_contents(template: str) -> bool:
    """Whether `template` is proven to only print contents, whole; False for all that is not understood.

    Contents may be joined with other text by `+` or `~`. A filter, a test, a comparison, an assignment or a call that
    is given a content, a message or the list of messages leaves it unproven; a message's role may be used in any way.
    """
    try:
        tree = Environment(extensions=[loopcontrols], autoescape=False).parse(template)
        _Proof().check(tree, printed=False)
    except (TemplateSyntaxError, _UnprovenError):
        return False
    return True


class _Proof:
    """One walk through a template; `message_names` are the names that loops give to a message."""

    def __init__(self) -> None:
        self._message_names: set[str] = set()
        self._is_kept = False  # what is output here, by a macro or a block

    def check(self, node: nodes.Node, *, printed: bool) -> None:
        """Raise `_UnprovenError` unless all that `node` does with contents is to print them.

        `printed` says that the value of `node` is printed, or part of a sum that is.
        """
        match node:
            case nodes.Stmt() if not isinstance(node, _PASSING_ON) and not self._is_kept:
                self._is_kept = True
                self.check(node, printed=False)
                self._is_kept = False
            case nodes.Output():
                for shown in node.nodes:
                    self.check(shown, printed=not self._is_kept)
            case nodes.For():
                self._check_loop(node)
            case nodes.Getattr() | nodes.Getitem() if self._is_message(node.node):
                _check_key(node, printed=printed)
            case nodes.Filter() if node.name in _ABOUT_A_LIST and node.node and self._is_messages(node.node):
                pass
            case nodes.Expr() if self._is_message(node) or self._is_messages(node):
                raise _UnprovenError  # an assignment's target, too
            case _:
                is_sum = isinstance(node, nodes.Add | nodes.Concat)
                for child in node.iter_child_nodes():
                    self.check(child, printed=printed and is_sum)

    def _check_loop(self, loop: nodes.For) -> None:
        if not self._is_messages(loop.iter):
            for child in loop.iter_child_nodes():
                self.check(child, printed=False)
            return
        if not isinstance(loop.target, nodes.Name) or loop.recursive or loop.target.name in self._message_names:
            raise _UnprovenError
        self._message_names.add(loop.target.name)
        for child in (*loop.body, *loop.else_, *([loop.test] if loop.test else [])):
            self.check(child, printed=False)
        self._message_names.remove(loop.target.name)

    def _is_messages(self, node: nodes.Node) -> bool:
        """All messages, or a run of them."""
        match node:
            case nodes.Name():
                return node.name == _MESSAGES
            case nodes.Getitem(arg=nodes.Slice()):
                return self._is_messages(node.node)
        return False

    def _is_message(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Name():
                return node.name in self._message_names
            case nodes.Getattr(node=nodes.Name(name="loop")):
                return bool(self._message_names) and node.attr in _NEIGHBOURS
            case nodes.Getitem():
                return self._is_messages(node.node) and not isinstance(node.arg, nodes.Slice)
        return False


def _check_key(node: nodes.Getattr | nodes.Getitem, *, printed: bool) -> None:
    """Of a message: its role, or a field that it does not have, or its content where that is printed."""
    key = (
        node.attr if isinstance(node, nodes.Getattr) else node.arg.value if isinstance(node.arg, nodes.Const) else None
    )
    if not isinstance(key, str) or hasattr(dict, key) or (key == "content" and not printed):
        raise _UnprovenError
