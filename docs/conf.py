"""How Sphinx makes the site: its source folder is the repository, so that every link works as it is written.

``docs/index.md`` is the map of the pages, and the navigation is read from it; pages are plain Markdown.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]

project = "Maze"
project_copyright = "the authors of Maze"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md", "GLOSSARY.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "benchmarks/README.md",
    "benchmarks/results/*.md", "plugins/*/*/README.md",
]  # fmt: skip
exclude_patterns = [".*", "outputs", "site", "shared", "tests", "maze_core", "**/*.egg-info", "**/__pycache__"]
"""Folders that are not searched."""

myst_heading_anchors = 4
"""Headings down to this level can be linked, by the same names as on a code host."""
myst_links_external_new_tab = False
highlight_language = "text"
smartquotes = False

html_theme = "furo"
html_title = "Maze"
html_static_path = ["_static"]
html_extra_path = ["_extra"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"font-stack": "system-ui, sans-serif"},
    "footer_icons": [],
}

MAPS = ("docs/index", "benchmarks/README")
"""Pages whose links to other pages are the navigation: a part for each heading of the second level."""

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Adds what plain Markdown does not say."""
    app.connect("source-read", lambda _, page, source: source.__setitem__(0, completed(page, source[0])))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def completed(page: str, text: str) -> str:
    """A page with its navigation, with titles in place of file names, and without links to folders."""
    text = LINK.sub(lambda link: shown((ROOT / page).parent, link), text)
    return text + "".join(navigation(page, text)) if page in MAPS else text


def shown(folder: Path, link: re.Match[str]) -> str:
    """A link as the site has it: no text stands for the title of what it leads to."""
    if (folder / link[2]).is_dir():
        return link[1]
    return link[0].replace(f"[{link[1]}]", "[]", 1) if link[1].endswith(".md") else link[0]


def navigation(page: str, text: str) -> list[str]:
    """The ``toctree`` of each part of a map, hidden: its pages in the order of the text, each once."""
    parts: list[str] = []
    named: set[str] = set()
    for number, section in enumerate(re.split(r"^## ", text, flags=re.MULTILINE)):
        title, _, part = section.partition("\n")
        pages = []
        for _, target, anchor in LINK.findall(part):
            if target.endswith(".md") and not anchor and target not in named:
                named.add(target)
                pages.append((ROOT / page).parent.joinpath(target).resolve().relative_to(ROOT).with_suffix(""))
        caption = f":caption: {title}\n" if page == root_doc and number else ""
        lines = "\n".join(f"/{entry.as_posix()}" for entry in pages)
        parts += [f"\n\n```{{toctree}}\n:hidden:\n{caption}\n{lines}\n```\n"] if pages else []
    return parts
