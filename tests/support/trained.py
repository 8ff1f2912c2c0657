"""Small runs that were trained once for all tests that open one; nobody may change them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from maze_core.api import RunContext

PENDULUM = {"gym_env": {"name": "Pendulum-v1", "kwargs": {"max_episode_steps": 20}}}
CUTTING = {"cutting_2d_struct_masked": {"max_steps": 6}}
SMALL = {
    "es": {"algorithm.n_rollouts_per_update": 4},
    "ppo": {"algorithm.n_envs": 2, "algorithm.n_rollout_steps": 8, "algorithm.batch_size": 8,
            "algorithm.n_optimization_epochs": 2, "algorithm.epoch_length": 1},
    "a2c": {"algorithm.n_envs": 2, "algorithm.n_rollout_steps": 8, "algorithm.epoch_length": 1},
}  # fmt: skip

NORMALIZED = "observation_normalization"

RUNS: dict[str, dict[str, Any]] = {
    "flat": {"algorithm": "es", "env": "gym_env"},
    "structured": {"algorithm": "ppo", "env": CUTTING},
    "sampled": {"algorithm": "a2c", "env": PENDULUM, "wrappers": {NORMALIZED: {"n_samples": 50}}},
    "running": {"algorithm": "ppo", "env": PENDULUM, "wrappers": {NORMALIZED: {"statistics": "running"}}},
    "squashed": {"algorithm": "ppo", "env": PENDULUM,
                 "overrides": {"algorithm.box_distribution": "squashed_gaussian"}},
    "embedded": {"algorithm": "a2c", "env": CUTTING, "critic": "shared_embedding"},
    "per actor": {"algorithm": "es", "env": CUTTING,
                  "overrides": {"model": "per_actor", "model.actors.cut_piece": "flatten_concat",
                                "model.actors.cut_piece.hidden_sizes": [3]}},
    "wrapped": {"algorithm": "es", "env": PENDULUM,
                "wrappers": {"reward_scaling": {"scale": 0.1}, "observation_stacking": {"n_observations": 2},
                             "time_limit": {"max_env_steps": 7}}},
    "autograd": {"algorithm": "es", "env": PENDULUM, "overrides": {"runner.kernel": "autograd"}},
}  # fmt: skip
"""Arguments of a `RunContext` by name; what makes all of them small is added."""


def context(name: str, **options: Any) -> RunContext:
    """A run of this name that was not trained yet."""
    own = {**RUNS[name].get("overrides", {}), **options.pop("overrides", {})}
    arguments = {**RUNS[name], **options}
    hidden = {} if arguments.get("model") or "model" in own else {"model.hidden_sizes": [4]}
    overrides = {
        **SMALL[arguments["algorithm"]], **hidden, "runner.n_epochs": 1, "runner.evaluation.n_episodes": 2,
        "runner.n_workers": 0, **own,
    }  # fmt: skip
    return RunContext(**{"callbacks": [], "seed": 3, "silent": True, **arguments, "overrides": overrides})


class Runs:
    """Trains each run when it is asked for the first time.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> Path:
        """The directory of a run."""
        path = self._folder / name.replace(" ", "_")
        if not path.exists():
            with context(name, run_dir=path) as run:
                run.train()
        return path

    def copy(self, name: str, to: Path) -> Path:
        """A copy that may be changed."""
        return Path(shutil.copytree(self(name), to))
