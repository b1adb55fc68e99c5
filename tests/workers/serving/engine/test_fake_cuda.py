"""The engine's whole decode on a GPU that is not there: tensors without data on device `cuda` (PyTorch's fake tensors).

They refuse what mixes a host's tensor with a device's, and what needs a value of the device that nobody has asked for
openly. What the engine asks for openly, the choices of a pass, is answered by the test and counted.
"""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen3ForCausalLM

from tests.workers.serving.engine.random_models import OneDraft, config_of, prompt_of
from workers.serving.engine.forward import attention
from workers.serving.engine.forward.graphs import GraphedForward, with_graphs
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.one_pass import limits_of
from workers.serving.engine.verdict_decoder import VerdictDecoder

DEVICE = torch.device("cuda", 0)
VOCABULARY, PREFIX, NEW_TOKENS = 2_000, 12, 6
CHOICE = 7  # of every row at every position


class Crossings(TorchDispatchMode):
    """Counts copies between host and device that make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = dict(zip([argument.name for argument in func._schema.arguments], args, strict=False))  # noqa: SLF001
        given |= kwargs or {}
        source = given.get("src", given.get("self"))
        if isinstance(result, torch.Tensor) and isinstance(source, torch.Tensor) and not given.get("non_blocking"):
            crossing = f"{source.device.type} to {result.device.type}"
            self.counts[crossing] += source.device.type != result.device.type
        return result


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """With models made in a dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of what was read from the device, in a world in which there is one."""
    shapes: list[tuple[int, ...]] = []

    def read(tensor: torch.Tensor) -> list[list[int]]:
        assert tensor.device == DEVICE
        shapes.append(tuple(tensor.shape))
        rows, positions = tensor.shape
        return [[CHOICE] * positions for _ in range(rows)]

    monkeypatch.setattr(FakeTensor, "tolist", read, raising=False)
    monkeypatch.setattr(FakeTensor, "pin_memory", lambda tensor: tensor, raising=False)
    monkeypatch.setattr(FakeTensor, "data_ptr", lambda _: 0, raising=False)
    # A tensor of a class of its own, which cannot be fake.
    monkeypatch.setattr(attention, "causal_lower_right", lambda *shape: torch.ones(shape, device=DEVICE).bool())
    with FakeTensorMode():
        yield shapes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("graphed", [False, True])
def test_a_pass_waits_for_the_device_once(reads: list[tuple[int, ...]], dtype: torch.dtype, graphed: bool) -> None:
    with DEVICE, default_dtype(dtype):  # made there: what is fake cannot be moved
        model = Qwen3ForCausalLM(config_of("0.6B", layers=2, vocabulary=VOCABULARY)).requires_grad_(False)
    forward: Any = SuffixForward(model)
    if graphed:
        forward = with_graphs(forward, settled=False)  # its padding; nothing can be captured here
        assert isinstance(forward, GraphedForward)
    chooser = random.Random(3)
    head = [chooser.randrange(VOCABULARY) for _ in range(PREFIX)]
    prompts = [
        prompt_of([*head, *(chooser.randrange(VOCABULARY) for _ in range(length))]) for length in (3, 40, 1_500, 9)
    ]
    decoder = VerdictDecoder(
        forward,
        [prompts[0].token_ids[:PREFIX]],
        OneDraft([CHOICE, CHOICE, 1]),  # right twice, then wrong: a first pass, and others that go on
        end_ids={VOCABULARY - 1},
        max_new_tokens=NEW_TOKENS,
        limits=limits_of(DEVICE),
    )
    reads.clear()
    with Crossings() as crossings:
        answers = decoder.decode(prompts)

    assert [answer.ids for answer in answers] == [[CHOICE] * NEW_TOKENS] * len(prompts)
    assert sum(answer.passes for answer in answers) == sum(rows for rows, _ in reads)  # one read for each pass of rows
    assert not +crossings.counts
