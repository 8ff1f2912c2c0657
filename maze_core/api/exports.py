"""Policies for use elsewhere: one file, or ONNX models."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from maze_core.api.asked import opened_run
from maze_core.enums import ExportForm
from maze_core.errors import StorageError, UserError, checked_path, checked_texts
from maze_core.exports.artefact import Trained, policy_of, write_artefact
from maze_core.exports.onnx import write_onnx
from maze_core.live import LiveObjects
from maze_core.registry import load_registry
from maze_core.runs.files import reason_of

DEFAULT_PATHS = {ExportForm.maze: "policy.safetensors", ExportForm.onnx: "policy_onnx"}
"""A file, and a folder with a model for each actor."""

UNNEEDED = ("env", "wrappers", "critic", "runner", "callbacks")
"""Groups whose live objects a policy does without; one that normalises observations is none of them."""


def export(
    input_dir: str | Path,
    path: str | Path | None = None,
    form: str = "maze",
    *,
    plugins: Sequence[str] | str = (),
    local_plugins: bool = True,
    variables: Sequence[str] | str = (),
    **live_objects: Any,
) -> Path:
    """Writes the best policy of a run, as ``maze export`` does.

    Args:
        input_dir: Directory of the run.
        path: Where to; what is there is not replaced. ``policy.safetensors`` or ``policy_onnx`` if not given.
        form: ``maze`` for one file, which `load_policy` loads, or ``onnx`` for a folder with a model for each actor.
        plugins: As for `RunContext`.
        local_plugins: As for `RunContext`.
        variables: Names of environment variables that the run's configuration may use.
        live_objects: Those that the run was given, as they were given.

    Returns:
        The file or folder.

    Raises:
        NothingUsableError: If the run has no policy that can be used.
        UserError: If something exists there, or a package or plugin is missing.
    """
    checked_path("input_dir", input_dir)
    registry, live = (
        load_registry(checked_texts("plugins", plugins), local_plugins, input_dir),
        LiveObjects.again(live_objects),
    )
    known, run = opened_run(registry, live, input_dir, checked_texts("variables", variables), {}, UNNEEDED, "export")
    return write_export(Trained(known, run.configured, run.weights, run.stored.spaces(), run.shown), path, form)


def write_export(trained: Trained, path: str | Path | None, form: str, number: int | None = None) -> Path:
    """Writes a policy in one of the forms; see `export`. One of several runs is known by its number."""
    if form not in ExportForm.__members__:
        raise UserError(f"form={form!r} is not allowed: it must be one of {', '.join(ExportForm.__members__)}.")
    chosen = ExportForm[form]
    target = Path(checked_path("path", path) or DEFAULT_PATHS[chosen]).expanduser()
    if number is not None:
        own_file = target.with_name(f"{target.stem}_{number}{target.suffix}")
        target = own_file if chosen is ExportForm.maze else target / str(number)
    if target.exists():
        raise UserError(f"{target} exists already, and is not replaced. Name another place with --to PATH.")
    if chosen is ExportForm.maze:
        write_artefact(trained, target)
        return target
    with _new_folder(target):
        write_onnx(policy_of(trained), target)
    return target


@contextlib.contextmanager
def _new_folder(target: Path) -> Iterator[None]:
    """Makes a folder, and takes it away again if what fills it raises; so too those above it that were not there."""
    missing = [folder for folder in target.parents if not folder.exists()]
    try:
        target.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{target} cannot be made: {reason_of(error)}. Name another place with --to PATH.") from None
    try:
        yield
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        with contextlib.suppress(OSError):  # one of them is not empty any more
            for folder in missing:
                folder.rmdir()
        raise
