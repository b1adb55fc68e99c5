"""Every exception of Weir, in one tree.

* ModerationError
  x RetriableError             the record is fine, something around it is not: hold and try again (P5)
    + GuardUnavailableError    no replica answered: dead, starting, overloaded, gone
    + ReplicaLateError         a call waits in a replica for a batch that takes long: it is made again
  x GuardCallFailedError       a call raised in our own code: bisect, then blame the one record (P6)
  x GuardCrashError            the replica died while it ran the call: retry, count, isolate (P6)
  x BatchHangsError            an engine does not come back from a batch: its replica ends
  x TerminalError              this record alone is at fault: it becomes a dead letter
    + EventError               the bytes or fields of the event
    + UnparsableOutputError    the model's output is off the grammar (P3)
    + ItemError                the guard says so of this one item
    + FrameRefusedError        a delta frame that contradicts those before it
  x UnreadableRecordsError     a partition's next records cannot be read: hold that partition, say so
  x BatchTooLargeError         a compressed batch has more bytes than are read of one
  x RemoteCallError            one call of a server that runs the model: try another, hold, or halve the call
  x AskRefusedError            a question over HTTP that gets no answer: wrong, or too much now
  x FileFormError              a file is not what its name says
  x ConfigurationError         a setting or file is wrong: the start is refused

No message of an error holds message text or model output (P10).
"""

from collections.abc import Mapping
from typing import Literal

from schemas.reasons import STAGE_OF, Reason, Stage


class ModerationError(Exception):
    """Root of all errors raised by Weir."""


class RetriableError(ModerationError):
    """The record is fine; hold it, consume no attempt, try again."""


class GuardUnavailableError(RetriableError):
    """No guard replica could answer."""


class ReplicaLateError(RetriableError):
    """A batch of the replica takes long, and nothing of this call is in it: another replica may answer at once."""


class GuardCallFailedError(ModerationError):
    """A guard call raised inside the replica's code; some record of the call may be the cause."""


class GuardCrashError(ModerationError):
    """The guard replica died while it was running this call."""


class BatchHangsError(ModerationError):
    """An engine does not come back from a batch."""


class TerminalError(ModerationError):
    """This record alone is at fault.

    Args:
        reason: closed reason code, which decides the stage as well.
        detail: what was wrong, naming field and value, never message text.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    @property
    def stage(self) -> Stage:
        """Stage that the reason belongs to."""
        return STAGE_OF[self.reason]


class EventError(TerminalError):
    """The record's bytes or fields are not a chat event that can be judged."""


class UnparsableOutputError(TerminalError):
    """The model's output as a whole does not match the verdict grammar.

    The detail names the rule that was broken, never the output.
    """

    def __init__(self, detail: str, reason: Reason = Reason.UNPARSABLE_OUTPUT) -> None:
        super().__init__(reason, detail)


class ItemError(TerminalError):
    """The guard answered with an error for this one item, or the item failed alone."""


FrameFault = Literal[
    "seq_conflict",
    "offset_conflict",
    "role_conflict",
    "delta_after_final",
    "messages_missing",
    "too_many_held",
]


class FrameRefusedError(TerminalError):
    """A delta frame contradicts those of its turn that came before it; the turn is not touched.

    Args:
        code: closed code of what is wrong.
        detail: names field and value, never message text.
    """

    def __init__(self, code: FrameFault, detail: str) -> None:
        super().__init__(Reason.INVALID_VALUE, detail)
        self.code = code


class UnreadableRecordsError(ModerationError):
    """The next records of a partition cannot be read: they are damaged, or compressed by an unknown codec.

    Args:
        topic: the topic.
        partition: the partition.
        offset: of the first record that could not be read, or of one before it.
        fault: kind of error that reading ended with.
        end: offset behind the batch that cannot be read; None where that cannot be trusted.
    """

    def __init__(self, topic: str, partition: int, offset: int, fault: str, end: int | None = None) -> None:
        super().__init__(f"records of {topic}-{partition} cannot be read from offset {offset} on: {fault}")
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.fault = fault
        self.end = end


class BatchTooLargeError(ModerationError):
    """A batch decompresses to more than is read of one."""


class AskRefusedError(ModerationError):
    """A question over HTTP is not answered.

    Args:
        code: closed code, which decides the HTTP status.
        detail: what is wrong, naming field and rule, never message text.
        param: the field at fault.
        index: of the item at fault.
        reason: why there is no verdict for that item.
        retry_after_s: when to come again, in seconds.
        sheds: there is too much to do, and coming again early makes it worse.
        expected: of a frame that does not fit its turn: what would.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        param: str | None = None,
        index: int | None = None,
        reason: Reason | None = None,
        retry_after_s: float | None = None,
        sheds: bool = False,
        expected: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.param = param
        self.index = index
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.sheds = sheds
        self.expected = expected


class FileFormError(ModerationError, ValueError):
    """A file is not what its name says; in words that quote nothing of it."""


class ConfigurationError(ModerationError):
    """A setting, policy file or pair of settings is wrong; names the key and the value."""


Fault = Literal["busy", "gone", "crashed", "failed", "rejected", "mismatched"]


class RemoteCallError(ModerationError):
    """A server that runs the model gave no answer that may be used; never leaves `workers.serving.remote`.

    Args:
        fault: `busy`: it takes nothing on now; `gone`: no whole answer in time; `crashed`: it died of something;
            `failed`: it raised and lives on; `rejected`: it refuses the prompts; `mismatched`: it is not what it should
            be, or not asked as it should be, so that each of its answers would be wrong.
        what: what was seen, in words of our own.
        retry_after_s: how long it asks to be left alone; None where it does not say.
    """

    def __init__(self, fault: Fault, what: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{fault}: {what}")
        self.fault = fault
        self.what = what
        self.retry_after_s = retry_after_s
