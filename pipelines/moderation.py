"""One record before and after the model: decode, fit; parse, decide. Every record ends as a verdict or a dead letter.

Does not call the guard; `pipelines.judge_batch` does. Knows nothing of Kafka clients or Ray.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import NamedTuple

from pipelines.guard import GuardAnswer, GuardRequest, Judged
from pipelines.guard_family import QWEN3GUARD_GEN, GuardFamily
from pipelines.guard_parser import Classification, worst
from pipelines.length import LengthRule
from pipelines.policy import Policy
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import ItemError, TerminalError, UnparsableOutputError
from schemas.event import ChatEvent, Task
from schemas.event_codec import decode_event
from schemas.reasons import Reason
from schemas.record import SourceRecord
from schemas.verdict import AppliedPolicy, Handling, Provenance, Scores, Severity
from schemas.verdict_writer import Kind, VerdictText, VerdictWriter, verdict_id, verdict_id_base

Outcome = VerdictText | DeadLetter
log = logging.getLogger(__name__)
NO_TRACE: Mapping[str, str] = {}
_ROUNDING = 1e-3
_MOST_WRITERS = 8  # models that answer at one time: two, while one replaces the other


class Admitted(NamedTuple):
    """A record that is well-formed and fits: what is asked of the guard, one request per window.

    Holds the event's parts and not the event: thousands of records wait for the guard at a time, and the less memory
    they take, the more of it stays in the processor's cache (a third of all time, measured).
    """

    record: SourceRecord
    event_id: str
    conversation_id: str | None
    tenant: str
    task: Task
    requests: tuple[GuardRequest, ...]
    handling: Handling
    characters_dropped: int
    received_at: str


class Ruling(NamedTuple):
    """An outcome, and the extra topics that the policy routes it to."""

    outcome: Outcome
    topics: tuple[str, ...] = ()


class Moderation:
    """What is decided before and after the model.

    Args:
        policy: from classification to action.
        length: what happens to long conversations.
        max_event_bytes: largest record value accepted.
        group: consumer group, named in dead letters.
        family: of the models that answer.
    """

    def __init__(
        self,
        policy: Policy,
        length: LengthRule,
        *,
        max_event_bytes: int,
        group: str,
        family: GuardFamily = QWEN3GUARD_GEN,
    ) -> None:
        self._policy = policy
        self._applied = {
            severity: AppliedPolicy(name=policy.name, version=policy.version, sha256=policy.sha256, treated_as=severity)
            for severity in Severity
        }
        self._length = length
        self._family = family
        self._writers: dict[Provenance, tuple[VerdictWriter, hashlib._Hash]] = {}
        self._seen: Provenance | None = None
        self._last: tuple[VerdictWriter, hashlib._Hash] | None = None
        self._max_event_bytes = max_event_bytes
        self._group = group

    def admit(
        self, record: SourceRecord, carrier: Mapping[str, str] = NO_TRACE, received_at: str | None = None
    ) -> Admitted | DeadLetter:
        """Decode, validate and fit one record.

        Args:
            record: as consumed.
            carrier: W3C trace context that rides along to the GPU batch.
            received_at: RFC 3339 time of its arrival; now if not given.
        """
        try:
            event = decode_event(record, self._max_event_bytes)
        except Exception as error:  # noqa: BLE001 - see _terminal
            return dead_letter(record, _terminal(error, record), group=self._group)
        return self.admit_event(record, event, carrier, received_at)

    def admit_event(
        self,
        record: SourceRecord,
        event: ChatEvent,
        carrier: Mapping[str, str] = NO_TRACE,
        received_at: str | None = None,
    ) -> Admitted | DeadLetter:
        """Fit the event of a record, which is not looked into; see `admit`."""
        try:
            fitted = self._length.fit(event.messages)
        except Exception as error:  # noqa: BLE001 - see _terminal
            return dead_letter(record, _terminal(error, record), group=self._group)
        requests = tuple(map(GuardRequest, fitted.conversations, fitted.tokens, repeat(carrier)))
        return Admitted(
            record,
            event.event_id,
            event.conversation_id,
            event.tenant,
            event.task,
            requests,
            fitted.handling,
            fitted.characters_dropped,
            received_at or timestamp(),
        )

    def decide(self, admitted: Admitted, judged: Sequence[Judged], judged_at: str | None = None) -> Ruling:
        """Parse the answers to one record's requests and apply the tenant's policy.

        Args:
            admitted: the record.
            judged: one per request, in order; `is_mixed` must be false of them.
            judged_at: RFC 3339 time of the answers; now if not given.
        """
        answers: list[GuardAnswer] = []
        classifications: list[Classification] = []
        try:
            for item in judged:
                answers.append(_answer(item))
                classifications.append(_parse(answers[-1], admitted.task, self._family))
            return self._rule(admitted, answers, classifications, judged[0].provenance, judged_at or timestamp())
        except Exception as error:  # noqa: BLE001 - see _terminal
            unparsable = isinstance(error, UnparsableOutputError)
            return Ruling(
                dead_letter(
                    admitted.record,
                    _terminal(error, admitted.record),
                    group=self._group,
                    attempts=max(item.attempts for item in judged),
                    provenance=judged[0].provenance,
                    raw_output_sha256=_digest(answers[-1].text) if unparsable else None,
                )
            )

    def _rule(
        self,
        admitted: Admitted,
        answers: Sequence[GuardAnswer],
        classifications: Sequence[Classification],
        provenance: Provenance,
        judged_at: str,
    ) -> Ruling:
        record, event_id, conversation_id, tenant, task, _, handling, characters_dropped, received_at = admitted
        classification = worst(classifications)
        severity, categories, refusal = classification.severity, classification.categories, classification.refusal
        action, treated_as, topics = self._policy.decide(classification, tenant)
        _, _, scores, prompt_tokens, output_tokens, _, _, queue_ms, guard_ms = answers[0]
        if len(answers) > 1:
            # The scores are those of the first window that is as bad as the whole.
            scores = answers[[window.severity for window in classifications].index(severity)].scores
            prompt_tokens = sum(answer.prompt_tokens for answer in answers)
            output_tokens = sum(answer.output_tokens for answer in answers)
            queue_ms = max(answer.queue_ms for answer in answers)
            guard_ms = max(answer.guard_ms for answer in answers)
        writer, id_base = self._writer_for(provenance)
        verdict = writer.write(
            Kind(task, severity, categories, refusal, action, treated_as, handling),
            (
                verdict_id(id_base, record, event_id),
                event_id,
                conversation_id,
                tenant,
                None if scores is None else _scores(scores, self._family),
                record.topic,
                record.partition,
                record.offset,
                prompt_tokens,
                output_tokens,
                len(answers),
                characters_dropped,
                received_at,
                judged_at,
                queue_ms,
                guard_ms,
            ),
        )
        return Ruling(verdict, topics)

    def _writer_for(self, provenance: Provenance) -> "tuple[VerdictWriter, hashlib._Hash]":
        if provenance is not self._seen:  # each reply brings its own, mostly equal to the one before
            if provenance not in self._writers:
                if len(self._writers) >= _MOST_WRITERS:
                    self._writers.clear()
                base = verdict_id_base(provenance, self._policy.sha256, self._length.signature)
                self._writers[provenance] = VerdictWriter(provenance, self._applied), base
            self._seen, self._last = provenance, self._writers[provenance]
        assert self._last is not None
        return self._last


def _terminal(error: Exception, record: SourceRecord) -> TerminalError:
    """What a record's dead letter says.

    An unforeseen error is a bug of ours that this record has met. Raising it would stop the partition at this record
    for ever, and its neighbours with it (P6). So it is logged as an error, and the record becomes a dead letter.
    """
    if isinstance(error, TerminalError):
        return error
    if isinstance(error, MemoryError):
        raise error
    told = {"event": "internal_error", "error": type(error).__name__, "record_id": record.record_id}
    log.error("internal error: %s, record %s", told["error"], told["record_id"], exc_info=error, extra={"fields": told})
    return TerminalError(Reason.INTERNAL_ERROR, f"internal error: {type(error).__name__}")


def timestamp() -> str:
    """Now, as RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def is_mixed(judged: Sequence[Judged]) -> bool:
    """True where windows of one record were judged by two models, as can happen while one replaces the other.

    One verdict has one provenance (P7), so such a record has to be judged again.
    """
    return len(judged) > 1 and len({item.provenance for item in judged if item.provenance is not None}) > 1


def _answer(item: Judged) -> GuardAnswer:
    if isinstance(item.result, ItemError):
        raise item.result
    if item.result.error is not None:
        raise ItemError(item.result.error, f"the guard answered {item.result.error} for this item")
    return item.result


def _parse(answer: GuardAnswer, task: Task, family: GuardFamily) -> Classification:
    if not answer.finished:
        raise UnparsableOutputError(
            f"output cut off after {answer.output_tokens} tokens without a stop token", Reason.OUTPUT_CUT_OFF
        )
    return family.parse(answer.text, task)


def _digest(text: str) -> str:
    # Whatever was written, also lone surrogates: a digest must not be what stops a worker.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _scores(scores: Mapping[str, Mapping[str, float]], family: GuardFamily) -> Scores:
    refusal = scores.get("refusal")
    return Scores(
        severity={family.severities[label]: _probability(value) for label, value in scores["safety"].items()},
        categories={label: _probability(value) for label, value in scores["category"].items()},
        refusal=None if refusal is None else _probability(refusal[family.refusal_label]),
    )


def _probability(value: float) -> float:
    """A probability out of floating-point arithmetic: at most a rounding error outside of 0 to 1, or an error."""
    if not -_ROUNDING <= value <= 1 + _ROUNDING:  # NaN, too
        raise ItemError(Reason.NON_FINITE_LOGITS, "a score is not a probability")
    return min(1.0, max(0.0, value))
