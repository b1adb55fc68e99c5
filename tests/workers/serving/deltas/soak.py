"""Keeps turns by the thousand open for as long as wanted, with fewer pages than they need, and looks at the memory.

    python -m tests.workers.serving.deltas.soak --seconds 3600 --judged 10000

Real weights, those of the demo's tiny Stream model. Each turn that ends is replaced by a new one; what is said of it is
compared with the same text judged alone. It ends when it has run as long and judged as many turns as asked; time in
which the process was stopped (SIGSTOP) does not count. Exits with 1 if one differs, or anything is left over.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from pipelines.turns.port import SESSION_UNKNOWN, JudgedToken, TurnKey, TurnPush
from tests.site import OFF
from workers.demo.corpus_words import JARGON
from workers.serving.deltas.sessions import TurnSessions
from workers.serving.engine.stream_guard import StreamGuard

ASKED: Final = ({"role": "user", "content": "where is the river?"},)
PLAIN: Final = (
    "the",
    "river",
    "is",
    "long",
    "and",
    "lamp",
    "here,",
    "you",
    "said;",
    "bring",
    "quick",
    "\U0001f600",
    "漢字",
    "",
)
DELTA: Final = 8  # characters of a delta, on average
A_CALL: Final = 64  # pushes of one call
CALL_SECONDS: Final = 20.0  # a call that took longer was stopped in between
SAMPLE_SECONDS: Final = 60.0
TEXTS: Final = 100


def texts(draw: random.Random) -> list[str]:
    """Answers of 20 to 600 characters, some with a word of a class."""
    nouns = [noun for pair in JARGON.values() for noun in pair]
    found = []
    for _ in range(TEXTS):
        words = draw.choices(PLAIN, k=draw.randint(5, 120))
        if draw.random() < 0.3:
            words.insert(draw.randrange(len(words)), draw.choice(nouns))
        found.append(" ".join(words))
    return found


class Soak:
    """`turns` open turns of some tenants, pushed in random order and in random pieces."""

    def __init__(self, sessions: TurnSessions, turns: int, draw: random.Random) -> None:
        self.sessions = sessions
        self.counts: Counter[str] = Counter()
        self._draw = draw
        self._texts = texts(draw)
        self._alone: dict[str, tuple[JudgedToken, ...]] = {}
        self._names = iter(range(sys.maxsize))
        self._turns = [self._new() for _ in range(turns)]

    def _new(self) -> "OpenTurn":
        name = next(self._names)
        return OpenTurn(TurnKey(f"tenant-{name % 7}", f"conversation-{name}", 0), self._draw.choice(self._texts))

    async def judge_texts_alone(self) -> None:
        """What is to be said of each text."""
        for index, text in enumerate(self._texts):
            key = TurnKey("alone", str(index), 0)
            reply = await self.sessions.push([TurnPush(key, ASKED, 0, text, True, 0, True, {})])
            self._alone[text] = tuple(reply.answers[0].tokens)

    async def go_on(self) -> None:
        """One call: the next delta of some turns; a session that is gone is given the text again."""
        chosen = self._draw.sample(range(len(self._turns)), min(A_CALL, len(self._turns)))
        asked = {index: self._turns[index].next(self._draw) for index in chosen}
        while asked:
            reply = await self.sessions.push(list(asked.values()))
            again: dict[int, TurnPush] = {}
            for (index, push), answer in zip(asked.items(), reply.answers, strict=True):
                turn = self._turns[index]
                if answer.error == SESSION_UNKNOWN:
                    self.counts["replayed"] += 1
                    again[index] = turn.whole(push)
                    continue
                turn.take(push, answer.tokens)
                self.counts["deltas"] += 1
                if answer.error is not None:
                    self.counts[answer.error] += 1
                if push.final:
                    self._compare(turn)
                    self._turns[index] = self._new()
            asked = again

    async def end(self) -> None:
        """End all that are open, each with the whole of its text."""
        for first in range(0, len(self._turns), A_CALL):
            turns = self._turns[first : first + A_CALL]
            reply = await self.sessions.push(
                [TurnPush(turn.key, ASKED, 0, turn.text, True, 0, False, {}) for turn in turns]
            )
            for turn, answer in zip(turns, reply.answers, strict=True):
                turn.settled = list(answer.tokens)
                self._compare(turn)

    def _compare(self, turn: "OpenTurn") -> None:
        self.counts["turns"] += 1
        self.counts["differs"] += tuple(turn.settled) != self._alone[turn.text]


class OpenTurn:
    """A turn, how much of its text was sent, and what is settled of it."""

    def __init__(self, key: TurnKey, text: str) -> None:
        self.key = key
        self.text = text
        self.at = 0
        self.settled: list[JudgedToken] = []

    def next(self, draw: random.Random) -> TurnPush:
        """The next delta; the first opens the session."""
        end = min(len(self.text), self.at + draw.randint(1, 2 * DELTA))
        return TurnPush(
            self.key,
            None if self.at else ASKED,
            self.at,
            self.text[self.at : end],
            end == len(self.text),
            len(self.settled),
            False,
            {},
        )

    def whole(self, push: TurnPush) -> TurnPush:
        """The same with all of the text before it."""
        return push._replace(messages=ASKED, at=0, text=self.text[: push.at + len(push.text)])

    def take(self, push: TurnPush, tokens: Sequence[JudgedToken]) -> None:
        """What was said of the delta that was pushed."""
        self.at = push.at + len(push.text)
        self.settled += [token for token in tokens if not token.provisional]


def resident_mib() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


async def soak(seconds: float, judged: int, turns: int, pages: int, seed: int) -> int:
    """Run, report, and return the exit status."""
    guard = StreamGuard.load("demo", device="cpu", max_pages=pages, max_sessions=turns + 1)
    sessions = TurnSessions(guard, turns, OFF)
    run = Soak(sessions, turns, random.Random(seed))
    await run.judge_texts_alone()
    gone = 0.0
    memory: list[float] = []
    try:
        while gone < seconds or run.counts["turns"] < judged:
            start = time.monotonic()
            await run.go_on()
            gone += min(time.monotonic() - start, CALL_SECONDS)
            if gone >= len(memory) * SAMPLE_SECONDS:
                memory.append(resident_mib())
                sys.stderr.write(
                    f"{gone:6.0f} s  {memory[-1]:7.1f} MiB  {sessions.sessions} open  {sessions.pages} pages"
                    f"  {dict(run.counts)}  {dict(sessions.counts)}\n"
                )
        await run.end()
    finally:
        sessions.close()
    third = len(memory) // 3
    report = {
        "seconds": round(gone),
        "turns_open": turns,
        "max_pages": pages,
        "page_bytes": guard.page_bytes,
        **run.counts,
        **sessions.counts,
        "mib_by_third": [median(part) for part in (memory[:third], memory[third:-third], memory[-third:]) if part],
        "sessions_left": sessions.sessions,
        "pages_left": guard.live_pages,
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return int(bool(run.counts["differs"] or sessions.sessions or guard.live_pages))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--judged", type=int, default=10_000, help="turns to judge, at least")
    parser.add_argument("--turns", type=int, default=10_000, help="turns open at once")
    parser.add_argument("--pages", type=int, default=36_000, help="fewer than the turns need")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.exit(asyncio.run(soak(options.seconds, options.judged, options.turns, options.pages, options.seed)))


if __name__ == "__main__":
    main()
