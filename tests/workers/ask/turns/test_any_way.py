"""Any cut of a text, with frames doubled, lost and placed by offsets, and with a guard or a server that forgets."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.guards.turn_judges import LetterJudge
from tests.workers.ask.ask_site import AskSite

ASKED = [{"role": "user", "content": "hello?"}]
TEXTS = st.text(st.sampled_from("ab! é\n漢"), min_size=1, max_size=24)
FAULTS = st.lists(st.sampled_from(["", "", "twice", "guard", "server", "offset", "lost"]), max_size=24)


class Sender:
    """Sends a text in pieces, and does what each refusal says; has each settled token once."""

    def __init__(self, site: AskSite, judge: LetterJudge) -> None:
        self._site = site
        self._judge = judge
        self._seq = 0
        self.tokens: dict[int, Any] = {}
        self.verdicts: dict[str, Any] = {}

    async def send(self, text: str, start: int, end: int, fault: str) -> None:
        if fault == "guard":
            self._judge.forget()
        if fault == "server":
            assert self._site.door is not None
            self._site.door.stop()
        frame: dict[str, Any] = {"delta": text[start:end], "final": end == len(text), "after": len(self.tokens)}
        frame |= {"offset": start} if fault == "offset" else {"seq": self._seq}
        frame |= {} if start else {"messages": ASKED}
        for _ in range(2 if fault == "twice" else 1):
            got = await self._site.request("/v1/stream/c", frame)
        if got.status == 409:
            assert got.json["error"]["code"] == "unknown_turn"
            self._seq = 0
            got = await self._site.request(
                "/v1/stream/c", {**frame, "messages": ASKED, "seq": 0, "offset": 0, "delta": text[:end]}
            )
        if fault == "lost":
            got = await self._site.request("/v1/stream/c", {**frame, "seq": self._seq})
        assert got.status == 200, got.body
        self._seq = got.json["seq"]
        for token in got.json["tokens"]:
            number = 0 if token["role"] == "user" else token["index"] + 1
            assert self.tokens.setdefault(number, token) == token
        for verdict in got.json["verdicts"]:
            assert self.verdicts.setdefault(verdict["verdict_id"], verdict) == verdict


def said(text: str, cuts: list[int], faults: list[str]) -> Sender:
    async def within() -> Sender:
        judge = LetterJudge()
        site = AskSite(turns=judge)
        sender = Sender(site, judge)
        for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(text)], strict=True)):
            await sender.send(text, start, end, faults[number] if number < len(faults) else "")
        assert site.door is not None
        site.door.stop()
        return sender

    return asyncio.run(within())


@settings(max_examples=50, deadline=None)
@given(TEXTS, st.data(), FAULTS)
def test_each_token_is_said_once_and_as_of_the_whole_text(text: str, data: st.DataObject, faults: list[str]) -> None:
    cuts = sorted(data.draw(st.sets(st.sampled_from(range(1, len(text))), max_size=6))) if len(text) > 1 else []
    sender, whole = said(text, cuts, faults), said(text, [], [])
    assert sender.tokens == whole.tokens
    assert list(sender.tokens) == sorted(sender.tokens)
    assert len(sender.tokens) == len(text) + 1
    assert sender.verdicts == whole.verdicts
