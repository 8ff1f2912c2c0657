"""Files from templates.

The templates are a project and distributions that work, for something called ``sketch``. Its name takes the place
of that word in texts and paths.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from maze_core.errors import UserError

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".template"
"""Ends the names of all templates, so that none is taken for code or configuration of this package."""

KINDS = ("env", "wrapper", "model", "critic", "algorithm", "runner", "policy", "callback", "sweeper", "command")
"""What `distribution_files` knows."""


def project_files(name: str) -> dict[Path, str]:
    """A local project with an env of this name; texts by relative path."""
    return _rendered(name, "project")


def distribution_files(name: str, kind: str) -> dict[Path, str]:
    """A distribution that offers one thing of this name and kind; texts by relative path."""
    return _rendered(name, "package", kind)


def _rendered(name: str, *folders: str) -> dict[Path, str]:
    words = {
        "maze-sketch": f"maze-{name.replace('_', '-')}",
        "Sketch": "".join(part.capitalize() for part in name.split("_")),
        "sketch": name,
    }
    return {
        Path(_replaced(path, words)): _replaced(text, words) for folder in folders for path, text in _templates(folder)
    }


def _templates(folder: str) -> Iterator[tuple[str, str]]:
    """Relative path and text of each file that the templates of a folder make."""
    for file in sorted((TEMPLATES / folder).rglob(f"*{SUFFIX}")):
        yield str(file.relative_to(TEMPLATES / folder)).removesuffix(SUFFIX), file.read_text(encoding="utf-8")


def _replaced(text: str, words: Mapping[str, str]) -> str:
    return re.sub("|".join(words), lambda found: words[found[0]], text)


def write_new(directory: Path, files: Mapping[Path, str]) -> None:
    """Writes files into a directory, which is made if needed; if something is in the way, nothing is written.

    Args:
        directory: Where.
        files: Texts by relative path.

    Raises:
        UserError: If one of them exists, or a folder cannot be made because a file has its name.
    """
    in_the_way = {str(path) for file in files for path in (file, *file.parents) if _in_the_way(directory, path, file)}
    if in_the_way:
        there = ", ".join(sorted(in_the_way))
        raise UserError(
            f"nothing was written, because {directory} has this already: {there}. Choose another directory."
        )
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text, encoding="utf-8")


def _in_the_way(directory: Path, path: Path, file: Path) -> bool:
    """Whether what is at `path`, `file` itself or a folder above it, keeps the file from being written."""
    return os.path.lexists(directory / path) and (path == file or not (directory / path).is_dir())
