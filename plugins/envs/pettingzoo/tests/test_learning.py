"""A game is learned, nearly as well as it can be played; what can be reached is computed from all boards."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from maze_pettingzoo.config import PettingZooConfig
from maze_pettingzoo.envs import make_env

from maze_core import RunContext
from maze_core.stats.aggregates import wilson_interval

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What computes what players reach."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("tictactoe_play")


def test_the_best_first_player_loses_never_and_draws_once_in_192_games(play: ModuleType) -> None:
    assert play.rates("x") == pytest.approx((191 / 192, 1 / 192, 0))
    assert play.rates("x", play.free) == pytest.approx((0.5849, 0.1270, 0.2881), abs=1e-4)


@pytest.mark.parametrize(("agent", "mark"), [("player_1", "x"), ("player_2", "o")])
def test_what_is_computed_of_a_player_is_what_happens(agent: str, mark: str, play: ModuleType) -> None:
    """Of one that always takes the first place that is free."""
    env, won, n = make_env(PettingZooConfig(agent=agent)), 0, 400
    for seed in range(n):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            observation, reward, over, *_ = env.step(int(np.flatnonzero(observation["action_mask"])[0]))
        won += reward > 0
    low, high = wilson_interval(won, n, 0.999)
    assert low < play.rates(mark, lambda board: play.free(board)[:1]).win < high


def wins(run: RunContext, n: int) -> int:
    return round(n * run.evaluate(n)["KPIs/win_rate/mean"])


@pytest.mark.learning
def test_some_seconds_of_training_win_far_more_often_than_chance(tmp_path: Path, play: ModuleType) -> None:
    overrides = {
        "runner.total_env_steps": 10_000, "runner.evaluation.n_episodes": 50, "model.hidden_sizes": [64, 64],
        "algorithm.n_rollout_steps": 32, "runner.n_workers": 0,
    }  # fmt: skip
    with RunContext(
        experiment="ppo_tictactoe", overrides=overrides, run_dir=tmp_path / "run", seed=1, silent=True, callbacks=[],
        local_plugins=False,
    ) as run:  # fmt: skip
        run.train()
        assert wilson_interval(wins(run, 300), 300)[0] > play.rates("x", play.free).win + 0.1


@pytest.mark.learning
@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_experiment_wins_nearly_as_often_as_the_best_player(tmp_path: Path, play: ModuleType) -> None:
    with RunContext(
        experiment="ppo_tictactoe", run_dir=tmp_path / "run", seed=1, silent=True, callbacks=[], local_plugins=False
    ) as run:
        run.train()
        assert wins(run, 2000) / 2000 >= play.rates("x").win - 0.01
