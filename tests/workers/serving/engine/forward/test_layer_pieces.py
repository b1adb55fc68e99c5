"""Compiling beside the work: the same logits, no waiting, and a way on where it fails."""

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor.async_compile import AsyncCompile

from tests.workers.serving.engine.random_models import full_logits
from workers.serving.engine import one_pass
from workers.serving.engine.completion import Conversation
from workers.serving.engine.forward import layer_pieces, suffix_forward
from workers.serving.engine.forward.layer_pieces import PLAIN, LayerPieces, compiled_pieces
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.loading import LoadedModel, load_model
from workers.serving.engine.one_pass import OnePassEngine

CHATS: list[Conversation] = [[{"role": "user", "content": "hello " * count}] for count in range(30)]


@pytest.fixture(scope="module")
def loaded(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), device="cpu", dtype="fp32")


@pytest.fixture(autouse=True)
def _torchs_pool_ends() -> Iterator[None]:
    """Torch compiles on threads that it keeps for the process."""
    yield
    if AsyncCompile.pool.cache_info().currsize:
        AsyncCompile.pool().shutdown()
        AsyncCompile.pool.cache_clear()


@pytest.fixture
def threads_of_compiling(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Compiling starts with the first messages; its threads."""
    monkeypatch.setattr(one_pass, "_MESSAGES_UNTIL_COMPILING", 40)
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def watched(thread: threading.Thread) -> None:
        if thread.name == "weir-compile":
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", watched)
    return started


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler on this machine")
@pytest.mark.timeout(300)
def test_p13_compiled_pieces_change_no_verdict_and_nobody_waits_for_them(
    loaded: LoadedModel, threads_of_compiling: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[LayerPieces] = []
    run = SuffixForward._run  # noqa: SLF001 - which pieces run is seen nowhere else

    def watched(forward: SuffixForward, *inputs: Any, **how: Any) -> Any:
        used.append(forward._pieces)  # noqa: SLF001
        return run(forward, *inputs, **how)

    judged_meanwhile = threading.Event()

    def compiled_at_leisure(try_out: Callable[[LayerPieces], torch.Tensor]) -> LayerPieces | None:
        assert judged_meanwhile.wait(120)
        return compiled_pieces(try_out)

    expected = OnePassEngine(loaded, max_new_tokens=8, compiled=False).judge(CHATS)
    engine = OnePassEngine(loaded, max_new_tokens=8)
    monkeypatch.setattr(SuffixForward, "_run", watched)
    monkeypatch.setattr(suffix_forward, "compiled_pieces", compiled_at_leisure)
    assert engine.judge(CHATS) == expected
    assert threads_of_compiling == []
    assert engine.judge(CHATS[:20]) == expected[:20]
    (compiling,) = threads_of_compiling
    assert engine.judge(CHATS) == expected
    assert compiling.is_alive()
    judged_meanwhile.set()
    while compiling.is_alive():
        assert engine.judge(CHATS) == expected
    used.clear()
    assert engine.judge(CHATS) == expected
    assert used
    assert PLAIN not in used


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler on this machine")
@pytest.mark.timeout(300)
def test_p13_compiled_logits_are_transformers_own(loaded: LoadedModel) -> None:
    forward = SuffixForward(loaded.model)
    ids = list(range(1, 90))
    with torch.inference_mode():
        prefix = forward.prefix(ids[:40])
        assert forward.compile(prefix)
        places = torch.tensor([[44, 45, 46, 47, 48]])
        logits, _ = forward.start(torch.tensor([ids[40:]]), prefix, places)
    assert logits is not None
    expected = full_logits(loaded.model, ids[:85], [*ids[85:], 5])
    assert (logits[0] - expected).abs().max().item() < 1e-4


def test_short_work_is_never_compiled(loaded: LoadedModel, threads_of_compiling: list[threading.Thread]) -> None:
    OnePassEngine(loaded, max_new_tokens=2).judge(CHATS)
    OnePassEngine(loaded, max_new_tokens=2, compiled=False).judge(CHATS * 2)
    assert threads_of_compiling == []


def _does_not_compile(_piece: Any, **_options: Any) -> Any:
    def broken(*_inputs: Any) -> Any:
        raise RuntimeError("no compiler")

    return broken


def _compiles_wrongly(piece: Any, **_options: Any) -> Any:
    return (lambda *inputs: piece(*inputs) * 1.01) if piece is layer_pieces.gated else piece


@pytest.mark.parametrize(
    ("compiler", "warning"), [(_does_not_compile, "RuntimeError"), (_compiles_wrongly, "something else")]
)
def test_where_compiling_fails_all_is_as_before(
    loaded: LoadedModel,
    compiler: Callable[..., Any],
    warning: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch, "compile", compiler)
    forward = SuffixForward(loaded.model)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        assert not forward.compile(forward.prefix([1, 2, 3]))
    assert forward._pieces is PLAIN  # noqa: SLF001
    assert warning in caplog.text


def test_nan_is_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda piece, **_options: piece)
    answers = iter([torch.tensor([float("nan"), 2.0]), torch.tensor([1.0, 2.0])])
    assert compiled_pieces(lambda _pieces: next(answers)) is None
