"""The documentation as a site: it builds without a warning, needs nobody else, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
LOADED_LINKS = {"stylesheet", "icon", "shortcut icon", "preload", "prefetch", "preconnect", "modulepreload", "manifest"}
"""Kinds of ``<link>`` that make a browser fetch something."""


class Page(HTMLParser):
    """What a page has, leads to and loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.styles = ""
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self._in_style = tag == "style"
        self.styles += given.get("style", "")
        if tag == "a":
            self.links += [given["href"]] if "href" in given else []
        elif tag == "link":
            self.loads += [given["href"]] if given.get("rel", "").lower() in LOADED_LINKS else []
        else:
            self.loads += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        self.styles += data if self._in_style else ""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, as ``make docs`` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-W", "--keep-going", "-E", "-q", "-c", "docs", "-d", str(folder / "doctrees")]
    build = [sys.executable, "-m", "sphinx", *options, ".", str(folder / "site")]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}


def missing(file: Path, link: str, pages: dict[Path, Page]) -> bool:
    """Whether a link within the site leads to nothing."""
    target, _, anchor = unquote(link).partition("#")
    path = (file.parent / target).resolve() if target else file
    if path not in pages:
        return bool(anchor) or not path.is_file()
    return anchor not in ("", *pages[path].anchors)


def test_every_page_is_on_the_site(pages, site):
    made = {str(file.relative_to(site).with_suffix("")) for file in pages}
    written = {str(file.relative_to(ROOT).with_suffix("")) for file in ROOT.glob("docs/*.md")}
    assert written | {"GLOSSARY", "ARCHITECTURE", "CONTRIBUTING", "benchmarks/README"} <= made


def test_every_link_and_anchor_within_the_site_exists(pages):
    links = [(file, link) for file, page in pages.items() for link in (*page.links, *page.loads)]
    inside = [(file, link) for file, link in links if not urlsplit(link).scheme and not link.startswith("//")]
    assert len(inside) > 1000
    assert [(file.name, link) for file, link in inside if missing(file, link.partition("?")[0], pages)] == []


def test_nothing_is_loaded_from_elsewhere(pages, site):
    loaded = {link for page in pages.values() for link in page.loads}
    styles = [page.styles for page in pages.values()]
    styles += [file.read_text(encoding="utf-8") for pattern in ("*.css", "*.svg") for file in site.rglob(pattern)]
    for text in styles:
        loaded |= set(re.findall(r"url\(\s*['\"]?([^'\")]+)", text)) | set(
            re.findall(r"@import\s+['\"]([^'\"]+)", text)
        )
    assert len(loaded) > 10
    assert [link for link in loaded if re.match(r"(\w+:)?//", link) and not link.startswith("data:")] == []


def test_folders_are_no_links_and_file_names_are_titles(pages, site):
    text = (site / "docs" / "training.html").read_text(encoding="utf-8")
    assert '<a class="reference internal" href="algorithms.html">' in text
    assert ">algorithms.md<" not in text
    assert all(".md" not in link for page in pages.values() for link in page.links if not urlsplit(link).scheme)


def test_the_site_opens_at_its_map(site):
    assert 'url=docs/index.html"' in (site / "index.html").read_text()
    map_page = (site / "docs" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'class="caption"[^>]*><span class="caption-text">([^<]*)', map_page) == re.findall(
        r"^## (.*)$", (ROOT / "docs/index.md").read_text(encoding="utf-8"), re.MULTILINE
    )


def test_picture_of_the_workflow_is_in_the_first_page_and_says_what_it_shows(site):
    page = (ROOT / "docs/first_run.md").read_text(encoding="utf-8")
    assert page.index("workflow.svg") < page.index("## ")
    picture = ElementTree.parse(ROOT / "docs/workflow.svg").getroot()
    texts = [
        " ".join("".join(element.itertext()).split()) for element in picture.iter() if element.tag.endswith("text")
    ]
    stages = [text for text in texts if re.match(r"\d ", text)]
    assert stages == ["1 Config", "2 Plugins", "3 Build", "4 Run directory", "5 Loop", "6 End"]
    assert "prefers-color-scheme: dark" in "".join(picture.itertext())
    assert list(site.rglob("workflow.svg"))
