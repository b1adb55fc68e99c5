"""Passes padded to sizes and replayed: here by running them again, because graphs need a GPU (`test_cuda.py`)."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from tests.workers.serving.engine.random_models import OneDraft, greedy, prompt_of, random_model
from workers.serving.engine.completion import PreparedPrompt
from workers.serving.engine.forward import graphs
from workers.serving.engine.forward.graphs import GraphedForward, with_graphs
from workers.serving.engine.forward.kept_cache import PrefixCache
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.passes import PassLimits
from workers.serving.engine.verdict_decoder import VerdictDecoder

VOCABULARY, PREFIX, NEW_TOKENS, END = 600, 20, 6, 599
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Any:
    return random_model("0.6B", layers=2, dtype=torch.float32, vocabulary=VOCABULARY)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and tokens of each size that was captured; what stands for its graph runs the pass again, as it is then."""
    made: list[tuple[int, int]] = []

    def capture(self: GraphedForward, size: Any, prefix: PrefixCache) -> Callable[[], None]:
        made.append((size.rows, size.tokens))
        buffers = self._buffers

        def replay() -> None:
            ids, positions = buffers.inputs(size)
            logits, cache = self._forward.start(ids, prefix, positions)
            buffers.take(size, logits, cache.first(size.rows))

        return replay

    monkeypatch.setattr(GraphedForward, "_captured", capture)
    return made


def _prompts(count: int, seed: int) -> list[PreparedPrompt]:
    chooser = random.Random(seed)
    head = [index % 500 for index in range(PREFIX)]
    return [prompt_of([*head, *(chooser.randrange(500) for _ in range(chooser.randint(3, 40)))]) for _ in range(count)]


def _decoder(forward: Any, prompts: Sequence[PreparedPrompt], draft: Sequence[int]) -> VerdictDecoder:
    return VerdictDecoder(
        forward,
        [prompts[0].token_ids[:PREFIX]],
        OneDraft(draft),
        end_ids={END},
        max_new_tokens=NEW_TOKENS,
        limits=PassLimits(tokens=4096, rows=16, padding=0.3, small_rows=8),
        label_ids=range(VOCABULARY),
    )


def _answers(decoder: VerdictDecoder, prompts: Sequence[PreparedPrompt]) -> list[tuple[list[int], torch.Tensor]]:
    return [(answer.ids, torch.cat(answer.label_logits)) for answer in decoder.decode(prompts)]


def test_p13_replayed_passes_write_what_plain_decoding_does(model: Any, captured: list[tuple[int, int]]) -> None:
    forward = GraphedForward(SuffixForward(model), settled=True)
    batches = [_prompts(count, seed) for seed, count in enumerate((16, 5, 1, 16, 3))]
    truth = [
        [greedy(model, prompt.token_ids.tolist(), new_tokens=NEW_TOKENS, end_ids={END}) for prompt in batch]
        for batch in batches
    ]
    decoder = _decoder(forward, batches[0], truth[0][0])
    before = [_answers(decoder, batch) for batch in batches]
    for _ in range(2):
        again = [_answers(decoder, batch) for batch in batches]
        assert [[ids for ids, _ in batch] for batch in again] == truth
        # Not a bit of it depends on whether a pass is replayed.
        assert all(
            torch.equal(one[1], other[1])
            for batch, other_batch in zip(before, again, strict=True)
            for one, other in zip(batch, other_batch, strict=True)
        )
    assert captured


def test_nothing_is_captured_before_the_forward_is_settled(
    model: Any, captured: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = GraphedForward(SuffixForward(model), settled=False)
    prompts = _prompts(4, 1)
    decoder = _decoder(forward, prompts, range(100, 105))
    for _ in range(3):
        decoder.decode(prompts)
    assert not captured
    monkeypatch.setattr(SuffixForward, "compile", lambda *_: False)
    decoder.compile()
    decoder.decode(prompts)
    assert captured
    assert len(set(captured)) == len(captured)


def test_where_capturing_fails_passes_run_as_they_are(
    model: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = []

    def fails(*_: Any) -> Any:
        attempts.append(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(GraphedForward, "_captured", fails)
    forward = GraphedForward(SuffixForward(model), settled=True)
    prompts = _prompts(4, 1)
    decoder = _decoder(forward, prompts, range(100, 105))
    first, *others = (_answers(decoder, prompts) for _ in range(4))

    assert all([ids for ids, _ in other] == [ids for ids, _ in first] for other in others)
    assert len(attempts) == 1
    assert "no more passes are captured as CUDA graphs: RuntimeError" in caplog.text


def test_the_graph_not_used_for_longest_goes_first(
    model: Any, captured: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "_MOST_GRAPHS", 2)
    forward = GraphedForward(SuffixForward(model), settled=True)
    with torch.inference_mode():
        prefix = forward.prefix(range(PREFIX))

        def run(rows: int) -> None:
            forward.start(torch.ones(rows, 9, dtype=torch.int64), prefix, torch.ones(rows, 2, dtype=torch.int64))

        for rows in (1, 1, 2, 2, 1, 4, 4, 1, 2):
            run(rows)

    assert [rows for rows, _ in captured] == [1, 2, 4, 2]


@pytest.mark.parametrize(
    ("rows", "tokens", "positions", "prefix"), [(65, 9, 2, 20), (64, 17, 2, 20), (1, 9, 17, 20), (1, 9, 2, 0)]
)
def test_other_passes_are_left_as_they_are(
    model: Any,
    captured: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    tokens: int,
    positions: int,
    prefix: int,
) -> None:
    monkeypatch.setattr(graphs, "_MOST_CELLS", 1024)  # or a pass of more takes a CPU ten seconds
    forward = GraphedForward(SuffixForward(model), settled=True)
    ids, places = torch.ones(rows, tokens, dtype=torch.int64), torch.ones(rows, positions, dtype=torch.int64)
    with torch.inference_mode():
        shared = forward.prefix(range(prefix)) if prefix else forward.no_prefix()
        caches = [forward.start(ids, shared, places)[1] for _ in range(3)]
    assert not captured
    assert {cache.capacity for cache in caches} == {tokens}


def test_a_cpu_has_no_graphs(model: Any) -> None:
    forward = SuffixForward(model)
    assert with_graphs(forward, settled=True) is forward
