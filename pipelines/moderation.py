"""One record before and after the model: decode, fit; parse, decide. Every record ends as a verdict or a dead letter.

Does not call the guard; `pipelines.judging` does. Knows nothing of Kafka clients or Ray.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import NamedTuple

from pipelines.failure import failure_of, terminal
from pipelines.fitting.length import LengthRule, fit
from pipelines.fitting.structure import JUDGED_IN_PARTS, StructureRule
from pipelines.guard import GuardAnswer, GuardRequest, Judged
from pipelines.guard_family import QWEN3GUARD_GEN, GuardFamily, scores_of
from pipelines.guard_parser import Classification, worst
from pipelines.policy import Policy
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.errors import ItemError, UnparsableOutputError
from schemas.event import ChatEvent, Task, decode_event
from schemas.handling import Handled, Handling
from schemas.reasons import Reason
from schemas.record import SourceRecord
from schemas.verdict import AppliedPolicy, LengthHandling, Provenance, Severity
from schemas.verdict_form import Kind
from schemas.verdict_writer import VerdictText, VerdictWriter, verdict_id, verdict_id_base

Outcome = VerdictText | DeadLetter
NO_TRACE: Mapping[str, str] = {}
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
    length_handling: LengthHandling
    characters_dropped: int
    handling: Handling
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
        structure: what happens to texts that look like a conversation; None to judge them as they are and no more.
    """

    def __init__(
        self,
        policy: Policy,
        length: LengthRule,
        *,
        max_event_bytes: int,
        group: str,
        family: GuardFamily = QWEN3GUARD_GEN,
        structure: StructureRule | None = JUDGED_IN_PARTS,
    ) -> None:
        self._policy = policy
        self._applied = {
            severity: AppliedPolicy(name=policy.name, version=policy.version, sha256=policy.sha256, treated_as=severity)
            for severity in Severity
        }
        self._length = length
        self._structure = structure
        self._rules = f"{length.signature}:{structure.signature if structure else None}"
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
        except Exception as error:  # noqa: BLE001 - see pipelines.failure
            return dead_letter(record, terminal(error, record), group=self._group)
        return self.admit_event(record, event, carrier, received_at)

    def admit_event(
        self,
        record: SourceRecord,
        event: ChatEvent,
        carrier: Mapping[str, str] = NO_TRACE,
        received_at: str | None = None,
    ) -> Admitted | DeadLetter:
        """Fit the event of a record, which is not looked into; see `admit`."""
        handling = event.handling
        try:
            texts = [turn["content"] for turn in event.messages]
            # One of these two characters is in all that a template writes around texts, and in few messages.
            if self._structure and any(self._structure.found_in(text) for text in texts if ":" in text or ">" in text):
                fitted, found = self._structure.fit(event.messages, self._length)
                handling = {**handling, Handled.STRUCTURE_IN_TEXT: found}
            else:
                fitted = fit(event.messages, self._length)
        except Exception as error:  # noqa: BLE001 - see pipelines.failure
            return dead_letter(record, terminal(error, record), group=self._group)
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
            handling,
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
        except Exception as error:  # noqa: BLE001 - see pipelines.failure
            text = answers[-1].text if answers else None
            return Ruling(failure_of(admitted.record, error, judged, text, self._group))

    def _rule(
        self,
        admitted: Admitted,
        answers: Sequence[GuardAnswer],
        classifications: Sequence[Classification],
        provenance: Provenance,
        judged_at: str,
    ) -> Ruling:
        record, event_id, conversation_id, tenant, task, _, length_handling, dropped, handling, received_at = admitted
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
            Kind(task, severity, categories, refusal, action, treated_as, length_handling),
            (
                verdict_id(id_base, record, event_id),
                event_id,
                conversation_id,
                tenant,
                None if scores is None else scores_of(scores, self._family),
                record.topic,
                record.partition,
                record.offset,
                prompt_tokens,
                output_tokens,
                len(answers),
                dropped,
                handling,
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
                base = verdict_id_base(provenance, self._policy.sha256, self._rules)
                self._writers[provenance] = VerdictWriter(provenance, self._applied), base
            self._seen, self._last = provenance, self._writers[provenance]
        assert self._last is not None
        return self._last


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
