"""Files that a command writes: checked before it does any work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from maze_core.errors import UserError
from maze_core.reports.page import free_for_page, is_page
from maze_core.runs.stored_run import is_run_directory


def check_targets(page: Any, *others: Any) -> None:
    """Refuses files that would replace each other, or a part of a run.

    Args:
        page: Where a page goes, or None; nothing but an older page is replaced there.
        others: Where tables and pictures go; None for those that are not asked for.

    Raises:
        UserError: If one cannot go there; nothing is written then.
    """
    places = set[Path]()
    for path in (page, *others):
        if path is None:
            continue
        target = Path(path).expanduser()
        _check_place(target)
        place = target.parent.resolve() / target.name
        if place in places:
            raise UserError(f"{path} is named for two files, and the second would replace the first. Name another.")
        places.add(place)
    if page is not None:
        free_for_page(Path(page).expanduser())
    for target in (Path(path).expanduser() for path in others if path is not None):
        if os.path.lexists(target) and is_run_directory(target.parent) and not is_page(target):
            raise UserError(
                f"{target} exists already, in the directory of a run: it is not replaced. Name another file."
            )


def _check_place(target: Path) -> None:
    """Whether any file could be there."""
    if not target.parent.is_dir():
        raise UserError(f"{target} cannot be written: there is no directory {target.parent}. Make it first.")
    if target.is_dir():
        raise UserError(f"{target} is a directory. Name a file.")
