"""`batch_invariant`: what a message's numbers are, to the bit, does not depend on what else is in its batch."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.workers.serving.engine.random_models import OneDraft, prompt_of, random_model
from workers.serving.engine.completion import PreparedPrompt
from workers.serving.engine.forward import suffix_forward
from workers.serving.engine.forward.suffix_forward import SuffixForward
from workers.serving.engine.forward.weights import Product
from workers.serving.engine.one_pass import invariant_passes
from workers.serving.engine.passes import PassLimits
from workers.serving.engine.verdict_decoder import VerdictDecoder

PREFIX, NEW_TOKENS, VOCABULARY = 20, 6, 2_000
Bits = dict[bytes, torch.Tensor]


@pytest.fixture(scope="module", params=[torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
def model(request: pytest.FixtureRequest) -> Any:
    return random_model("0.6B", layers=2, dtype=request.param, vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def forward(model: Any) -> SuffixForward:
    return SuffixForward(model)


@pytest.fixture(scope="module")
def prompts() -> list[PreparedPrompt]:
    """Of lengths from one pass's worth of tokens to three of them."""
    chooser = random.Random(5)
    head = [chooser.randrange(VOCABULARY) for _ in range(PREFIX)]
    lengths = [1, 2, 3, 15, 16, 17, 33, 40, 41, 42, 64, 65, 90, 1_100]
    return [prompt_of([*head, *(chooser.randrange(VOCABULARY) for _ in range(length))]) for length in lengths]


@pytest.fixture(scope="module")
def invariant(forward: SuffixForward) -> tuple[SuffixForward, PassLimits]:
    return invariant_passes(forward)


def _bits(forward: SuffixForward, limits: PassLimits, batches: Sequence[Sequence[PreparedPrompt]]) -> Bits:
    """All logits of each prompt's answer; the first tokens of some are as drafted, and all go on for several passes."""
    decoder = VerdictDecoder(
        forward,
        [batches[0][0].token_ids[:PREFIX]],
        OneDraft([7, 8, 9]),
        end_ids={VOCABULARY},
        max_new_tokens=NEW_TOKENS,
        limits=limits,
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


def test_p7_not_a_bit_of_a_message_depends_on_its_batch(
    invariant: tuple[SuffixForward, PassLimits], prompts: list[PreparedPrompt]
) -> None:
    alone = _bits(*invariant, [[prompt] for prompt in prompts])
    for batch in (prompts, prompts[::-1], random.Random(2).sample(prompts, 9)):
        assert _differing(_bits(*invariant, [batch]), alone) == 0


def test_messages_share_passes_where_the_machines_products_allow_it(
    invariant: tuple[SuffixForward, PassLimits], forward: SuffixForward
) -> None:
    found, limits = invariant
    assert (limits.rows > 1) == (found is not forward)


def test_a_machine_whose_products_mix_rows_has_one_message_a_pass(
    forward: SuffixForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Product, "is_independent", lambda *_: False)
    found, limits = invariant_passes(forward)
    assert found is forward
    assert limits.rows == 1


def test_rows_that_depend_on_their_number_are_found_out(
    forward: SuffixForward, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply = Product.__call__

    def by_number(product: Product, rows: torch.Tensor) -> torch.Tensor:
        return multiply(product, rows) * (1 + (len(rows) == 96) / 64)

    monkeypatch.setattr(Product, "__call__", by_number)
    assert forward.invariant(256) is None


def test_attention_to_a_neighbours_length_is_found_out(forward: SuffixForward, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = suffix_forward.PrefixAttention

    def uncut(*inputs: Any, sizes: Any, **how: Any) -> Any:
        del sizes
        return attention(*inputs, **how)

    monkeypatch.setattr(suffix_forward, "PrefixAttention", uncut)
    assert forward.invariant(64) is None
