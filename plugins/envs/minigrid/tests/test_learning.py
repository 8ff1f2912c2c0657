"""PPO learns to solve grid worlds."""

import pytest

from maze_core import RunContext

EMPTY_ROOM = {
    "env.name": "MiniGrid-Empty-5x5-v0",
    "model.n_channels": [8],
    "algorithm.n_rollout_steps": 64,
    "algorithm.lr": 0.005,
    "algorithm.gamma": 0.95,
    "algorithm.entropy_coef": 0.0,
    "algorithm.epoch_length": 8,
    "runner.total_env_steps": 8192,
    "runner.n_workers": 0,
}
"""Few steps in a room where the goal is near."""

SUCCESS, RETURN = "KPIs/success/mean", "BaseEnvEvents/reward/mean"


def trained(overrides, tmp_path):
    """Statistics of 100 episodes after training."""
    with RunContext(
        experiment="ppo_minigrid", overrides=overrides, callbacks=[], seed=1, silent=True, local_plugins=False,
        run_dir=tmp_path / "run",
    ) as run:  # fmt: skip
        run.train()
        return run.evaluate(100)


@pytest.mark.learning
def test_an_empty_room_is_crossed(tmp_path):
    statistics = trained(EMPTY_ROOM, tmp_path)
    assert statistics[SUCCESS] == 1.0
    assert statistics[RETURN] > 0.9


@pytest.mark.learning
@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_door_is_opened_with_the_key(tmp_path):
    statistics = trained({}, tmp_path)
    assert statistics[SUCCESS] > 0.95
    assert statistics[RETURN] > 0.9
