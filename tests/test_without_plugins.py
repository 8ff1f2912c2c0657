"""Without one of our plugins everything works but the runs that need it, and those say what to install."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import run_cli
from support.projects import write
from test_plugins import PACKAGES

pytestmark = pytest.mark.usefixtures("workdir")

ES = ["env=gym_env", "algorithm=es", "model=flatten_concat", "algorithm.n_rollouts_per_update=4"]
A2C = ["env=gym_env", "algorithm=a2c", "model=flatten_concat", "algorithm.n_envs=2", "algorithm.n_rollout_steps=4"]
CUTTING = ["env=cutting_2d_flat", "model=cutting_2d_flat", "algorithm=es", "algorithm.n_rollouts_per_update=2"]
SMALL = ["runner.n_epochs=1", "algorithm.epoch_length=1", "runner.evaluation.n_episodes=1", "callbacks=[]", "seed=1"]

OTHERS = {
    "a2c": ES,
    "cutting_2d": ES,
    "envpool": ES,
    "es": A2C,
    "gym_env": CUTTING,
    "minigrid": ES,
    "optuna": ES,
    "ray": ES,
    "perception": ["--plugin", "models.py", "env=gym_env", "algorithm=es", "model=ours", ES[-1]],
    "pettingzoo": ES,
    "ppo": ES,
}
"""A run that does not need the plugin."""

NEEDING = {
    "a2c": [["train", "algorithm=a2c"], ["train", "experiment=a2c_cartpole"]],
    "cutting_2d": [
        ["train", "env=tutorial_cutting_2d_struct_masked"],
        ["train", "experiment=ppo_cutting_2d"],
        ["rollout", "policy=cutting_2d_greedy"],
        ["config", "wrappers=cutting_2d"],
    ],
    "envpool": [["train", "env=envpool"], ["train", "experiment=ppo_envpool_lunar_lander"], ["info", "env", "envpool"]],
    "es": [["train"], ["config"], ["train", "experiment=es_pendulum"], ["info", "algorithm", "es"]],
    "gym_env": [["train"], ["rollout"], ["info", "env", "gym_env"]],
    "minigrid": [
        ["train", "env=minigrid"],
        ["train", "experiment=ppo_minigrid"],
        ["config", "model=minigrid_cells"],
    ],
    "optuna": [["sweep", "algorithm.lr=0.1,0.2"], ["info", "sweeper", "optuna"]],
    "ray": [["train", "runner=ray"], ["info", "runner", "ray"]],
    "perception": [["train"], ["train", "critic.model=vector_obs", "algorithm=ppo"], ["info", "model", "vector_obs"]],
    "pettingzoo": [
        ["train", "env=pettingzoo"],
        ["train", "experiment=ppo_tictactoe"],
        ["info", "env", "pettingzoo"],
    ],
    "ppo": [["train", "algorithm=ppo"], ["train", "experiment=ppo_pendulum"]],
}
"""Commands that need it."""

MODEL = '''
from dataclasses import dataclass

from maze_core import ModelSpec, hookimpl


@dataclass(kw_only=True)
class OurConfig:
    """No options."""


def build(config, observation_space, output_sizes):
    from torch import nn
    from maze_core.rl.blocks import FlattenedModel

    n_inputs = sum(space.shape[0] for space in observation_space.values())
    return FlattenedModel(nn.Sequential(nn.Linear(n_inputs, sum(output_sizes.values()))), output_sizes)


@hookimpl
def maze_models():
    yield ModelSpec(name="ours", summary="One layer.", config=OurConfig, build=build)
'''


@pytest.fixture(params=PACKAGES)
def missing(request: pytest.FixtureRequest, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the plugin that is switched off."""
    monkeypatch.setenv("MAZE_DISABLE_PLUGINS", request.param)
    write(workdir / "models.py", MODEL)
    return str(request.param)


def test_commands_that_look_work(missing: str) -> None:
    listed = run_cli("plugins", "list", "--json")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert [row["plugin"] for row in listed.json] == ["builtins", *(name for name in PACKAGES if name != missing)]
    assert {row["status"] for row in listed.json} == {"ok"}
    for words in (["list"], ["list", "presets"], ["--help"], ["config", *OTHERS[missing]]):
        result = run_cli(*words)
        assert (result.exit_code, result.stderr) == (0, ""), words


def test_a_run_that_does_not_need_it_works(missing: str, workdir: Path) -> None:
    result = run_cli("train", *OTHERS[missing], *SMALL, "run_dir=run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (workdir / "run" / "state_dict.pt").is_file()


def test_what_needs_it_says_what_to_install(missing: str) -> None:
    for words in NEEDING[missing]:
        result = run_cli(*words)
        assert result.exit_code == 2, words
        assert f"Next: pip install maze-{missing.replace('_', '-')}\n" in result.stderr, words
