"""The directory of a run: made once, never reused, weights and records written whole or not at all."""

from __future__ import annotations

import datetime
import io
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import torch

from maze_core.errors import StorageError, UserError
from maze_core.rl.policy import Policy
from maze_core.runs.files import UnreadableError, read_file, write_file
from maze_core.runs.stored_run import is_run_directory
from maze_core.runs.weights import BEST

NORMALIZATION = "normalization.json"
"""Statistics of observations in readable form; those in use are part of the weights."""

NO_ATTRIBUTES = {"GIT_ATTR_SOURCE": "4b825dc642cb6eb9a060e54bf8d69288fbee4904"}
"""Lets git take attributes from the empty tree, so that none names a program that it would run."""

GO_ON = "\nTo go on with that run: maze resume {}; to start from its weights: input_dir={}"

PACKAGES = ("maze-core", "torch", "numpy", "gymnasium", "hydra-core", "omegaconf", "pluggy", "click", "tensorboard")


class RunDirectory:
    """A run directory that exists.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._absolute = path, path.absolute()  # the working directory may change

    @staticmethod
    def create(requested: str | None, name: str, advice: str = GO_ON) -> RunDirectory:
        """Makes a new run directory.

        Args:
            requested: Where, or None for ``outputs/<name>/<timestamp>``.
            name: Env, model, algorithm and runner, joined.
            advice: What else a message says of a directory that exists, which ``{}`` stands for.

        Raises:
            UserError: If the requested directory exists.
            StorageError: If it cannot be made.
        """
        path = None if requested is None else Path(requested).expanduser()
        taken = UserError(
            f"run_dir={requested} exists already, and nothing is ever overwritten. Name a new directory."
            + advice.replace("{}", str(requested))
        )
        if path is not None and path.exists():
            raise taken
        try:
            if path is None:
                return RunDirectory(_new_below(Path("outputs") / name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            return RunDirectory(path)
        except OSError as error:
            if isinstance(error, FileExistsError) and path is not None and path.is_dir():
                raise taken from None  # another process was quicker
            where = path or Path("outputs").absolute()
            reason = f"{error.filename!r} is no directory" if isinstance(error, FileExistsError) else error.strerror
            message = f"the run directory cannot be made: {where}: {reason}. Name another place with run_dir=<path>."
            raise StorageError(message) from None

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file.

        Raises:
            StorageError: If that fails; the file is then as it was.
        """
        self._write(name, lambda file: file.write(text.encode()))

    def append_line(self, name: str, line: str) -> None:
        """Adds a line to a text file.

        Raises:
            StorageError: If that fails; the file is then as it was.
        """
        try:
            before = read_file(self._absolute / name, 2**20)
        except UnreadableError:
            before = b""
        self.write_bytes(name, before + f"{line}\n".encode())

    def write_weights(self, name: str, state: Mapping[str, torch.Tensor]) -> None:
        """Writes weights, as a plain ``state_dict`` of tensors.

        Raises:
            StorageError: If that fails; the file is then as it was.
        """
        content = io.BytesIO()  # torch reports a full disk in words of its own
        torch.save(dict(state), content)
        self._write(name, lambda file: file.write(content.getbuffer()))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a file, in a folder of the directory if its name has one.

        Raises:
            StorageError: If that fails; the file is then as it was.
        """
        self._write(name, lambda file: file.write(content))

    def write_normalization(self, policy: Policy) -> None:
        """Writes the statistics of a policy's observations in readable form, if it has any."""
        if policy.normalization is not None:
            self.write_text(NORMALIZATION, json.dumps(policy.normalization.readable(), indent=2) + "\n")

    def _write(self, name: str, write: Callable[[IO[bytes]], Any]) -> None:
        write_file(self._absolute / name, write)


def _new_below(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    number = 1
    while True:
        path = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1


def environment(plugins: Mapping[str, str], seed: int) -> str:
    """What the results of a run depend on besides its configuration, as JSON.

    Args:
        plugins: Version by plugin.
        seed: Root seed.
    """
    record = {
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "packages": {name: _version(name) for name in PACKAGES},
        "plugins": dict(plugins),
        "git_revision": _git_revision(),
        "seed": seed,
    }
    return json.dumps(record, indent=2) + "\n"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Revision of the project in the current directory, with ``-dirty`` if it has changes."""
    here = Path.cwd()
    if any(is_run_directory(folder) or os.path.lexists(folder / BEST) for folder in (here, *here.parents)):
        return None  # git runs programs that the configuration of a repository names, and this may be a stranger's
    command = ["git", "-c", "core.fsmonitor=false", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=False, env=os.environ | NO_ATTRIBUTES
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
