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


COMPONENT = '''"""A local project that offers `ours`."""

from dataclasses import dataclass

import maze_core
from maze_core import hookimpl


@dataclass(kw_only=True)
class OurConfig({base}):
    """No options."""


{source}


@hookimpl
def maze_{hook}():
    yield maze_core.{spec}(name="ours", summary="", config=OurConfig, build={build})
'''
SPECS = {
    "env": ("envs", "EnvSpec", "object"),
    "wrapper": ("wrappers", "WrapperSpec", "object"),
    "model": ("models", "ModelSpec", "object"),
    "algorithm": ("trainers", "TrainerSpec", "object"),
    "runner": ("runners", "RunnerSpec", "maze_core.RunnerConfig"),
    "policy": ("policies", "PolicySpec", "object"),
    "callback": ("callbacks", "CallbackSpec", "object"),
}
"""Hook, spec and base of the config, by kind."""


def write_component(folder: Path, kind: str, source: str, build: str = "build") -> Path:
    """Writes a maze_plugins.py that offers something named `ours`; returns the folder.

    Args:
        folder: Where.
        kind: What it is.
        source: Code that goes with it.
        build: Expression of what makes it.
    """
    hook, spec, base = SPECS[kind]
    write(
        folder / "maze_plugins.py",
        COMPONENT.format(source=source, hook=hook, spec=spec, base=base, build=build),
    )
    return folder


ENV = """
def build(config):
    import gymnasium
    import numpy as np
    from gymnasium import spaces

    class Ours(gymnasium.Env):
        observation_space, action_space = {observation_space}, {action_space}

        def reset(self, *, seed=None, options=None):
            {before_reset}
            return {first}, {{}}

        def step(self, action):
            {before_step}
            return {later}, {reward}, {terminated}, False, {{}}

    return Ours()
"""


def write_env(folder: Path, **parts: str) -> Path:
    """Writes a local project whose env `ours` has episodes of one step.

    Args:
        folder: Where.
        parts: Expressions: ``observation_space``, ``action_space``, ``first`` and ``later``
            observation, ``reward``, ``terminated``; and the statements ``before_reset`` and ``before_step``.
    """
    defaults = {
        "observation_space": "spaces.Box(-1.0, 1.0, (2,))", "action_space": "spaces.Discrete(2)",
        "first": "np.zeros(2, np.float32)", "reward": "1.0", "terminated": "True",
        "before_reset": "pass", "before_step": "pass",
    }  # fmt: skip
    parts = defaults | parts
    return write_component(folder, "env", ENV.format(**{"later": parts["first"], **parts}))


def write_package(folder: Path, name: str, presets: dict[str, str]) -> Path:
    """Writes a distribution whose plugin brings presets only; to be installed by its folder on sys.path."""
    home = folder / name
    write(home / f"{name}-1.0.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    write(home / f"{name}-1.0.dist-info" / "entry_points.txt", f"[maze]\n{name} = {name}\n")
    write(home / f"{name}.py", '"""It brings presets."""\n')
    for preset, text in presets.items():
        write(home / "conf" / f"{preset}.yaml", text)
    return home
