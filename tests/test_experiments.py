"""Every experiment whose env is installed trains an epoch."""

from __future__ import annotations

from importlib.util import find_spec

import gymnasium
import pytest

from maze_core import MissingPackageError, RunContext
from maze_core.config import ConfigRequest, Configured, configure
from maze_core.config.overrides import items_of_mapping
from maze_core.presets import group_options
from maze_core.registry import load_registry


def experiments() -> list[str]:
    return [source.name for source in group_options(load_registry(local_plugins=False), (), "experiment")]


def composed(name: str) -> Configured:
    try:
        return configure(
            load_registry(local_plugins=False), ConfigRequest(items=items_of_mapping({"experiment": name}))
        )
    except MissingPackageError as error:
        pytest.skip(f"NOT COMPOSED: {error}")


@pytest.mark.parametrize("name", experiments())
def test_experiment_names_a_current_env_and_is_called_after_its_algorithm(name):
    configured = composed(name)
    assert configured.notes == []
    assert name.startswith(f"{configured.components['algorithm']}_")


SMALL_ROLLOUT = {"n_rollout_steps": 8, "epoch_length": 2}
SMALL = {
    "es": {"n_rollouts_per_update": 4},
    "ppo": {**SMALL_ROLLOUT, "batch_size": 4, "n_optimization_epochs": 2},
    "a2c": SMALL_ROLLOUT,
}
"""What makes an epoch of each algorithm take a moment."""


@pytest.mark.parametrize("name", experiments())
def test_experiment_trains(name, tmp_path):
    configured = composed(name)
    env = getattr(configured.config.env, "name", None)
    spec = gymnasium.registry.get(env)  # names of other plugins are no ids of Gymnasium
    if spec and "mujoco" in str(spec.entry_point) and find_spec("mujoco") is None:
        pytest.skip(f"NOT TRAINED: {env} needs the package mujoco. Next: pip install 'mujoco<4'")
    small = {f"algorithm.{key}": value for key, value in SMALL[configured.components["algorithm"]].items()}
    small |= {"runner.n_epochs": 1, "runner.evaluation.n_episodes": 1}
    with RunContext(experiment=name, overrides=small, seed=1, run_dir=tmp_path / "run", callbacks=[]) as rc:
        assert rc.train().stop_reason == "1 epoch done"
