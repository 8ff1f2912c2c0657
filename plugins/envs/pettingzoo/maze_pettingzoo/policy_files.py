"""The file of a policy that plays against others: where it is, and which one it is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from maze_core import UserError


def path_of(opponent: str) -> Path:
    """The absolute path of an opponent's file.

    Raises:
        UserError: If there is no such file.
    """
    path = Path(opponent).expanduser().absolute()
    if not path.is_file():
        raise UserError(
            f"env.opponent={opponent} is neither random nor a file. An earlier policy becomes one with: "
            "maze export RUN_DIR --to opponent.safetensors"
        )
    return path


def hash_of(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"env.opponent={path} cannot be read: {error.strerror}.") from None
