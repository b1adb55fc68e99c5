"""Gathers the repository's pages for MkDocs, each at its own path so that links hold; `make docs` runs it.

Writes build/docs/pages and build/docs/mkdocs.yml, and no page by itself.
"""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from infra.docs_pictures import with_pictures

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "docs"
PAGES = FOLDER / "pages"
_SHOWN = {".md", ".png", ".svg"}
_ADDED = ("workers/audit/report/page/tables.js", "infra/docs/tables.css")
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?://|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
NAV = {
    "Quick start": ["README.md", "infra/examples/README.md"],
    "How to": [
        "infra/docs/remote-engines.md",
        "infra/docs/ask.md",
        "infra/docs/ask-gateways.md",
        "infra/docs/ask-perspective.md",
        "infra/docs/ask-rewards.md",
        "infra/docs/stream-guard.md",
        "infra/docs/deltas.md",
        "infra/docs/ask-stream.md",
        "helm/weir/README.md",
        "helm/weir/UPGRADING.md",
        "infra/docker/README.md",
    ],
    "Runbooks": ["infra/runbooks/"],
    "Concepts": [
        "infra/docs/glossary.md",
        "infra/docs/promises.md",
        "infra/docs/stops.md",
        "infra/docs/model.md",
        "infra/docs/ray.md",
        "infra/threat-model.md",
    ],
    "Reference": [
        "infra/docs/commands.md",
        "infra/docs/settings.md",
        "infra/metrics.md",
        "infra/docs/schemas.md",
        "infra/docs/python.md",
        "infra/dashboards/README.md",
    ],
    "Decisions": ["infra/decisions/"],
    "Benchmarks": ["infra/benchmarks/"],
    "Development": [
        "infra/docs/upstream.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "tests/README.md",
        "tests/chaos/README.md",
    ],
}
# Of pages whose own first line says too little among others.
_TITLES = {
    "helm/weir/README.md": "The Helm chart",
    "helm/weir/UPGRADING.md": "Upgrading the chart",
    "tests/README.md": "Tests",
    "tests/chaos/README.md": "Chaos",
}
_CONFIG = {
    "site_name": "Weir",
    "site_description": "Moderates chat from Kafka with Qwen3Guard on Ray Serve",
    "docs_dir": "pages",
    "site_dir": "site",
    "theme": {
        "name": "material",
        "font": False,  # no page asks another host for anything: infra/docs_offline.py
        # Not navigation.indexes: a README.md would stand in the contents under its section's name, not its own.
        "features": ["navigation.tabs", "toc.integrate", "content.code.copy", "search.suggest"],
        "palette": [
            {
                "media": f"(prefers-color-scheme: {shade})",
                "scheme": scheme,
                "primary": "blue grey",
                "toggle": {"icon": f"material/{icon}", "name": f"Switch to {other} mode"},
            }
            for shade, scheme, icon, other in (
                ("light", "default", "weather-night", "dark"),
                ("dark", "slate", "weather-sunny", "light"),
            )
        ],
    },
    "markdown_extensions": ["tables", "toc", "pymdownx.highlight", "pymdownx.superfences"],
    "extra_javascript": [_ADDED[0]],
    "extra_css": [_ADDED[1]],
    "plugins": ["search"],
    "validation": {"links": {"anchors": "warn", "not_found": "warn", "unrecognized_links": "warn"}},
    "not_in_nav": "*.md",
}


def gather() -> None:
    """Write pages and configuration anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        path = ROOT / name
        if (path.suffix not in _SHOWN and name not in _ADDED) or not path.is_file():
            continue
        target = PAGES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(page_of(path.read_text(encoding="utf-8"), path), encoding="utf-8")
        else:
            shutil.copy(path, target)
    nav = [
        {section: [_titled(page) for entry in entries for page in _pages(entry)]} for section, entries in NAV.items()
    ]
    config = yaml.safe_dump({**_CONFIG, "nav": nav}, sort_keys=False)
    (FOLDER / "mkdocs.yml").write_text(config, encoding="utf-8")


def page_of(text: str, path: Path) -> str:
    """A page as the site has it: what links to a file that is no page names it, an example's link becomes the file, and
    a diagram its picture.

    Args:
        text: Markdown.
        path: of the page, in the repository.
    """

    def replaced(link: re.Match[str]) -> str:
        target = (path.parent / link[2]).resolve()
        if target.suffix in _SHOWN or not target.exists():  # what is not there is for MkDocs to refuse
            return link[0]
        return f"{link[1]} (`{target.relative_to(ROOT)}`)" if link[1] != link[2] else f"`{link[1]}`"

    text = with_pictures(_LINK.sub(replaced, text), path)
    if path.parent == ROOT / "infra" / "examples":
        for file in sorted(path.parent.iterdir()):
            if file.suffix in (".py", ".yaml"):
                text += f"\n## {file.name}\n\n```{file.suffix[1:]}\n{file.read_text(encoding='utf-8')}```\n"
    return text


def _titled(page: str) -> str | dict[str, str]:
    return {_TITLES[page]: page} if page in _TITLES else page


def _pages(entry: str) -> list[str]:
    if not entry.endswith("/"):
        return [entry]
    return sorted(str(path.relative_to(PAGES)) for path in (PAGES / entry).glob("*.md"))


if __name__ == "__main__":
    gather()
