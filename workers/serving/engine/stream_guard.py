"""Judges an answer while it is being written, token by token, with a Qwen3Guard-Stream model.

What is said of a token depends on the model and on the text up to it, to the last bit: not on how the text was cut into
deltas, on the sessions that share a step, or on pages that were given up and computed again. Knows nothing of topics,
connections or policies.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import torch

from workers.serving.engine.completion import Conversation, EngineIdentity
from workers.serving.engine.prompt import has_utf8
from workers.serving.engine.streaming.grid import TILE, Grid, Stretch
from workers.serving.engine.streaming.opening import Opener
from workers.serving.engine.streaming.session import RoleLabels, Session
from workers.serving.engine.streaming.stream_model import StreamModel, load_stream_model
from workers.serving.engine.streaming.turn_text import TurnText
from workers.serving.engine.streaming.verdicts import (
    DEBOUNCES,
    Debounce,
    Raising,
    SessionRefusedError,
    StreamReason,
    TokenVerdicts,
)

Push: TypeAlias = tuple[Session, str, bool]
_MAX_SESSIONS: Final = 10_000
_MAX_DELTA: Final = 65_536
_CONTROL_GROUP: Final = Path("/sys/fs/cgroup")


class StreamGuard:
    """Sessions of one model, judged in steps of a fixed size; built by `load`. One call at a time.

    `debounce` says when an answer is raised ("paper" or "script", see `Raising`). At most `max_sessions` are open, and
    their keys and values take at most `max_pages` pages of 16 tokens, by default what half of the free memory holds:
    beyond that, the sessions that were pushed longest ago lose theirs, and compute them again when they go on. A delta
    has at most `max_delta` characters. Raises ValueError for limits that cannot work.
    """

    def __init__(
        self,
        model: StreamModel,
        *,
        debounce: Debounce = "paper",
        max_sessions: int = _MAX_SESSIONS,
        max_pages: int | None = None,
        max_delta: int = _MAX_DELTA,
    ) -> None:
        if debounce not in DEBOUNCES:
            raise ValueError(f"debounce {debounce!r} is none of {', '.join(DEBOUNCES)}")
        self._model = model
        self._opener = Opener(model.name, model.tokenizer, model.max_positions)
        self._grid = Grid(model.network, (model.response, model.query), model.max_positions)
        self._labels: RoleLabels = {"user": model.query.labels, "assistant": model.response.labels}
        self._debounce = debounce
        self._max_sessions = max_sessions
        self._max_delta = max_delta
        one_session = -(-model.max_positions // TILE)
        self._max_pages = (
            _pages_that_fit(model.device, self._grid.page_bytes, one_session) if max_pages is None else max_pages
        )
        if self._max_pages < one_session:
            raise ValueError(f"max_pages {max_pages} is less than the {one_session} pages of one full context")
        # Those that were pushed longest ago first.
        self._sessions: dict[Session, None] = {}

    @classmethod
    def load(
        cls,
        model: str,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        debounce: Debounce = "paper",
        max_sessions: int = _MAX_SESSIONS,
        max_pages: int | None = None,
        max_delta: int = _MAX_DELTA,
    ) -> "StreamGuard":
        """Load a hub name, a folder or "demo". Raises ValueError for wrong settings and for other kinds of models."""
        loaded = load_stream_model(model, revision=revision, device=device, dtype=dtype)
        return cls(loaded, debounce=debounce, max_sessions=max_sessions, max_pages=max_pages, max_delta=max_delta)

    @property
    def identity(self) -> EngineIdentity:
        """What verdicts depend on beside the text."""
        return self._model.identity("stream_guard", self._opener.sha256)

    @property
    def debounce(self) -> Debounce:
        """What raises an answer."""
        return self._debounce

    @property
    def max_pages(self) -> int:
        """Pages that all sessions may hold together."""
        return self._max_pages

    @property
    def live_pages(self) -> int:
        """Pages that are held now, by all sessions."""
        return sum(len(session.pages) for session in self._sessions)

    @property
    def page_bytes(self) -> int:
        """What one page occupies."""
        return self._grid.page_bytes

    def open(self, messages: Conversation) -> Session:
        """Open a session for the answer to the last user's turn; computes nothing yet.

        `messages` are the turns so far. Where the last one is the assistant's, that is the answer's beginning, and is
        judged with the first push. Raises SessionRefusedError, whose `reason` says why, if it cannot be opened.
        """
        if len(self._sessions) >= self._max_sessions:
            raise SessionRefusedError("too_many_sessions")
        opening = self._opener.open(messages)
        session = Session(
            opening.ids,
            user_at=opening.user_at,
            user_end=opening.user_end,
            text=TurnText(self._opener.text, self._model.max_positions - len(opening.ids)),
            begun=opening.begun,
            labels=self._labels,
            raising=Raising(self._debounce),
        )
        self._sessions[session] = None
        return session

    def located(self, messages: Conversation, first: int, last: int) -> tuple[int, int] | None:
        """The characters of the last turn, an answer, from and up to, that two ids of the whole conversation hold.

        `first` and `last` are positions among the ids that the chat template makes of the finished conversation, as
        Qwen3GuardTest has them. None where they are not the answer's; SessionRefusedError as `open`.
        """
        return self._opener.located(messages, first, last)

    def push(self, pushes: Sequence[Push]) -> list[TokenVerdicts]:
        """Take in (session, delta, final) triples, and say what is new of each; one list a push, in order.

        A session's first list begins with the verdict of the user's turn. Then come the tokens that no further text can
        change, each once, and then, marked provisional, those that it can; after `final` there are none of these. A
        push that cannot be taken in is an empty list with its `error`, and leaves its session as it was. One with the
        error "context_overflow" may hold verdicts; after it, and after "non_finite_logits", a session takes no more
        text. What `push` raises (a lost device, out of memory) says nothing about a session: the backend is broken.
        """
        results: list[TokenVerdicts] = [TokenVerdicts() for _ in pushes]
        waiting = list(enumerate(pushes))
        while waiting:  # a session's second push waits for its first
            first: dict[Session, int] = {}
            for index, (session, _, _) in waiting:
                first.setdefault(session, index)
            now = [(index, pushed) for index, pushed in waiting if first[pushed[0]] == index]
            waiting = [(index, pushed) for index, pushed in waiting if first[pushed[0]] != index]
            self._push_each_once(now, results)
        return results

    def evict(self, session: Session) -> int:
        """Give up a session's pages, which are computed again when it goes on; returns how many there were."""
        return session.evict()

    def close(self, session: Session) -> None:
        """Forget a session; it takes no more pushes."""
        session.evict()
        session.error = "session_closed"
        self._sessions.pop(session, None)

    def _push_each_once(self, pushes: Sequence[tuple[int, Push]], results: list[TokenVerdicts]) -> None:
        taken: list[tuple[int, Session]] = []
        for index, (session, delta, final) in pushes:
            if reason := self._refusal(session, delta):
                results[index] = TokenVerdicts(error=reason)
                continue
            session.add(delta, final=final)
            self._sessions[session] = self._sessions.pop(session)
            taken.append((index, session))
        self._compute([session for _, session in taken])
        for index, session in taken:
            results[index] = TokenVerdicts(session.verdicts(), session.error)

    def _refusal(self, session: Session, delta: str) -> StreamReason | None:
        if session.error is not None:
            return session.error
        if session not in self._sessions:
            return "session_closed"
        if session.is_final:
            return "delta_after_final"
        if not isinstance(delta, str) or not has_utf8(delta):
            return "invalid_text"
        return "delta_too_large" if len(delta) > self._max_delta else None

    def _compute(self, sessions: Sequence[Session]) -> None:
        """Run all that the sessions lack, those first that lack least; as many at once as there are pages for."""
        waiting = sorted(sessions, key=lambda session: session.pages_wanted - len(session.pages))
        while waiting:
            wave: list[Session] = []
            pages = 0
            for session in waiting:
                if pages + session.pages_wanted > self._max_pages:
                    break
                wave.append(session)
                pages += session.pages_wanted
            waiting = waiting[len(wave) :]
            self._make_room(pages, wave)
            while stretches := self._next_stretches(wave):
                for (session, _), computed in zip(
                    stretches, self._grid.step([stretch for _, stretch in stretches]), strict=True
                ):
                    session.take(computed)

    def _next_stretches(self, sessions: Sequence[Session]) -> list[tuple[Session, Stretch]]:
        stretches: list[tuple[Session, Stretch]] = []
        places = self._grid.tiles_a_step
        for session in sessions:
            if places and session.error != "non_finite_logits" and (stretch := session.next_stretch(places)):
                stretches.append((session, stretch))
                places -= stretch.tiles
        return stretches

    def _make_room(self, pages: int, wave: Sequence[Session]) -> None:
        """Evict others, so that the sessions of a wave can have `pages` in all."""
        spared = set(wave)
        others = [session for session in self._sessions if session not in spared]
        over = pages + sum(len(session.pages) for session in others) - self._max_pages
        for session in others:
            if over <= 0:
                return
            over -= session.evict()


def _pages_that_fit(device: torch.device, page_bytes: int, least: int) -> int:
    free: int
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = min(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), left_in_container())
    return max(least, free // 2 // page_bytes)


def left_in_container(folder: Path = _CONTROL_GROUP) -> int:
    """Bytes up to the memory limit of this process's control group; without one, more than there can be."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            return max(0, int((folder / limit).read_text()) - int((folder / used).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return sys.maxsize
