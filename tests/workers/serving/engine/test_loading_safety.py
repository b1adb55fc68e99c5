"""A model repository is data: none of its code is run, weights are safetensors, its template runs in a sandbox."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from workers.serving.engine.loading import DEMO_FOLDER, load_model
from workers.serving.engine.reference import ReferenceEngine

WORKERS = Path(__file__).parents[4] / "workers"


class Payload:
    """What a hostile pickle does: anything at all when it is read."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._marker,)


class Repository:
    """A copy of the demo's model, with a file of Python that leaves a mark when it is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "model"
        self.marker = folder / "it-was-run"
        shutil.copytree(DEMO_FOLDER, self.folder)
        classes = "".join(f"class {name}: pass\n" for name in ("Config", "Model", "Tokenizer"))
        code = f"from pathlib import Path\nPath({str(self.marker)!r}).touch()\n{classes}"
        (self.folder / "evil.py").write_text(code, encoding="utf-8")

    def change(self, file: str, **values: Any) -> None:
        path = self.folder / file
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


MAPPED = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}


def test_code_that_a_repository_names_for_a_known_model_is_not_run(repository: Repository) -> None:
    repository.change("config.json", auto_map=MAPPED)
    repository.change("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})

    load_model(str(repository.folder), device="cpu")

    assert not repository.marker.exists()


def test_a_model_that_needs_its_own_code_is_refused(repository: Repository) -> None:
    repository.change("config.json", auto_map=MAPPED, model_type="evil", architectures=["EvilForCausalLM"])

    with pytest.raises(ValueError, match=r"guard\.model .* cannot be loaded"):
        load_model(str(repository.folder), device="cpu")
    assert not repository.marker.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "adapter_model.bin"])
def test_weights_that_are_a_pickle_are_not_read(repository: Repository, name: str) -> None:
    (repository.folder / "model.safetensors").unlink()
    (repository.folder / name).write_bytes(pickle.dumps(Payload(repository.marker)))

    with pytest.raises(ValueError, match=r"guard\.model .* cannot be loaded"):
        load_model(str(repository.folder), device="cpu")
    assert not repository.marker.exists()


def test_the_payload_of_these_tests_goes_off_where_it_is_read(repository: Repository) -> None:
    pickle.loads(pickle.dumps(Payload(repository.marker)))

    assert repository.marker.exists()


def test_a_chat_template_cannot_reach_out_of_its_sandbox(repository: Repository) -> None:
    reach = "{% set found = ''.__class__.__mro__[1].__subclasses__() %}{{ found }}"
    (repository.folder / "chat_template.jinja").write_text(reach, encoding="utf-8")

    with pytest.raises(Exception, match=r"(?i)unsafe|security|undefined|template"):
        ReferenceEngine.load(str(repository.folder), device="cpu").judge([[{"role": "user", "content": "hello"}]])


def test_no_line_of_ours_reads_pickles_or_trusts_code() -> None:
    forbidden = re.compile(
        r"trust_remote_code\W+True|torch\.load\(|pickle\.loads?\(|use_safetensors=False|weights_only=False"
    )
    found = [
        f"{path.name}: {line.strip()}"
        for path in WORKERS.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if forbidden.search(line)
    ]

    assert found == []
