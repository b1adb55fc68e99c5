"""Items in, an answer for each out, by a deadline: the one core behind all routes.

An item is judged as a record of Kafka with the same value would be: it becomes such a record, and takes the same way.
Knows nothing of HTTP.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.failure import terminal
from pipelines.guard import GuardAnswer, Judged
from pipelines.guard_family import QWEN3GUARD_GEN
from pipelines.judging import RequestJudge, ask_batch
from pipelines.moderation import NO_TRACE, Admitted, Moderation, Outcome, timestamp
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import AskRefusedError, EventError
from schemas.reasons import NOTHING_TO_JUDGE, Reason
from schemas.record import SourceRecord
from workers.ask.admission import Admission

SOURCE_TOPIC = "http"
Item = Mapping[str, Any]
Spend = Callable[[int], None]
_STAMP = 1 << 48  # more than any time in milliseconds that is written with digits


class Answer(NamedTuple):
    """What became of one item.

    Attributes:
        outcome: its verdict, or why there is none.
        judged: what the guard wrote, by window; nothing where it was not asked.
        is_skipped: it holds nothing to judge, which the settings count as a normal end.
    """

    outcome: Outcome
    judged: Sequence[Judged] = ()
    is_skipped: bool = False


class Asking:
    """Answers questions.

    Args:
        moderation: what is decided before and after the model.
        judge: gets answers from the guard.
        admission: says whether there is time for a question.
        chunk_size: requests of one guard call.
        skips: an item with nothing to judge is no failure.
    """

    def __init__(
        self, moderation: Moderation, judge: RequestJudge, admission: Admission, *, chunk_size: int, skips: bool
    ) -> None:
        self._moderation = moderation
        self._judge = judge
        self._admission = admission
        self._chunk_size = chunk_size
        self._skips = skips

    def refuse_late(self, deadline: float) -> None:
        """Refuse before anything is read, where even the smallest question would be late.

        Raises:
            AskRefusedError: it would.
        """
        self._admission.refuse_unread(deadline)

    async def answer(
        self,
        items: Sequence[Item],
        tenant: str | None,
        deadline: float,
        carrier: Mapping[str, str] = NO_TRACE,
        spend: Spend = lambda _tokens: None,
    ) -> list[Answer]:
        """Answer each item, in order.

        Args:
            items: events as their senders write them; an id may be left out.
            tenant: whose policy applies; None leaves that to the items.
            deadline: time of the running loop's clock.
            carrier: W3C trace context that rides along to the batch.
            spend: told the estimated tokens before the guard is asked; may raise.

        Raises:
            AskRefusedError: there is no time for it, or the guard did not answer in time. No item has an answer then.
        """
        received_at = timestamp()
        admitted = [self._admit(item, number, tenant, carrier, received_at) for number, item in enumerate(items)]
        asked = [item for item in admitted if isinstance(item, Admitted)]
        tokens = sum(map(tokens_of, asked))
        spend(tokens)
        with self._admission.admitted(tokens, len(asked), deadline) as seat:
            judged = await self._ask(asked, deadline)
            seat.engine_s = max((engine_ms(one) for one in judged), default=0.0) / 1_000
        answers = iter(judged)
        judged_at = timestamp()
        return [
            self._decided(item, next(answers), judged_at)
            if isinstance(item, Admitted)
            else Answer(item, is_skipped=self._skips and is_blank(items[number], item.reason))
            for number, item in enumerate(admitted)
        ]

    def _admit(
        self, item: Item, number: int, tenant: str | None, carrier: Mapping[str, str], received_at: str
    ) -> Admitted | DeadLetter:
        event = dict(item)
        theirs = event.get("tenant")
        if tenant is not None:
            event["tenant"] = tenant
        value = json.dumps(event, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(value).hexdigest()
        if event.get("event_id") is None:
            event["event_id"] = f"ask-{digest[:32]}"
            value = json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")
        # In the place of a record's time: the same body has the same verdict ids, another has others.
        record = SourceRecord(SOURCE_TOPIC, 0, number, int(digest, 16) % _STAMP, None, value, ())
        if tenant is not None and theirs not in (None, "", tenant):
            foreign = EventError(Reason.INVALID_VALUE, "tenant: not that of the key")
            return dead_letter(record, terminal(foreign, record), group=SOURCE_TOPIC)
        return self._moderation.admit(record, carrier, received_at)

    async def _ask(self, asked: Sequence[Admitted], deadline: float) -> list[list[Judged]]:
        try:
            async with asyncio.timeout_at(deadline):
                chunks = await asyncio.gather(
                    *(ask_batch(chunk, self._judge) for chunk in in_chunks(asked, self._chunk_size))
                )
        except TimeoutError:
            raise AskRefusedError("unavailable", "the guard did not answer in time", retry_after_s=1.0) from None
        return [judged for chunk in chunks for judged in chunk]

    def _decided(self, item: Admitted, judged: list[Judged], judged_at: str) -> Answer:
        return Answer(self._moderation.decide(item, judged, judged_at).outcome, judged)


def tokens_of(item: Admitted) -> int:
    """Estimated tokens that the engine computes for an item: its text's, and the frame's around each request."""
    frame = QWEN3GUARD_GEN.frames[item.task]
    return sum(request.tokens + frame.tail + frame.draft for request in item.requests)


def engine_ms(judged: Iterable[Judged]) -> float:
    """The longest time in a batch."""
    return max((one.result.guard_ms for one in judged if isinstance(one.result, GuardAnswer)), default=0.0)


def in_chunks(items: Iterable[Admitted], size: int) -> Iterator[list[Admitted]]:
    """Items of `size` requests together, or one that has more; an item's requests stay together."""
    chunk: list[Admitted] = []
    requests = 0
    for item in items:
        if chunk and requests + len(item.requests) > size:
            yield chunk
            chunk, requests = [], 0
        chunk.append(item)
        requests += len(item.requests)
    if chunk:
        yield chunk


def is_blank(item: Item, reason: Reason) -> bool:
    """Whether an item is a text of nothing but white space. One of attachments only was not assessed: no such thing."""
    if reason not in NOTHING_TO_JUDGE:
        return False
    content = item.get("text")
    messages = item.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        content = messages[-1].get("content")
    return isinstance(content, str)
