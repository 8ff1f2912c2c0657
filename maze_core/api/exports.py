"""Policies for use elsewhere: one file, or ONNX models."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maze_core.api.asked import as_list
from maze_core.enums import ExportForm
from maze_core.errors import UserError
from maze_core.exports.artefact import Trained, policy_of, write_artefact
from maze_core.exports.onnx import write_onnx
from maze_core.live import LiveObjects
from maze_core.registry import load_registry
from maze_core.runs.opened import open_run

DEFAULT_PATHS = {ExportForm.maze: "policy.safetensors", ExportForm.onnx: "policy_onnx"}
"""A file, and a folder with a model for each actor."""


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
    registry = load_registry(as_list(plugins), local_plugins, input_dir)
    registry = LiveObjects.again(live_objects).known_to(registry)
    run = open_run(registry, input_dir, as_list(variables))
    return write_export(Trained(registry, run.configured, run.weights, run.stored.spaces(), run.shown), path, form)


def write_export(trained: Trained, path: str | Path | None, form: str) -> Path:
    """Writes a policy in one of the forms; see `export`."""
    if form not in ExportForm.__members__:
        raise UserError(f"form={form!r} is not allowed: it must be one of {', '.join(ExportForm.__members__)}.")
    chosen = ExportForm[form]
    target = Path(DEFAULT_PATHS[chosen] if path is None else path).expanduser()
    if target.exists():
        raise UserError(f"{target} exists already, and is not replaced. Name another place with --to PATH.")
    if chosen is ExportForm.maze:
        write_artefact(trained, target)
        return target
    target.mkdir(parents=True)
    try:
        write_onnx(policy_of(trained), target)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target
