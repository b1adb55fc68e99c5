"""One turn on its way: its text is given to a guard as it comes, and what is settled is said once.

The turn's own text is all that is needed to have it judged again by a guard that knows nothing of it. Knows nothing of
where frames come from or how a guard is reached.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pipelines.guard_parser import Classification
from pipelines.policy_rules import Decision
from pipelines.turns.frames import Frames, TurnRules
from pipelines.turns.port import SESSION_UNKNOWN, JudgedToken, PushAnswer, TurnKey, TurnPush
from schemas.event import Message
from schemas.turns.frame import TurnRole
from schemas.turns.verdict import StreamProvenance, StreamVerdict, TurnEnd, stream_verdict_id
from schemas.verdict import ACTION_RANK, Action, AppliedPolicy, Category, Severity

_NOT_RAISED: Final = Classification(Severity.SAFE, (), None)
_CATEGORIES: Final[Mapping[str, Category]] = {category.value: category for category in Category}


@dataclass(frozen=True, slots=True)
class News:
    """What a guard's answer brought: settled tokens, each once, then provisional ones; which of them raise the turn, or
    raise it once more because they call for a stricter action.

    `end` is set once, with the last of them. `is_begun_again`: another model judges from here on, and so all that was
    judged before; nothing else is told then.
    """

    tokens: Sequence[JudgedToken] = ()
    raises: Sequence[JudgedToken] = ()
    end: TurnEnd | None = None
    is_begun_again: bool = False


class Turn:
    """State of one turn, from its first frame to its end. At most one push of it is under way.

    Attributes:
        frames: what has come of it; give it frames, and ask `next_push` then.
        end: why nothing more will be said; None while it goes on.
        pushes, replays: how often the guard was asked, and how often about the whole text.
        provenance: what judges it; None before the first answer.
    """

    def __init__(self, key: TurnKey, rules: TurnRules) -> None:
        self.key: Final = key
        self.frames: Final = Frames(rules)
        self._attempts_allowed = rules.attempts
        self._policy = rules.policy
        self._pushed = 0
        self._under_way: TurnPush | None = None
        self._is_open = False
        self._said = 0
        self._acted: dict[TurnRole, Decision] = {}  # of raised texts, the strictest that was said
        self._last: JudgedToken | None = None
        self._attempts = 0
        self.pushes = self.replays = 0
        self.end: TurnEnd | None = None
        self.provenance: StreamProvenance | None = None

    # -- the guard ---------------------------------------------------------------------------------------------------

    @property
    def is_under_way(self) -> bool:
        """The guard has been asked and has not answered."""
        return self._under_way is not None

    def awaits(self, push: TurnPush) -> bool:
        """Whether this very push is under way; after a turn was read again, an answer may be to the one before."""
        return self._under_way is push

    def next_push(self, carrier: Mapping[str, str]) -> TurnPush | None:
        """What to ask the guard now; None where there is nothing, or a push is under way."""
        if self._under_way is not None or self.end is not None:
            return None
        frames = self.frames
        if not frames.next_seq or (not frames.is_whole and self._waits_for_text()):
            return None
        messages, at, text = None, self._pushed, frames.text[self._pushed :]
        if not self._is_open:
            messages, at, text = frames.messages or (), 0, frames.text
            self.replays += self.pushes > 0
            if frames.role == "user":
                messages, text = (*messages, Message(role="user", content=text)), ""
        push = TurnPush(self.key, messages, at, text, frames.is_whole, self._said, self._attempts > 0, carrier)
        self._under_way = push
        self.pushes += 1
        return push

    def answered(self, answer: PushAnswer, by: StreamProvenance | None) -> News:
        """Take in what the guard said of the push that is under way.

        Where another model answers than the one that judged what was said, as during a rollout, the answer is not
        taken: all of the turn is asked about again, so that each verdict is of one model, from the turn's start.

        Args:
            answer: to the push.
            by: what judged; None where nothing did.
        """
        push, self._under_way = self._under_way, None
        assert push is not None
        if by not in (None, self.provenance):
            self.provenance, self._last = by, None
            self._acted.clear()
            if self._said:
                self._said, self._is_open = 0, False
                return News(is_begun_again=True)
        if answer.error == SESSION_UNKNOWN:
            self._is_open = False
            return News()
        if answer.error in ("inference_failed", "replica_crash"):
            return self.failed(answer.error)
        self._is_open = True
        self._attempts = 0
        self._pushed = push.at + len(push.text)
        tokens, raises = self._new(answer.tokens)
        if answer.error is not None:
            self._end(answer.error)
        elif push.final:
            self._end(self.frames.closing)
        return News(tokens, raises, self.end)

    def unanswered(self) -> None:
        """Nothing answered the push that is under way: it is to be asked again. The session may be gone, or ahead."""
        self._under_way = None

    def failed(self, kind: Literal["inference_failed", "replica_crash"]) -> News:
        """The push that is under way broke its call or its replica; it is asked again, alone, and not for ever."""
        self._under_way = None
        self._is_open = False
        self._attempts += 1
        if self._attempts >= self._attempts_allowed:
            self._end(kind)
        return News(end=self.end)

    def say_again(self, said: int) -> None:
        """Have settled tokens from this number on said once more, by a replay; no push may be under way."""
        if self.end is None and said < self._said:
            self._said, self._is_open = said, False

    def given_up(self) -> bool:
        """End a turn of whose text nothing was kept, so that nothing can be asked; False for others."""
        if self.end is None and self.frames.is_whole and not self.frames.next_seq:
            self._end(self.frames.closing)
            return True
        return False

    def _waits_for_text(self) -> bool:
        """There is nothing to ask before more has come; a user's turn is asked about when it is whole."""
        if self.frames.role == "user":
            return True
        return self._is_open and self._pushed == len(self.frames.text)

    def _new(self, tokens: Sequence[JudgedToken]) -> tuple[list[JudgedToken], list[JudgedToken]]:
        """What was not said before, and what of it raises a text that was not raised."""
        new: list[JudgedToken] = []
        raises: list[JudgedToken] = []
        for token in tokens:
            order = 0 if token.role == "user" else token.index + 1
            if order < self._said:
                continue
            new.append(token)
            if token.provisional:
                continue
            self._said = order + 1
            if self._raises(token):
                raises.append(token)
            if token.role == self.frames.role:
                self._last = token
        return new, raises

    def _raises(self, token: JudgedToken) -> bool:
        """Whether a settled token flags its text, or together with the one before it calls for more than was said."""
        said, before = self._acted.get(token.role), self._last
        if not token.raised or (said is not None and said.action is Action.BLOCK):
            return False
        decided = self._decision(token)
        if said is not None:
            if before is None or before.index + 1 != token.index:
                return False
            if any(ACTION_RANK[each.action] <= ACTION_RANK[said.action] for each in (decided, self._decision(before))):
                return False
        self._acted[token.role] = decided
        return True

    def _decision(self, token: JudgedToken) -> Decision:
        category = _CATEGORIES.get(token.category or "")
        found = Classification(Severity(token.risk), () if category is None else (category,), None)
        return self._policy.decide(found, self.key.tenant)

    def _end(self, end: TurnEnd) -> None:
        self.end = end
        self.frames.forget(end)

    # -- what is said ------------------------------------------------------------------------------------------------

    def raised_verdict(self, token: JudgedToken) -> StreamVerdict:
        """That a token raises its text."""
        return self._verdict(token, token.role, None, self._decision(token))

    def end_verdict(self) -> StreamVerdict:
        """The last verdict, of a turn that has ended: its last token's, why it is the last, and what to do in all."""
        assert self.end is not None
        decision = self._acted.get(self.frames.role)
        if decision is None and self.end == "final" and self._last is not None:
            decision = self._policy.decide(_NOT_RAISED, self.key.tenant)
        return self._verdict(self._last, self.frames.role, self.end, decision)

    def _verdict(
        self, token: JudgedToken | None, role: TurnRole, end: TurnEnd | None, decision: Decision | None
    ) -> StreamVerdict:
        tenant, conversation_id, turn = self.key
        index = None if token is None else token.index
        policy, applied = self._policy, None
        if decision is not None:
            applied = AppliedPolicy(
                name=policy.name, version=policy.version, sha256=policy.sha256, treated_as=decision.treated_as
            )
        said = (role, index, end or "raised", applied.sha256 if applied else None)
        return StreamVerdict(
            verdict_id=stream_verdict_id(tenant, conversation_id, turn, said, self.provenance),
            conversation_id=conversation_id,
            tenant=tenant,
            turn=turn,
            role=role,
            index=index,
            offset=None if token is None else token.offset,
            risk=None if token is None else Severity(token.risk),
            category=None if token is None else token.category,
            probabilities=None if token is None else {head: dict(found) for head, found in token.probabilities.items()},
            provisional=False,
            raised=token is not None and token.raised,
            action=None if decision is None else decision.action,
            policy=applied,
            final=end is not None,
            end=end,
            provenance=self.provenance,
        )
