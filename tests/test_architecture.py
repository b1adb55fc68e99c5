"""The shape of the tree: who imports whom, how long files are, what they are called, what lies where."""

import ast
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.tree import ROOT, git_files

BIN = Path(sys.executable).parent
PACKAGES = ("schemas", "pipelines", "workers")
MAX_LINES = 400
MAX_MODULES = 16
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager"}
FOLDERS = {"workers", "pipelines", "schemas", "tests", "infra", "helm"}
FILES = {
    "pyproject.toml",
    "README.md",
    "Makefile",
    "CHANGELOG.md",
    "LICENSE",
    "CONTRIBUTING.md",
    "requirements.txt",
    "requirements-dev.txt",
}
MODEL_LIBRARIES = {
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "jinja2",  # of transformers
    "numpy",
}
ALLOWED_IMPORTS = {
    # yaml writes the AsyncAPI document.
    "schemas": {"schemas", "pydantic", "pydantic_core", "typing_extensions", "cloudevents", "yaml"},
    "pipelines": {"pipelines", "schemas", "pydantic", "yaml", "opentelemetry"},
    "workers/serving/engine": {"workers.serving.engine", *MODEL_LIBRARIES},
    "workers/bench/engine": {"workers.serving.engine", "workers.bench.engine", "typer", "rich", *MODEL_LIBRARIES},
}
# A file, a line added to it, and the rule that must catch it.
PLANTED = [
    ("schemas/record.py", "import pipelines.in_flight", "never upwards"),
    ("pipelines/policy.py", "from workers.telemetry.log import log_event", "never upwards"),
    ("workers/stream/progress.py", "import workers.serving.batching.batcher", "downwards only"),
    ("workers/serving/batching/batcher.py", "import workers.bench.parser.fuzz", "downwards only"),
    ("workers/bench/parser/fuzz.py", "import workers.cli.app", "downwards only"),
    ("workers/tools/verify/ledger.py", "import workers.audit.pace", "downwards only"),
    ("workers/settings/sections.py", "import workers.telemetry.log", "downwards only"),
    ("pipelines/guard.py", "import ray", "pipelines import no client library"),
    ("schemas/errors.py", "from opentelemetry import trace", "schemas import no client library"),
    ("workers/serving/engine/completion.py", "import pydantic", "bare GPU box"),
    ("workers/bench/engine/products.py", "import pydantic", "bare GPU box"),
    ("workers/stream/progress.py", "import torch", "knows nothing of Ray or of the model"),
    ("workers/audit/pace.py", "import rich", "terminal library"),
    ("workers/tools/inspect/trace.py", "from rich.tree import Tree", "terminal library"),
    ("workers/demo/run.py", "import typer", "terminal library"),
    ("workers/serving/answers.py", "import kafka", "kafka-python is named"),
    ("workers/shadow/report.py", "import kafka", "kafka-python is named"),
    ("workers/stream/worker.py", "from kafka import KafkaConsumer", "kafka-python is named"),
    ("workers/tools/verify/ledger.py", "from kafka.errors import KafkaError", "kafka-python is named"),
    ("workers/bench/stream/throughput.py", "from kafka import TopicPartition", "kafka-python is named"),
    ("workers/demo/sample.py", "import confluent_kafka", "confluent-kafka is named"),
    ("workers/telemetry/export.py", "import ray", "Ray is named"),
    ("workers/evaluation/judging.py", "import workers.kafka.reader", "needs neither Kafka nor Ray"),
    ("workers/moderator.py", "import workers.kafka.reader", "needs neither Kafka nor Ray"),
    ("workers/extras.py", "import workers.settings.sections", "downwards only"),
    ("workers/audit/pace.py", "import torch", "model libraries are named"),
    ("pipelines/backoff.py", "import pipelines.judging", "no circles"),
    ("schemas/reasons.py", "def late():\n    import schemas.errors", "no circles"),
]
BANNED = [
    ("workers/stream/progress.py", "import os\n\nprint(os.environ)", "os.environ"),
    ("workers/telemetry/log.py", "from os import getenv", "os.getenv"),
    ("pipelines/guard.py", "from opentelemetry.sdk import trace", "opentelemetry.sdk"),
]


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def run(tool: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / tool), *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_ruff_finds_nothing() -> None:
    found = run("ruff", "check", "--output-format", "concise", ".")

    assert found.returncode == 0, found.stdout


def test_everything_is_formatted() -> None:
    found = run("ruff", "format", "--check", ".")

    assert found.returncode == 0, found.stdout


def test_mypy_strict_finds_nothing() -> None:
    found = run("mypy")

    assert found.returncode == 0, found.stdout


def test_imports_keep_to_the_contracts() -> None:
    found = run("lint-imports")

    assert found.returncode == 0, found.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def plant(copy: Path) -> Iterator[Path]:
    """The copy; its files are as they were again after the test."""
    kept = {path: path.read_bytes() for path in copy.rglob("*.py")}
    yield copy
    for path, content in kept.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


@pytest.mark.parametrize(("file", "line", "rule"), PLANTED)
def test_a_planted_import_is_caught_by_its_own_contract(plant: Path, file: str, line: str, rule: str) -> None:
    with (plant / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    found = run("lint-imports", cwd=plant)
    broken = [text for text in found.stdout.splitlines() if text.endswith("BROKEN") or " BROKEN (" in text]

    assert found.returncode == 1, found.stdout + found.stderr
    assert [text for text in broken if rule in text], broken


@pytest.mark.parametrize(("file", "line", "name"), BANNED)
def test_a_planted_reader_of_environment_or_sdk_is_caught(plant: Path, file: str, line: str, name: str) -> None:
    with (plant / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    found = run("ruff", "check", "--select", "TID251", "--output-format", "concise", ".", cwd=plant)

    assert found.returncode == 1
    assert re.search(rf"{re.escape(file)}.*TID251.*{re.escape(name)}", found.stdout), found.stdout


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("folder", ALLOWED_IMPORTS)
def test_the_inner_packages_import_only_what_is_listed(folder: str) -> None:
    allowed = ALLOWED_IMPORTS[folder] | sys.stdlib_module_names
    foreign = {
        (path.name, name)
        for path in (ROOT / folder).rglob("*.py")
        for name in imported(path)
        if not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)
    }

    assert foreign == set()


def test_no_file_is_longer_than_400_lines() -> None:
    long = {str(path.relative_to(ROOT)): lines_of(path) for path in git_files("*.py") if lines_of(path) > MAX_LINES}

    assert long == {}


def test_no_folder_holds_more_than_16_modules() -> None:
    folders = Counter(str(path.parent.relative_to(ROOT)) for path in git_files(*PACKAGES) if path.suffix == ".py")
    full = {name: count - 1 for name, count in folders.items() if count - 1 > MAX_MODULES}  # less __init__.py

    assert full == {}


def test_no_file_has_a_name_that_says_nothing() -> None:
    vague = {str(path) for path in git_files("*.py") if FORBIDDEN_NAMES & {path.stem, path.parent.name}}

    assert vague == set()


def test_every_module_opens_with_a_docstring_and_package_files_hold_nothing_else() -> None:
    for path in git_files("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert body, f"{path} is empty"
        assert isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant), f"{path}: no docstring"  # noqa: PT018
        assert path.name != "__init__.py" or len(body) == 1, f"{path}: more than a docstring"


def test_exceptions_are_defined_in_one_file() -> None:
    ends = ("Error", "Exception", "Exit", "Interrupt")
    defining = {
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in git_files(*PACKAGES)
        if path.suffix == ".py" and path != ROOT / "schemas" / "errors.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(parent).endswith(ends) for parent in node.bases)
    }

    # The engine imports nothing of the project, so what is its own alone is defined beside it.
    assert {name for name in defining if not name.startswith("workers/serving/engine/")} == set()


def test_the_top_level_is_as_agreed() -> None:
    tops = {path.relative_to(ROOT).parts[0] for path in git_files()}
    found = {name for name in tops if not name.startswith(".")}

    assert found - FOLDERS - FILES == set()
    assert {"workers", "pipelines", "schemas", "tests", "pyproject.toml", "README.md", "LICENSE", "Makefile"} <= found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_ships_a_package_of_our_names(package: str) -> None:
    assert set(packages_distributions().get(package, [])) <= {"weir-moderation"}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_pinned_and_hashed_and_name_no_index(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"\n(?=[A-Za-z])", re.sub(r"(?m)^\s*#.*\n", "", text)) if entry.strip()]

    assert len(entries) > 50
    assert not re.search(r"index-url|find-links|trusted-host|https?://|@ file:", text)
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []
