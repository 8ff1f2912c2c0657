"""Files of trajectories: one episode each, written whole or not at all, and read as those of a stranger."""

from __future__ import annotations

from pathlib import Path

from maze_core.errors import NothingUsableError, checked_path, printable
from maze_core.rl.trajectories import Trajectory
from maze_core.rl.trajectory_files import MAX_FILE, trajectory_bytes, trajectory_from_bytes
from maze_core.runs.files import read_file, reason_of, write_file

SUFFIX = ".npz"


def save_trajectory(trajectory: Trajectory, path: str | Path) -> None:
    """Writes a trajectory, in the format of `maze_core.rl.trajectory_files`.

    Args:
        trajectory: What is to be written.
        path: Its file, which is replaced if it is there; `load_trajectories` finds ``*.npz`` in a directory.

    Raises:
        UserError: If its parts do not fit together.
        StorageError: If the file cannot be written; it is then as it was.
    """
    content = trajectory_bytes(trajectory)
    write_file(Path(path), lambda file: file.write(content))


def load_trajectories(path: str | Path) -> list[Trajectory]:
    """Reads trajectories.

    Args:
        path: A file, or a directory: then all ``*.npz`` files in it, sorted by name.

    Raises:
        NothingUsableError: If there are none, or one of the files is no trajectory.
    """
    place = Path(checked_path("path", path)).expanduser()
    try:
        files = sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else [place]
    except OSError as error:
        raise NothingUsableError(f"{printable(str(place))} cannot be read: {reason_of(error)}.") from None
    if not files:
        raise NothingUsableError(f"{printable(str(place))} holds no trajectories: there is no file *{SUFFIX} in it.")
    return [trajectory_from_bytes(read_file(file, MAX_FILE), printable(str(file))) for file in files]
