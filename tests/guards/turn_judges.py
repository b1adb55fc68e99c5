"""Judges of turns that answer as a test says, without a model."""

from collections.abc import Callable, Sequence

from pipelines.turns.port import SESSION_UNKNOWN, JudgedToken, PushAnswer, PushReply, TurnKey, TurnPush
from schemas.turns.frame import TurnRole
from schemas.turns.verdict import StreamProvenance

PROVENANCE = StreamProvenance(
    model="letters", revision="1", prompt_sha256="0", engine="letters", dtype="float32", debounce="paper"
)
NEXT = PROVENANCE.model_copy(update={"revision": "2"})
UNSAFE = "!"


def token(
    index: int, character: str, *, role: TurnRole = "assistant", raised: bool = False, unsafe: str = UNSAFE
) -> JudgedToken:
    """A character as a token: `!` is Unsafe."""
    risk = "Unsafe" if character == unsafe else "Safe"
    category = "Violent" if risk == "Unsafe" else None
    return JudgedToken(index, index + 1, role, risk, category, {"risk": {risk: 1.0}}, False, raised)


class LetterJudge:
    """Every character is a token; the first `!` raises. Remembers turns until `forget` is called.

    Args:
        before: called with the pushes of each call, and may raise.

    Attributes:
        provenance: what it says it is.
        unsafe: the character that is Unsafe.
    """

    provenance = PROVENANCE
    unsafe = UNSAFE

    def __init__(self, before: Callable[[Sequence[TurnPush]], None] = lambda _: None) -> None:
        self._before = before
        self._texts: dict[TurnKey, str] = {}
        self.calls: list[list[TurnPush]] = []

    def forget(self) -> None:
        """Lose all sessions, as a replica that died."""
        self._texts.clear()

    def roll_out(self) -> None:
        """Be replaced by another revision of the model."""
        self.forget()
        self.provenance = NEXT

    async def push(self, pushes: Sequence[TurnPush]) -> PushReply:
        self.calls.append(list(pushes))
        self._before(pushes)
        return PushReply([self._answer(push) for push in pushes], self.provenance)

    def _answer(self, push: TurnPush) -> PushAnswer:
        known = self._texts.get(push.key)
        tokens: list[JudgedToken] = []
        if push.messages is not None:
            known = ""
            asked = push.messages[-1]["content"] if push.messages else ""
            last = asked[-1:]
            tokens.append(token(len(asked), last, role="user", raised=last == self.unsafe, unsafe=self.unsafe))
        elif known is None or len(known) != push.at:
            return PushAnswer((), SESSION_UNKNOWN)
        text = known + push.text
        tokens += [
            token(index, text[index], raised=self.unsafe in text[: index + 1], unsafe=self.unsafe)
            for index in range(len(known), len(text))
        ]
        self._texts[push.key] = text
        if push.final:
            del self._texts[push.key]
        return PushAnswer([said for said in tokens if _order(said) >= push.said], None)


def _order(said: JudgedToken) -> int:
    return 0 if said.role == "user" else said.index + 1
