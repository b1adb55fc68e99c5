"""Every field of a server's answer with a value that none writes: another form, and never a fault of ours (P3, P5)."""

from collections.abc import Iterator
from typing import Any

import pytest

from schemas.errors import RemoteCallError
from tests.workers.serving.remote.conftest import CORPUS, NewEngine, NewServer
from workers.serving.engine.completion import PreparedPrompt
from workers.serving.remote.connection import retry_after_s
from workers.serving.remote.endpoint import _load_in
from workers.serving.remote.written import ANOTHER_FORM

ODD: list[Any] = [
    None, True, 0, -1, 10**400, 2**31, 1.5, float("nan"), float("inf"), "", "stop", [], {}, [None], [10**400], [2**31],
    [[]], {"1": float("inf")}, {"index": 0},
]  # fmt: skip


def odd_ones(value: Any) -> Iterator[Any]:
    """The value with something odd in each of its places, one at a time; of long lists in the first ones."""
    yield from ODD
    places = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for place, inner in places[:12]:
        for other in odd_ones(inner):
            changed = value.copy()
            changed[place] = other
            yield changed


@pytest.mark.parametrize(
    ("flavour", "guard", "remote"),
    [
        ("vllm", {"score_temperature": 1.0}, {}),
        ("sglang", {}, {}),
        ("sglang", {"score_temperature": 1.0}, {"drafts": True}),
        ("llamacpp", {}, {}),
        ("chat", {}, {}),
    ],
    ids=["vllm", "sglang", "sglang drafts", "llamacpp", "chat"],
)
def test_p3_p5_an_answer_of_another_form_is_refused_and_raises_nothing_else(
    flavour: str, guard: dict[str, Any], remote: dict[str, Any], new_server: NewServer, new_engine: NewEngine
) -> None:
    server = new_server(flavour)
    engine = new_engine(server, guard=guard, **remote)
    asks = engine._drafts or engine._flavour  # noqa: SLF001
    prompts = [item for item in engine.prepare_all(CORPUS[:1]) if isinstance(item, PreparedPrompt)]
    body = asks.body("guard", prompts)
    answer = server.written(server.prompts_of(body), body)
    assert asks.read(answer, body, "guard", prompts) is not None
    read = 0
    for odd in odd_ones(answer):
        try:
            written = asks.read(odd, body, "guard", prompts)
            asks.fingerprint(odd)
        except (RemoteCallError, *ANOTHER_FORM):
            continue
        read += 1
        for item, prompt in zip(written, prompts, strict=True):
            if item is not None:
                engine._completion(item, prompt)  # noqa: SLF001
    assert read > 10, "fields that are not looked at"


@pytest.mark.parametrize(
    "odd", ["JSON", "JSON 7", "JSON {}", 'JSON {"named_metrics": {"num_requests_waiting": 1e999}}']
)
def test_a_load_that_is_none_says_nothing(odd: str) -> None:
    assert _load_in({"endpoint-load-metrics": odd}) == (0, None)


@pytest.mark.parametrize(("text", "seconds"), [("1e999", 300.0), ("nan", None), ("-5", 0.0), ("x", None), ("3", 3.0)])
def test_a_server_is_left_alone_for_no_longer_than_that(text: str, seconds: float | None) -> None:
    assert retry_after_s(text) == seconds
