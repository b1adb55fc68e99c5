"""Debian's Chromium without a window: a picture of a page, what its console says, and which addresses it asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
_QUIET = (
    "--headless=new",
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
)
_CONSOLE = re.compile(r"CONSOLE[:(\d]*\)?\] (.*)")
_PAETH = 4


class Sight(NamedTuple):
    """A page as the browser showed it; `pixels` are rows of red, green, blue."""

    pixels: Any
    console: list[str]
    asked: list[str]


def required() -> bool:
    """Whether a missing browser is a failure."""
    return os.environ.get("REQUIRE_BROWSER") == "1"


def look(page: Path, scratch: Path, width: int, height: int, *, dark: bool = False) -> Sight:
    """Open a file and take a picture of its upper end."""
    assert BROWSER is not None
    picture, log = scratch / "picture.png", scratch / "net.json"
    arguments = [
        *(f"--user-data-dir={scratch / 'profile'}", f"--screenshot={picture}", f"--log-net-log={log}"),
        *(f"--window-size={width},{height}", f"--blink-settings=preferredColorScheme={0 if dark else 1}"),
    ]
    command = [BROWSER, *_QUIET, *arguments, page.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return Sight(pixels_of(picture.read_bytes()), _CONSOLE.findall(ended.stderr), _asked(json.loads(log.read_text())))


def _asked(log: dict[str, Any]) -> list[str]:
    """Addresses that the page asked for. The browser's own requests, which have no origin, find no host to go to."""
    begun = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    requests = [event["params"] for event in log["events"] if event["type"] == begun and "url" in event["params"]]
    return sorted({request["url"] for request in requests if request["initiator"] != "not an origin"})


def pixels_of(png: bytes) -> Any:
    """A picture of 8 bits and three or four channels, not interlaced, as height x width x 3."""
    place, compressed = 8, b""
    width = height = channels = 0
    while place < len(png):
        size, kind = int.from_bytes(png[place : place + 4]), png[place + 4 : place + 8]
        content = png[place + 8 : place + 8 + size]
        if kind == b"IHDR":
            width, height = int.from_bytes(content[:4]), int.from_bytes(content[4:8])
            assert (content[8], content[12]) == (8, 0)
            channels = {2: 3, 6: 4}[content[9]]
        elif kind == b"IDAT":
            compressed += content
        place += size + 12
    rows = np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(height, 1 + width * channels)
    decoded = np.zeros((height, width, channels), np.uint8)
    above = np.zeros((width, channels), np.uint8)
    for number, row in enumerate(rows):
        decoded[number] = above = _unfiltered(int(row[0]), row[1:].reshape(width, channels), above)
    return decoded[:, :, :3]


def _unfiltered(kind: int, row: Any, above: Any) -> Any:
    """One row; PNG's filters 0 to 4."""
    if kind == 0:
        return row
    if kind == 1:
        return np.cumsum(row, axis=0, dtype=np.uint8)
    if kind == 2:
        return row + above
    done = []
    left = corner = [0] * row.shape[1]
    for pixel, upper in zip(row.tolist(), above.tolist(), strict=True):
        parts = zip(pixel, left, upper, corner, strict=True)
        if kind == _PAETH:
            left = [value + _nearest(west, north, apart) & 255 for value, west, north, apart in parts]
        else:
            left = [value + (west + north) // 2 & 255 for value, west, north, _ in parts]
        corner = upper
        done.append(left)
    return np.array(done, np.uint8)


def _nearest(west: int, north: int, corner: int) -> int:
    guess = west + north - corner
    return min((west, north, corner), key=lambda value: abs(guess - value))
