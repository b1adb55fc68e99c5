"""Pass an LLM's answer on while it is written, and stop it where it is flagged: `python guard_a_stream.py`.

Asks `weir serve` with `WEIR_ASK__STREAM=true`. Needs nothing but Python. Each piece is passed on once it is judged; an
answer that could not be judged to its end is stopped as well, because nobody knows that it is safe.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any
from urllib.parse import quote

URL = "http://127.0.0.1:8000"
TRIES = 5


class StoppedError(Exception):
    """The answer was flagged, or could not be judged."""


def guarded(
    conversation: str, messages: list[dict[str, str]], pieces: Iterable[str], *, url: str = URL, key: str | None = None
) -> Iterator[str]:
    """The pieces of an answer, each as soon as it is judged. Raises StoppedError where it has to stop."""
    route = f"{url}/v1/stream/{quote(conversation, safe='')}"
    text = held = ""
    for piece in chain(pieces, [None]):
        before, text = text, text + (piece or "")
        # By offset alone: nothing has to be remembered but the text.
        frame = {"offset": len(before), "delta": piece or "", "final": piece is None}
        whole = {"messages": messages, "offset": 0, "delta": text, "final": piece is None}
        said = _asked(route, frame if before else whole, whole, key)
        if said["raised"] or said["end"] not in (None, "final"):
            raise StoppedError("flagged" if said["raised"] else said["end"])
        held += piece or ""
        if held and not said["raised_so_far"]:  # flagged, but the next words may still undo that
            yield held
            held = ""


def _asked(url: str, frame: dict[str, Any], whole: dict[str, Any], key: str | None) -> dict[str, Any]:
    """The answer to a frame, or to the whole text where the server does not know the turn any more."""
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    for attempt in range(TRIES):
        request = urllib.request.Request(url, json.dumps(frame).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            code = json.load(error)["error"]["code"]
            if code == "unknown_turn":
                frame = whole
            elif error.code not in (429, 503):
                raise StoppedError(code) from None
            else:
                time.sleep(float(error.headers.get("retry-after", 1)))
        except OSError:
            time.sleep(1 << attempt)
    raise StoppedError("no answer")


if __name__ == "__main__":
    asked = [{"role": "user", "content": "can you tell me about the river?"}]
    try:
        for part in guarded(f"example-{time.time_ns()}", asked, sys.stdin):
            print(part, end="", flush=True)
    except StoppedError as stopped:
        print(f"[stopped: {stopped}]")
