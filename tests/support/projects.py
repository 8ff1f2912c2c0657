"""Local projects for tests: the scripted one of tests/data, and small ones written on the spot."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from maze_core.api import RunContext

SCRIPTED = Path(__file__).parents[1] / "data" / "scripted"
"""A folder for ``--plugin``; see the docstring of its maze_plugins.py."""

SMALL = ("runner.n_epochs=1", "algorithm.n_rollouts_per_update=4", "seed=1")
"""Overrides of a training run that takes some milliseconds."""

PLUGIN = '''"""A local project."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class {name}Config:
    """An env."""

    size: int = 1
    """How large it is."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="{name}", summary="An env.", config={name}Config, build="nowhere:nothing")
'''


def write_project(folder: Path, env: str, presets: dict[str, str] | None = None) -> Path:
    """Writes a maze_plugins.py that offers an env, and a conf/ beside it; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "maze_plugins.py").write_text(PLUGIN.format(name=env))
    for name, text in (presets or {}).items():
        write(folder / "conf" / f"{name}.yaml", text)
    return folder


def write(file: Path, text: str) -> Path:
    """Writes a file, its folder too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def copy_scripted(folder: Path) -> Path:
    """Puts the scripted project into a folder."""
    return Path(shutil.copy(SCRIPTED / "maze_plugins.py", folder))


def scripted(script: list[float], **options: Any) -> RunContext:
    """A run on env `dial` whose evaluation after update i gives exactly ``script[i]``."""
    overrides = {"model.hidden_sizes": [], "seed": 1, **options.pop("overrides", {})}
    callbacks = options.pop("callbacks", [])
    algorithm = {"scripted": {"script": script, **options.pop("algorithm", {})}}
    return RunContext(
        env=options.pop("env", "dial"),
        algorithm=algorithm,
        callbacks=callbacks,
        plugins=[str(SCRIPTED)],
        overrides=overrides,
        **options,
    )
