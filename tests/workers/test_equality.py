"""The number of workers changes nothing of what is learned."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.workers import SIZES, faulty, no_worker_is_left, trained, weights_hash  # noqa: F401  # a fixture

from maze_core.api import RunContext

pytestmark = [
    pytest.mark.usefixtures("workdir", "no_worker_is_left"),
    pytest.mark.workers,
    pytest.mark.timeout(240),
]

ENVS: dict[str, dict[str, Any]] = {
    "its own vector form": {"env": {"gym_env": {"name": "CartPole-v1"}}},
    "scalar": {"env": {"gym_env": {"name": "Acrobot-v1", "kwargs": {"max_episode_steps": 40}}}},
    "structured": {"env": "tutorial_cutting_2d_struct_masked"},
    "normalised": {
        "env": {"gym_env": {"name": "MountainCar-v0", "kwargs": {"max_episode_steps": 40}}},
        "wrappers": {"return_normalization": {}, "observation_normalization": {"statistics": "running"}},
    },
}


def learned(algorithm: str, env: str, n_workers: int, **overrides: Any) -> tuple[str, list[dict[str, float]]]:
    """Weights at the end, and all statistics of an evaluation."""
    own = {**SIZES[algorithm], "runner.n_workers": n_workers, "run_dir": f"run-{n_workers}", **overrides}
    with RunContext(algorithm=algorithm, overrides=own, callbacks=[], seed=5, silent=True, **ENVS[env]) as context:
        context.train()
        return weights_hash(context), [context.evaluate(3)]


CASES = [(algorithm, env) for algorithm in SIZES for env in ENVS]


@pytest.mark.parametrize(
    ("algorithm", "env", "n_workers"),
    [
        pytest.param(
            algorithm, env, n_workers,
            marks=[pytest.mark.long] if (index + n_workers) % 3 or (env, algorithm) == ("normalised", "a2c") else [],
        )
        for index, (algorithm, env) in enumerate(CASES)
        for n_workers in (1, 2, 3)
    ],
)  # fmt: skip
def test_workers_learn_the_same_bits(algorithm: str, env: str, n_workers: int) -> None:
    assert learned(algorithm, env, n_workers) == learned(algorithm, env, 0)


def test_large_networks_act_alike_although_the_main_process_has_more_threads() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        env = {"env.name": "Pendulum-v1", "env.kwargs": {"max_episode_steps": 20}}
        large = {**env, "model.hidden_sizes": [512, 1024], "runner.kernel": "autograd"}
        found = []
        for n_workers in (0, 1):
            overrides = {**large, **SIZES["es"], "runner.n_workers": n_workers, "runner.n_epochs": 1}
            with RunContext(
                env="gym_env", algorithm="es", overrides=overrides, seed=5, callbacks=[], silent=True
            ) as run:
                found.append(run.evaluate(7))
        assert found[0] == found[1]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("algorithm", "before", "after"),
    [("ppo", 2, 3), ("es", 3, 0), pytest.param("a2c", 0, 2, marks=pytest.mark.long)],
)
def test_a_run_goes_on_with_another_number_of_workers(algorithm: str, before: int, after: int) -> None:
    epochs = SIZES[algorithm]["runner.n_epochs"]
    expected = trained(algorithm, run_dir=Path("whole"), n_epochs=2 * epochs)
    with faulty(algorithm, before, n_epochs=2 * epochs, run_dir=Path("run")) as context:
        context.train(n_epochs=epochs)
    overrides = [f"runner.n_workers={after}"]
    plugins = [plugin.location for plugin in context.registry.plugins if plugin.origin == "option"]
    with RunContext.resume("run", overrides=overrides, plugins=plugins, silent=True) as resumed:
        resumed.train()
        assert weights_hash(resumed) == expected
        assert not any("NOT exact" in note for note in resumed._built.notes)  # type: ignore[union-attr]


def test_a_local_project_is_loaded_in_workers_too(workdir: Path) -> None:
    source = Path(__file__).parents[1] / "data" / "faulty" / "maze_plugins.py"
    shutil.copy(source, workdir)
    results = []
    for n_workers in (0, 2):
        overrides = {**SIZES["ppo"], "runner.n_workers": n_workers, "run_dir": f"run-{n_workers}"}
        with RunContext(env="faulty", algorithm="ppo", overrides=overrides, callbacks=[], seed=1, silent=True) as run:
            run.train()
            results.append(weights_hash(run))
    assert results[0] == results[1]
