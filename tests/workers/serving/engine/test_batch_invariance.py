"""With `batch_invariant`: what a message's numbers are, to the bit, does not depend on what else is in its batch."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.workers.serving.engine.random_models import prompt_of, random_model
from workers.serving.engine.completion import PreparedPrompt, Task
from workers.serving.engine.forward import suffix_forward
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.forward.weights import Product, Tiles
from workers.serving.engine.one_pass import invariant_passes
from workers.serving.engine.passes import PassLimits
from workers.serving.engine.verdict_decoder import VerdictDecoder

PREFIX, NEW_TOKENS, VOCABULARY = 20, 5, 1_000
LIMITS = PassLimits(tokens=256, rows=8, padding=0.5)
Bits = dict[bytes, torch.Tensor]


class DraftsOfAllLengths:
    """Wrong ones, of 0 to 3 tokens: which, only the row itself decides."""

    def after(self, task: Task, written: Sequence[int]) -> list[int]:
        del task
        return [7, 8, 9][: (written[-1] if written else 3) % 4]

    def note(self, task: Task, answer: Sequence[int]) -> None:
        del task, answer


@pytest.fixture(scope="module", params=[torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
def forward(request: pytest.FixtureRequest) -> SuffixForward:
    return SuffixForward(random_model("0.6B", layers=1, dtype=request.param, vocabulary=VOCABULARY))


@pytest.fixture(scope="module")
def prompts() -> list[PreparedPrompt]:
    """Of many lengths, one of them longer than a pass of several may be."""
    chooser = random.Random(5)
    head = [chooser.randrange(VOCABULARY) for _ in range(PREFIX)]
    lengths = [1, 2, 15, 16, 33, 40, 41, 42, 65, 300]
    return [prompt_of([*head, *(chooser.randrange(VOCABULARY) for _ in range(length))]) for length in lengths]


def _bits(forward: SuffixForward, batches: Sequence[Sequence[PreparedPrompt]]) -> Bits:
    """All logits of each prompt's answer; all go on for several passes, with drafts of other lengths beside them."""
    decoder = VerdictDecoder(
        forward,
        [batches[0][0].token_ids[:PREFIX]],
        DraftsOfAllLengths(),
        end_ids={VOCABULARY},
        max_new_tokens=NEW_TOKENS,
        limits=LIMITS,
        label_ids=range(VOCABULARY),
        batch_invariant=True,
    )
    return {
        prompt.token_ids.tobytes(): torch.cat(answer.label_logits)
        for batch in batches
        for prompt, answer in zip(batch, decoder.decode(batch), strict=True)
    }


def _differing(one: Bits, two: Bits) -> int:
    return sum(not torch.equal(logits, two[prompt]) for prompt, logits in one.items())


@pytest.mark.parametrize("tiled", [False, True], ids=["rows as they come", "tiles of one number of rows"])
def test_p7_not_a_bit_of_a_message_depends_on_its_batch(
    forward: SuffixForward, prompts: list[PreparedPrompt], tiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tiled:  # of 64 and 32 rows: the same with less to compute
        monkeypatch.setattr(suffix_forward, "_TILES", [(Tiles(64, 64), Tiles(32, 32))])
    else:
        monkeypatch.setattr(suffix_forward, "_TILES", [(Tiles(32, LIMITS.tokens), Tiles(32, 64))])
    if (invariant := forward.invariant(compiled=False)) is None:
        pytest.skip("products of this machine let a row depend on the others; then each message has a pass of its own")
    alone = _bits(invariant, [[prompt] for prompt in prompts])
    for batch in (prompts, random.Random(2).sample(prompts, 7)):
        assert _differing(_bits(invariant, [batch]), alone) == 0


def test_a_machine_whose_products_mix_rows_has_one_message_a_pass(
    forward: SuffixForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Product, "is_independent", lambda *_: False)
    found, limits = invariant_passes(forward, compiled=False)
    assert found is forward
    assert limits.rows == 1


def test_where_numbers_of_rows_matter_tiles_have_one(forward: SuffixForward, monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = Product.__call__

    def by_number(product: Product, rows: torch.Tensor, tiles: Tiles | None = None) -> torch.Tensor:
        return multiply(product, rows, tiles) * (1 + (len(rows) == 96) / 64)

    monkeypatch.setattr(Product, "__call__", by_number)
    monkeypatch.setattr(
        suffix_forward, "_TILES", [(Tiles(32, 128), Tiles(32, 32)), (one := (Tiles(64, 64), Tiles(32, 32)))]
    )
    found = forward.invariant(compiled=False)
    assert found is not None
    assert found._tiles == one  # noqa: SLF001 - seen nowhere else


def test_attention_that_depends_on_the_neighbours_is_found_out(
    forward: SuffixForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = suffix_forward.RowAttention

    def by_rows(*inputs: Any, sizes: Any, **how: Any) -> Any:
        found = attention(*inputs, sizes=sizes, **how)
        return found if sizes is None else lambda *tensors: found(*tensors) * (1 + len(sizes) / 64)

    monkeypatch.setattr(suffix_forward, "RowAttention", by_rows)
    monkeypatch.setattr(suffix_forward, "_TILES", [(Tiles(32, 64), Tiles(32, 32))])
    assert forward.invariant(compiled=False) is None
