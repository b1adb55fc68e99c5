"""Commands are imported when they are called, and an extra that is missing is named with what to type."""

import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

from schemas.errors import ConfigurationError
from tests.tree import ROOT
from tests.weir_result import Result
from workers import extras
from workers.cli.entry.commands import COMMANDS
from workers.extras import EXTRA_OF, extras_named, need

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGE_OF = {"confluent_kafka": "confluent-kafka", "pandas": "ray[data]", "ray": "ray[serve]"}
HIDDEN = (*EXTRA_OF, "huggingface_hub")
# A command in an environment without any extra; what would be imported of one is not there.
BARE = """
import sys
sys.modules |= dict.fromkeys({hidden})
from workers.cli.app import app
app({words})
"""


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = "import sys; from workers.cli.app import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    *listed, modules = found.stdout.splitlines()
    loaded = set(modules.split())

    assert [name for name in COMMANDS if not any(line.strip().startswith(f"{name} ") for line in listed)] == []
    assert {"kafka", "pydantic", "rich", "yaml", "opentelemetry"} & loaded == set()
    assert {name for name in loaded if name.startswith("workers.cli.")} == {
        "workers.cli.app",
        "workers.cli.entry",
        "workers.cli.entry.commands",
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_where_the_list_says(name: str) -> None:
    assert Result(name, "--help").out.startswith(f"Usage: root {name} ")


def test_a_command_that_is_not_there_is_named_with_one_that_is() -> None:
    assert "No such command 'verfy'. Did you mean 'verify'?" in Result("verfy").err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["classify", "x", "--model", "demo"], 2, "numpy is not installed: pip install 'weir-moderation[serve]'"),
        (["run"], 2, "ray is not installed: pip install 'weir-moderation[serve]'"),
        (["audit", "status", "x"], 2, "jinja2 is not installed: pip install 'weir-moderation[audit]'"),
        (["plan", "--messages-per-second", "1000", "--tokens", "50"], 0, ""),
        (["schema", "verdict"], 0, ""),
        (["check", "--timeout", "2"], 1, ""),  # what an extra is needed for is one line among the others
    ],
)
def test_a_command_without_its_extra_says_what_to_type(words: list[str], code: int, said: str) -> None:
    script = BARE.format(hidden=HIDDEN, words=words)
    found = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)

    assert found.returncode == code, found.stderr
    assert found.stderr.splitlines()[-1:] == ([f"weir: {said}"] if said else [])


def test_an_import_that_no_extra_would_mend_keeps_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError, match="nothing_like_it"), extras_named():
        import_module("nothing_like_it")
    with pytest.raises(ModuleNotFoundError, match=r"torch\.nothing_like_it"), extras_named():
        raise ModuleNotFoundError("torch.nothing_like_it", name="torch.nothing_like_it")
    monkeypatch.setattr(extras, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"^ray is not installed: pip install 'weir-moderation\[serve\]'$"):
        need("ray")


def test_each_extra_brings_the_modules_that_are_said_to_be_its_own() -> None:
    for module, extra in EXTRA_OF.items():
        wanted = PACKAGE_OF.get(module, module)
        brought = PROJECT["optional-dependencies"][extra]
        assert any(entry.startswith(f"{wanted}>=") for entry in brought), (module, extra)
    extras_of_ours = ("serve", "audit", "demo", "parquet")
    listed = [entry.partition(">=")[0] for extra in extras_of_ours for entry in PROJECT["optional-dependencies"][extra]]
    known = {PACKAGE_OF.get(module, module) for module in EXTRA_OF}
    assert {name for name in listed if not name.startswith("weir-moderation")} == known
    base = " ".join(PROJECT["dependencies"])
    assert not [module for module in EXTRA_OF if module in base]
