"""Has the consumer that waits for an unreadable batch give it up."""

from schemas.errors import ModerationError
from workers.tools.inspect.replicas import ask_consumers


def skip(topic: str, partition: int, timeout_s: float) -> tuple[int, int] | None:
    """Give up the batch that a partition waits for.

    Returns:
        Its first offset and the one behind it; None where no consumer waits there for one whose end is known.

    Raises:
        ModerationError: see `ask_consumers`; or a consumer that may be the one has not answered.
    """
    answers, _ = ask_consumers("give_up", topic, partition, timeout_s=timeout_s)
    found = [answer for answer in answers if isinstance(answer, tuple)]
    if not found and (silent := sum(isinstance(answer, BaseException) for answer in answers)):
        raise ModerationError(f"{silent} of {len(answers)} workers have not answered: ask again")
    return found[0] if found else None
