"""What reaches into kafka-python: each private attribute is listed, is there in the installed version, and is used."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "workers" / "kafka"
SEEN_IN = "3.0.12"
# Each private attribute by the module of kafka-python that has it.
INTERNALS = {
    "decoding.py": {
        "_append": "kafka.consumer.fetcher",
        "_buffer": "kafka.record.default_records",
        "_decompressed": "kafka.record.default_records",
        "_fetcher": "kafka.consumer.group",
        "_header_data": "kafka.record.default_records",
        "_maybe_uncompress": "kafka.record.default_records",
        "_next_record_index": "kafka.record.default_records",
        "_pos": "kafka.record.default_records",
        "_read_msg": "kafka.record.default_records",
        "_unpack_records": "kafka.consumer.fetcher",
    },
    "patches.py": {
        "_callbacks": "kafka.future",
        "_coordinator": "kafka.consumer.group",
        "_errbacks": "kafka.future",
        "_fetch_futures": "kafka.consumer.fetcher",
        "_fetcher": "kafka.consumer.group",
        "_join_task": "kafka.coordinator.base",
        "_lock": "kafka.future",
        "_next_partition_records": "kafka.consumer.fetcher",
        "_wake": "kafka.consumer.fetcher",
    },
    "unbounded_waits.py": {
        "_client": "kafka.consumer.group",
        "_cluster": "kafka.consumer.group",
        "_connect": "kafka.net.manager",
        "_coordinator": "kafka.consumer.group",
        "_do_bootstrap": "kafka.net.manager",
        "_fetch_offsets_by_times_async": "kafka.consumer.fetcher",
        "_fetcher": "kafka.consumer.group",
        "_manager": "kafka.consumer.fetcher",
        "_metadata": "kafka.producer.kafka",
        "_net": "kafka.consumer.group",
        "_rbuffer": "kafka.protocol.parser",
        "_receiving": "kafka.protocol.parser",
        "_request_timed_out": "kafka.net.connection",
        "_reset_offset_if_needed": "kafka.consumer.fetcher",
        "_selector": "kafka.net.selector",
        "_sender": "kafka.producer.kafka",
        "_subscription": "kafka.consumer.group",
        "_timeout_secs": "kafka.net.connection",
        "_transaction_manager": "kafka.producer.kafka",
        "_wait_on_metadata": "kafka.producer.kafka",
    },
}


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.endswith("__") and name.isidentifier()


def touched(source: str) -> set[str]:
    """Private attributes of others, and of classes that a class of ours derives from."""
    tree = ast.parse(source)
    theirs = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "kafka"
        for alias in node.names
    }
    return {name for node in tree.body for name in _touched(node, theirs) if is_private(name)}


def _touched(top: ast.stmt, theirs: set[str]) -> Iterator[str]:
    bases = [ast.unparse(base).partition(".")[0] for base in top.bases] if isinstance(top, ast.ClassDef) else []
    is_theirs = bool(theirs & set(bases))
    own = {
        node.attr
        for method in (top.body if isinstance(top, ast.ClassDef) else ())
        if isinstance(method, ast.FunctionDef) and method.name == "__init__"
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(top):
        if isinstance(node, ast.Attribute):
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not is_own or (is_theirs and node.attr not in own):
                yield node.attr
        elif isinstance(node, ast.FunctionDef) and is_theirs:
            yield node.name
        elif isinstance(node, ast.Constant):  # of getattr, and names that are compared
            yield node.value  # type: ignore[misc]


def test_at_most_three_files_touch_what_is_private_to_kafka_python_and_each_attribute_is_listed() -> None:
    found = {path.name: touched(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.py")}

    assert {name: attributes for name, attributes in found.items() if attributes} == {
        name: set(attributes) for name, attributes in INTERNALS.items()
    }
    assert len(INTERNALS) <= 3


def test_at_most_nine_files_import_kafka_python() -> None:
    importing = [
        path.name
        for path in FOLDER.glob("*.py")
        if any(
            (node.module or "").partition(".")[0] == "kafka"
            if isinstance(node, ast.ImportFrom)
            else any(alias.name.partition(".")[0] == "kafka" for alias in node.names)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
        )
    ]

    assert len(importing) <= 9, importing


@pytest.mark.parametrize(
    ("attribute", "module"), sorted({pair for attributes in INTERNALS.values() for pair in attributes.items()})
)
def test_an_attribute_is_where_it_was_seen(attribute: str, module: str) -> None:
    source = ast.parse(inspect.getsource(importlib.import_module(module)))
    names = {node.attr for node in ast.walk(source) if isinstance(node, ast.Attribute)}
    names |= {node.name for node in ast.walk(source) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}

    assert attribute in names, f"gone from kafka-python {version('kafka-python')}, it was seen in {SEEN_IN}"


def test_an_attribute_that_is_not_listed_would_be_seen() -> None:
    source = (
        "from kafka import KafkaConsumer\nclass Own:\n    def see(self, consumer):\n        self._x = consumer._y\n"
    )
    derived = "from kafka import KafkaConsumer\nclass Own(KafkaConsumer):\n    def _z(self):\n        self._x()\n"

    assert (touched(source), touched(derived)) == ({"_y"}, {"_x", "_z"})
