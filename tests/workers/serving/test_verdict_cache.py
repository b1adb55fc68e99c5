"""The verdict cache: what is the same prompt, what is kept, how much (P9), and that no prompt is (P10)."""

import dataclasses
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from tests.allocations import held_by
from tests.workers.serving.conftest import Measured
from workers.serving import verdict_cache
from workers.serving.engine.completion import Completion, PreparedPrompt, SharedStart, Task
from workers.serving.verdict_cache import KEY_BYTES, MAX_CHARACTERS, VerdictCache

SAFE = Completion("Safety: Safe\nCategories: None", None, None, 300, 8, "stop")
CARRIER = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-00000000000000aa-01"}


def prompt(*tokens: int, task: Task = "prompt") -> PreparedPrompt:
    return PreparedPrompt(np.array(tokens, dtype=np.int64), task)


def test_equal_prompts_have_one_key_and_others_another() -> None:
    cache = VerdictCache(8)
    others = [
        prompt(1, 2, 3), prompt(1, 2), prompt(3, 2, 1), prompt(1, 2, 3, 0), prompt(), prompt(1, 2, 2**40),
        prompt(1, 2, 3, task="response"),
    ]  # fmt: skip

    assert cache.key_of(prompt(1, 2, 3)) == cache.key_of(prompt(1, 2, 3))
    assert len({cache.key_of(other) for other in others}) == len(others)


def test_of_what_prompts_share_a_key_holds_only_which_it_is() -> None:
    cache = VerdictCache(8)
    one, other = SharedStart(2, b"one"), SharedStart(2, b"other")
    prompts = [replace(prompt(*tokens), start=start) for tokens in ((1, 2, 3), (1, 2, 4)) for start in (one, other)]

    assert len({cache.key_of(item) for item in prompts}) == 4
    assert cache.key_of(replace(prompt(8, 9, 3), start=one)) == cache.key_of(prompts[0]), "the start was hashed again"


def test_p10_a_key_is_a_digest_under_a_secret_of_its_cache() -> None:
    tokens = prompt(*range(100))
    first, second = VerdictCache(8).key_of(tokens), VerdictCache(8).key_of(tokens)

    assert len(first) == KEY_BYTES >= 16
    assert first != second


def test_what_was_kept_is_found_with_its_batch() -> None:
    cache = VerdictCache(8)
    cache.keep(b"a", SAFE, CARRIER)

    assert cache.find(b"a") == (SAFE, CARRIER)
    assert cache.find(b"b") is None


def test_p9_the_least_recently_used_goes_first() -> None:
    cache = VerdictCache(3)
    for key in (b"a", b"b", b"c"):
        cache.keep(key, SAFE, {})
    cache.find(b"a")
    cache.keep(b"b", SAFE, {})
    cache.keep(b"d", SAFE, {})

    assert [key for key in (b"a", b"b", b"c", b"d") if cache.find(key)] == [b"a", b"b", b"d"]
    assert len(cache) == 3


def test_a_cache_of_no_entries_keeps_none() -> None:
    cache = VerdictCache(0)
    cache.keep(b"a", SAFE, {})

    assert cache.find(b"a") is None
    assert len(cache) == 0


@pytest.mark.parametrize(
    "completion",
    [
        Completion.failed("non_finite_logits", prompt_tokens=300),
        replace(SAFE, finish="length"),
        replace(SAFE, finish=None),
        replace(SAFE, text="x" * (MAX_CHARACTERS + 1)),
    ],
)
def test_p9_errors_and_what_was_cut_off_or_is_too_long_are_not_kept(completion: Completion) -> None:
    cache = VerdictCache(8)
    cache.keep(b"a", completion, {})

    assert len(cache) == 0


def test_p9_p10_what_is_kept_does_not_grow_with_the_prompts() -> None:
    cache, tokens = VerdictCache(200), 100_000
    tracemalloc.start()
    for number in range(400):
        asked = PreparedPrompt(np.full(tokens, number, dtype=np.int64), "prompt")
        cache.keep(cache.key_of(asked), replace(SAFE, text=f"{number:0{MAX_CHARACTERS}d}"), CARRIER)
        assert cache.find(cache.key_of(asked))
    asked = prompt(0)
    held = held_by(__file__, verdict_cache.__file__, dataclasses.__file__, "*/numpy/*")
    tracemalloc.stop()

    assert len(cache) == 200
    assert held > 200 * MAX_CHARACTERS, "what is kept is seen"
    assert held < 200 * 2_000 < tokens * asked.token_ids.itemsize, "less than a single prompt"


def test_hits_and_misses_are_counted(measured: Measured) -> None:
    cache = VerdictCache(8)
    cache.count(hits=3, misses=1)
    cache.count(hits=0, misses=2)

    assert measured() == {"moderation.cache.hits": 3, "moderation.cache.misses": 3}
