"""Reward functions for trainers that call Python: TRL, verl, SkyRL. They ask a running `weir serve`.

Needs nothing but Python: copy this file to where the trainer runs, and bind `url` and `key` with `functools.partial`. A
judgement that is missing is None, which TRL leaves out; the others know numbers only, and are told by an error. Nothing
is made up.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

URL = "http://127.0.0.1:8000"
MOST = 128  # responses of one request: each may have thinking of its own
TRIES = 6
TIMEOUT_S = 120.0
_AGAIN = (408, 429, 500, 502, 503, 504)


def trl_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    *,
    url: str = URL,
    key: str | None = None,
    kind: str = "guard",
    helpfulness: Sequence[float] | None = None,
    **_: Any,
) -> list[float | None]:
    """A reward function of TRL's GRPO trainer.

    Args:
        prompts: texts, or lists of messages.
        completions: the same.
        url: of `weir serve`.
        key: bearer key.
        kind: guard, hybrid or p_safe.
        helpfulness: a column of the data set, for hybrid.

    Returns:
        A reward for each completion; None where it could not be judged, which TRL leaves out.
    """
    items = [
        {"prompt": prompt, "response": _text(completion), **_given("helpfulness", helpfulness, number)}
        for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]
    return rewards_of(items, url=url, key=key, kind=kind)


def compute_score(
    data_source: str,  # noqa: ARG001 - verl's signature
    solution_str: str,
    ground_truth: Any,  # noqa: ARG001
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str = URL,
    key: str | None = None,
) -> float:
    """A custom reward function of verl; the prompt is `extra_info["prompt"]`, a text or messages.

    Raises:
        KeyError: there is no prompt.
        RuntimeError: it could not be judged.
    """
    prompt = (extra_info or {})["prompt"]
    return _number(rewards_of([{"prompt": prompt, "response": solution_str}], url=url, key=key)[0])


def skyrl_step(
    prompt: Any, action: str, *, url: str = URL, key: str | None = None, metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the `step` of a single-turn environment of SkyRL returns.

    Raises:
        RuntimeError: it could not be judged.
    """
    reward = _number(rewards_of([{"prompt": prompt, "response": action}], url=url, key=key)[0])
    return {"observations": [], "reward": reward, "done": True, "metadata": dict(metadata or {})}


def rewards_of(
    items: Sequence[Mapping[str, Any]], *, url: str = URL, key: str | None = None, kind: str = "guard"
) -> list[float | None]:
    """Rewards of any number of responses, as `/v1/rewards` takes them.

    Raises:
        RuntimeError: the server refuses, or has not answered after several tries.
    """
    found: list[float | None] = []
    for start in range(0, len(items), MOST):
        found += _asked(f"{url}/v1/rewards", {"kind": kind, "items": list(items[start : start + MOST])}, key)["rewards"]
    return found


def _asked(url: str, body: Mapping[str, Any], key: str | None) -> Any:
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    for attempt in range(TRIES):
        wait_s = float(1 << attempt)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            said = error.read(10_000).decode("utf-8", "replace")
            if error.code not in _AGAIN:
                raise RuntimeError(f"{url}: {error.code} {said}") from None
            asked_s = error.headers.get("retry-after", "")
            wait_s = float(asked_s) if asked_s.isdecimal() else wait_s
            fault = f"{error.code} {said}"
        except OSError as error:
            fault = str(error)
        if attempt + 1 < TRIES:
            time.sleep(wait_s)
    raise RuntimeError(f"{url}: no answer after {TRIES} tries: {fault}")


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def _given(name: str, column: Sequence[Any] | None, number: int) -> dict[str, Any]:
    return {} if column is None else {name: column[number]}


def _number(reward: float | None) -> float:
    if reward is None:
        raise RuntimeError("the response could not be judged; there is no reward for it")
    return reward
