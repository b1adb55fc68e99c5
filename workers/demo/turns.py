"""The demo's turns: sample answers that are written in deltas, and what came of them.

Produces and reads; does not judge.
"""

import json
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from schemas.turns.verdict import StreamVerdict
from workers.demo.corpus import held_out
from workers.kafka.producer import producer
from workers.kafka.reader import TopicReader
from workers.settings.loading import Settings
from workers.tools.verify.turn_ledger import TurnLedger
from workers.tools.verify.verify_turns import verify_turns

DELTA: Final = 6  # characters
MOST: Final = 400  # the same, of an answer
SEED: Final = 7
Conversation = tuple[dict[str, str], ...]


@dataclass(frozen=True)
class TurnsReport:
    """What the demo saw of them.

    Attributes:
        ledger: proven or not, with its counts.
        raised: answers that were raised, by category.
        shares: of each raised answer's text, how much of it had come by then.
    """

    ledger: TurnLedger
    raised: Counter[str]
    shares: list[float]


def answers(count: int) -> list[Conversation]:
    """Sample conversations that end with an answer, the same at every call."""
    found = (conversation for conversation, _ in held_out(SEED, 2 * count + 8, task="response"))
    return [conversation for conversation in found if len(conversation[-1]["content"]) <= MOST][:count]


def write_turns(settings: Settings, sample: list[Conversation]) -> None:
    """Write the frames of the answers, as if all of them were written at once."""
    random = Random(SEED)
    waiting = [frames_of(number, conversation) for number, conversation in enumerate(sample)]
    sender = producer(settings.kafka)
    while waiting:
        frames = random.choice(waiting)
        frame = frames.pop(0)
        sender.send(settings.topics.deltas, json.dumps(frame).encode(), frame["conversation_id"].encode())
        waiting = [left for left in waiting if left]
    sender.flush()
    sender.close()


def frames_of(number: int, conversation: Conversation) -> list[dict[str, Any]]:
    """One answer as frames."""
    *before, answer = conversation
    text = answer["content"]
    starts = range(0, len(text), DELTA)
    frames: list[dict[str, Any]] = [
        {"conversation_id": f"turn-{number}", "turn": 0, "seq": seq, "delta": text[start : start + DELTA]}
        for seq, start in enumerate(starts)
    ]
    frames[0]["messages"] = before
    frames[-1]["final"] = True
    return frames


def ended(settings: Settings) -> int:
    """Turns that have a last verdict by now."""
    return verify_turns(settings).ended


def read_turns(settings: Settings, sample: list[Conversation]) -> TurnsReport:
    """What is said of them."""
    raised = Counter[str]()
    shares = []
    with TopicReader(settings.kafka) as reader:
        for record in reader.read(reader.ranges([settings.topics.stream])):
            said = StreamVerdict.model_validate_json(record.value or b"")
            if said.final or said.role == "user":
                continue
            text = sample[int(said.conversation_id.removeprefix("turn-"))][-1]["content"]
            raised[str(said.category)] += 1
            shares.append((said.offset or 0) / len(text))
    return TurnsReport(verify_turns(settings), raised, shares)
