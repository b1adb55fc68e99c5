"""Draws the pages' Mermaid blocks as pictures for the site, whose theme would load a library of another host for them.

A picture is named by the digest of its block, so that a block that has changed has none, and the site is not built. Run
it then: `python infra/docs_pictures.py README.md`; it needs npx and Chromium, which nothing else here does.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "infra" / "docs" / "pictures"
SHADES = {"light": "default", "dark": "dark"}  # of a page, and Mermaid's name for it
_TOOL = "@mermaid-js/mermaid-cli@11.17.0"
_BLOCK = re.compile(r"(?ms)^```mermaid\n(.*?)^```$")


def picture_of(block: str, shade: str) -> Path:
    """Where the picture of a block is.

    Args:
        block: Mermaid.
        shade: one of `SHADES`.
    """
    return FOLDER / f"{hashlib.sha256(block.encode()).hexdigest()[:12]}-{shade}.svg"


def with_pictures(text: str, path: Path) -> str:
    """A page with its blocks replaced by their pictures, of which the theme shows the one of its shade.

    Args:
        text: Markdown.
        path: of the page.

    Raises:
        FileNotFoundError: a block has no picture.
    """

    def replaced(found: re.Match[str]) -> str:
        drawn = {shade: picture_of(found[1], shade) for shade in SHADES}
        if not all(picture.is_file() for picture in drawn.values()):
            name = path.relative_to(ROOT)
            raise FileNotFoundError(f"{name}: a diagram has no picture yet: python infra/docs_pictures.py {name}")
        return "\n".join(
            f"![Diagram]({os.path.relpath(picture, path.parent)}#only-{shade})" for shade, picture in drawn.items()
        )

    return _BLOCK.sub(replaced, text)


def draw(path: Path) -> None:
    """Draw the blocks of a page that have no picture."""
    for block in _BLOCK.findall(path.read_text(encoding="utf-8")):
        for shade, theme in SHADES.items():
            if not (picture := picture_of(block, shade)).is_file():
                _draw(block, theme, picture)


def _draw(block: str, theme: str, picture: Path) -> None:
    look = {"theme": theme, "htmlLabels": False, "flowchart": {"htmlLabels": False}, "fontFamily": "sans-serif"}
    browser = {"executablePath": shutil.which("chromium"), "args": ["--no-sandbox"]}
    with tempfile.TemporaryDirectory() as scratch:
        source, settings, start = (Path(scratch) / name for name in ("source.mmd", "look.json", "browser.json"))
        source.write_text(block, encoding="utf-8")
        settings.write_text(json.dumps(look), encoding="utf-8")
        start.write_text(json.dumps(browser), encoding="utf-8")
        files = ["-i", source, "-o", picture, "-c", settings, "-p", start]
        tool = ["env", "PUPPETEER_SKIP_DOWNLOAD=1", "npx", "--yes", _TOOL]
        subprocess.run([*tool, *files, "-b", "transparent"], check=True)


if __name__ == "__main__":
    for page in sys.argv[1:]:
        draw(Path(page).resolve())
