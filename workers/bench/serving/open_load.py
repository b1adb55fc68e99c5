"""Offers a guard messages at times fixed beforehand, whatever it has answered so far, and notes what became of each.

It is an open loop: latency counts from when a message was due, so a guard that stalls is charged for every message that
came meanwhile. Knows nothing of Ray, batches or engines.
"""

import asyncio
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import NamedTuple

from pipelines.guard import Guard, GuardAnswer, GuardRequest
from schemas.errors import GuardCallFailedError, GuardCrashError, GuardUnavailableError
from workers.bench.chat import chat_words

_FEWEST_WORDS, _MOST_WORDS = 3, 15


class OfferedMessage(NamedTuple):
    """What became of one message.

    Attributes:
        due_s: when it was to be sent, from the start.
        late_ms: how long after that it was sent, which is the fault of who sends.
        latency_ms: from `due_s` to the answer, the error or the time-out.
        answer: None where there was none.
        timed_out: no answer in time; without it and an answer, the call failed.
    """

    due_s: float
    late_ms: float
    latency_ms: float
    answer: GuardAnswer | None
    timed_out: bool


def chat_messages(amount: int, label: str) -> list[GuardRequest]:
    """Chat-length messages, no two alike; other labels give others."""
    random = Random(label)
    requests = []
    for number in range(amount):
        words = chat_words(random, _FEWEST_WORDS, _MOST_WORDS)
        text = f"{' '.join(words)} {label}-{number}"
        requests.append(GuardRequest(({"role": "user", "content": text},), len(words), {}))
    return requests


def poisson_arrivals(rate: float, seconds: float, seed: str) -> list[float]:
    """When messages come, in seconds from the start: independently of each other, `rate` a second on average."""
    random = Random(seed)
    times = [random.expovariate(rate)]
    while times[-1] < seconds:
        times.append(times[-1] + random.expovariate(rate))
    return times[:-1] or [0.0]


async def offer(
    guard: Guard, requests: Sequence[GuardRequest], due_s: Sequence[float], timeout_s: float
) -> list[OfferedMessage]:
    """Send each request alone when it is due, and wait for all.

    Args:
        guard: called without waiting for earlier answers.
        requests: one for each time.
        due_s: seconds from now, ascending.
        timeout_s: from when a message was due; it is cancelled then.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def ask(request: GuardRequest, due_s: float) -> OfferedMessage:
        due, sent = started + due_s, loop.time()
        answer, timed_out = None, False
        try:
            async with asyncio.timeout_at(due + timeout_s):
                answer = (await guard.judge([request])).answers[0]
        except TimeoutError:
            timed_out = True
        except (GuardCallFailedError, GuardCrashError, GuardUnavailableError):
            pass
        return OfferedMessage(due_s, (sent - due) * 1000, (loop.time() - due) * 1000, answer, timed_out)

    asked = []
    for request, due in zip(requests, due_s, strict=True):
        # Also where it is late: answers have to come in meanwhile.
        await asyncio.sleep(max(0.0, started + due - loop.time()))
        asked.append(asyncio.create_task(ask(request, due)))
    return await asyncio.gather(*asked)


async def saturate(guard: Guard, seconds: float, at_once: int) -> float:
    """Messages per second of a guard that always has `at_once` calls of one message."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    numbers = count()

    async def ask_on() -> int:
        answered = 0
        while loop.time() - started < seconds:
            await guard.judge(chat_messages(1, f"capacity-{next(numbers)}"))
            answered += 1
        return answered

    answered = sum(await asyncio.gather(*(ask_on() for _ in range(at_once))))
    return answered / (loop.time() - started)
