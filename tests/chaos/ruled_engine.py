"""The scripted guard as an engine, inside a real guard replica on Ray Serve, which a text can kill or hold for good.

Notes in a file for each process when it was ready and when a batch began and ended, for a test to read.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.chaos.ruled_guard import HANG, HANG_ONCE, KILL, RAISE, STALLED, STEP_S, output_for, wait_asked_ms
from workers.serving.engine.completion import Completion, Conversation, Engine, EngineIdentity, PreparedPrompt
from workers.serving.guard_replica import DeployedGuardReplica
from workers.settings.loading import Settings

READY, BEGUN, ENDED = "ready", "begun", "ended"
ONCE_S = 10.0


class Note(NamedTuple):
    """What a replica did: `at` is in seconds since the epoch, `size` the number of prompts of a batch."""

    pid: int
    at: float
    what: str
    size: int


class RuledEngine(Engine):
    """Obeys the texts, and one file: while `guard-stalled` is there, batches do not end.

    Args:
        folder: where the file is looked for, and the notes go.
    """

    identity = EngineIdentity("ruled", "1", "0", "ruled", "none", "cpu")

    def __init__(self, folder: Path) -> None:
        self._stalled = folder / STALLED
        self._hung = folder / "replica-has-hung"
        self._notes = folder / f"replica-{os.getpid()}.notes"
        self._note(READY, 0)

    def prepare(self, conversation: Conversation) -> PreparedPrompt | Completion:
        """See `Engine`."""
        text = str(conversation[-1]["content"])
        return PreparedPrompt(np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64), "prompt")

    def run(self, prompts: Sequence[PreparedPrompt]) -> list[Completion]:
        """See `Engine`."""
        texts = [bytes(prompt.token_ids.astype(np.uint8)).decode() for prompt in prompts]
        self._note(BEGUN, len(texts))
        if any(HANG_ONCE in text for text in texts) and not self._hung.exists():
            self._hung.touch()
            time.sleep(ONCE_S)
        hangs = any(HANG in text for text in texts)
        while hangs or self._stalled.exists():
            time.sleep(STEP_S)
        time.sleep(max(map(wait_asked_ms, texts)) / 1000)
        if any(KILL in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        if any(RAISE in text for text in texts):
            raise RuntimeError("a text of this batch says that it shall raise")
        self._note(ENDED, len(texts))
        return [Completion(output_for(text), None, None, 10, 8, "stop") for text in texts]

    def judge(self, conversations: Sequence[Conversation]) -> list[Completion]:
        """See `Engine`; replicas do not use it."""
        raise NotImplementedError

    def _note(self, what: str, size: int) -> None:
        with self._notes.open("a") as file:
            file.write(json.dumps(Note(os.getpid(), time.time(), what, size)) + "\n")


class RuledReplica(DeployedGuardReplica):
    """A guard replica with that engine; the setting `guard.model` names the folder."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, RuledEngine(Path(settings.guard.model)))


class ReplicasAsSet:
    """A scaling policy: as many replicas as the file says."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)

    def __call__(self, _context: Any) -> tuple[int, dict[str, Any]]:
        """Return the number, and no state."""
        return int(self._file.read_text()), {}


def notes(folder: Path) -> list[Note]:
    """What all replicas of a folder have noted, oldest first."""
    found = []
    for file in folder.glob("replica-*.notes"):
        # The last piece is a line that is being written, or empty.
        found += [Note(*json.loads(line)) for line in file.read_text().split("\n")[:-1]]
    return sorted(found, key=lambda note: note.at)
