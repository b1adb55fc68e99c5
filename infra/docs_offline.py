"""Refuses a site whose pages would load anything from another host; `make docs` runs it on what it has built.

Looks at what a browser loads by itself: scripts, styles, pictures, frames and media, and addresses in styles. Links,
which a reader follows, may lead anywhere.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

SITE = Path(__file__).parents[1] / "build" / "docs" / "site"
_LOADED = {"src", "srcset", "poster", "data", "xlink:href", "background"}
_SHOWN_LINKS = {"canonical", "next", "prev", "alternate", "license"}  # relations that load nothing
_REMOTE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_IN_STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""", re.IGNORECASE)
# What the theme draws with a library that it fetches.
_FETCHING_CLASSES = {"mermaid"}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._is_style = tag == "style"
        loaded = [value for name, value in values.items() if name in _LOADED]
        if tag == "link" and not set(values.get("rel", "").lower().split()) <= _SHOWN_LINKS:
            loaded.append(values.get("href", ""))
        if tag in ("use", "image", "base"):
            loaded.append(values.get("href", ""))
        self.found += [f"<{tag}> {part}" for value in loaded for part in value.split(",") if _REMOTE.match(part)]
        self.found += [f"<{tag}> {address}" for address in remote_in_style(values.get("style", ""))]
        self.found += [f"<{tag} class={name}>" for name in values.get("class", "").split() if name in _FETCHING_CLASSES]

    def handle_data(self, data: str) -> None:
        if self._is_style:
            self.found += [f"<style> {address}" for address in remote_in_style(data)]

    def handle_endtag(self, _tag: str) -> None:
        self._is_style = False


def remote_in_style(text: str) -> list[str]:
    """Addresses of other hosts that a style sheet loads."""
    return [address for address in _IN_STYLE.findall(text) if _REMOTE.match(address)]


def remote_in_page(text: str) -> list[str]:
    """What a page of HTML, or a picture of SVG, would load from other hosts."""
    page = _Page()
    page.feed(text)
    page.close()
    return page.found


def faults(site: Path) -> Iterator[str]:
    """Each thing that would come from another host, behind the file that wants it."""
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".svg"):
            found = remote_in_page(path.read_text(encoding="utf-8"))
        elif path.suffix == ".css":
            found = remote_in_style(path.read_text(encoding="utf-8"))
        else:
            continue
        yield from (f"{path.relative_to(site)}: {fault}" for fault in found)


if __name__ == "__main__":
    if not (SITE / "index.html").is_file():
        sys.exit(f"{SITE}: no site there: make docs")
    sys.exit("\n".join(faults(SITE)) or 0)
