"""The closed vocabularies of a failure: its stage and its reason.

Both have few values on purpose, so that they can be metric attributes and `error.type`.
Knows nothing of exceptions; `schemas.errors` ties each reason to an error class.
"""

from enum import StrEnum


class Stage(StrEnum):
    """Where in the life of a message a dead letter was made."""

    CONSUME = "consume"
    DECODE = "decode"
    VALIDATE = "validate"
    RENDER = "render"
    INFER = "infer"
    PARSE = "parse"
    PUBLISH = "publish"


class Reason(StrEnum):
    """Why a record became a dead letter; every reason belongs to one stage (`STAGE_OF`)."""

    TOMBSTONE = "tombstone"
    UNREADABLE_BATCH = "unreadable_batch"
    EVENT_TOO_LARGE = "event_too_large"
    NOT_UTF8 = "not_utf8"
    INVALID_JSON = "invalid_json"
    MALFORMED_ROW = "malformed_row"
    NESTED_TOO_DEEPLY = "nested_too_deeply"
    INVALID_CLOUDEVENT = "invalid_cloudevent"
    UNSUPPORTED_CONTENT_TYPE = "unsupported_content_type"
    UNSUPPORTED_VERSION = "unsupported_version"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    INVALID_VALUE = "invalid_value"
    EMPTY_MESSAGES = "empty_messages"
    BLANK_TEXT = "blank_text"
    LONE_SURROGATE = "lone_surrogate"
    UNSUPPORTED_ROLE = "unsupported_role"
    STRUCTURE_IN_TEXT = "structure_in_text"
    TOO_LONG = "too_long"
    NOT_RENDERED = "not_rendered"
    CONTEXT_OVERFLOW = "context_overflow"
    NON_FINITE_LOGITS = "non_finite_logits"
    INFERENCE_FAILED = "inference_failed"
    REPLICA_CRASH = "replica_crash"
    UNPARSABLE_OUTPUT = "unparsable_output"
    OUTPUT_CUT_OFF = "output_cut_off"
    VERDICT_TOO_LARGE = "verdict_too_large"
    INTERNAL_ERROR = "internal_error"


# A normal end, unless `events.nothing_to_judge` asks for dead letters: the record alone says that nothing was written.
NOTHING_TO_JUDGE = frozenset({Reason.TOMBSTONE, Reason.BLANK_TEXT})

STAGE_OF: dict[Reason, Stage] = {
    Reason.TOMBSTONE: Stage.DECODE,
    Reason.UNREADABLE_BATCH: Stage.CONSUME,
    Reason.EVENT_TOO_LARGE: Stage.DECODE,
    Reason.NOT_UTF8: Stage.DECODE,
    Reason.INVALID_JSON: Stage.DECODE,
    Reason.MALFORMED_ROW: Stage.CONSUME,
    Reason.NESTED_TOO_DEEPLY: Stage.DECODE,
    Reason.INVALID_CLOUDEVENT: Stage.DECODE,
    Reason.UNSUPPORTED_CONTENT_TYPE: Stage.DECODE,
    Reason.UNSUPPORTED_VERSION: Stage.VALIDATE,
    Reason.MISSING_FIELD: Stage.VALIDATE,
    Reason.WRONG_TYPE: Stage.VALIDATE,
    Reason.INVALID_VALUE: Stage.VALIDATE,
    Reason.EMPTY_MESSAGES: Stage.VALIDATE,
    Reason.BLANK_TEXT: Stage.VALIDATE,
    Reason.LONE_SURROGATE: Stage.VALIDATE,
    Reason.UNSUPPORTED_ROLE: Stage.VALIDATE,
    Reason.STRUCTURE_IN_TEXT: Stage.RENDER,
    Reason.TOO_LONG: Stage.RENDER,
    Reason.NOT_RENDERED: Stage.RENDER,
    Reason.CONTEXT_OVERFLOW: Stage.RENDER,
    Reason.NON_FINITE_LOGITS: Stage.INFER,
    Reason.INFERENCE_FAILED: Stage.INFER,
    Reason.REPLICA_CRASH: Stage.INFER,
    Reason.UNPARSABLE_OUTPUT: Stage.PARSE,
    Reason.OUTPUT_CUT_OFF: Stage.PARSE,
    Reason.VERDICT_TOO_LARGE: Stage.PUBLISH,
    Reason.INTERNAL_ERROR: Stage.CONSUME,
}
