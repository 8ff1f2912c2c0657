"""Envs of EnvPool: what is told of them, what is refused, and that they train."""

import subprocess
import sys

import numpy as np
import pytest
from gymnasium import spaces
from maze_envpool.config import EnvPoolConfig
from support.resume import Recipe, cut_off, differing, go_on, result

from maze_core import ConfigError, RunContext, UserError
from maze_core.testing import check_env

pytest.importorskip("envpool", reason="EnvPool is not installed; it has wheels for some systems only")

from maze_envpool.envs import (
    make_env,
    make_rendering_env,
    make_vector_env,
    refuse_foreign,
    resolve,
    with_true_bounds,
)


def refusal(check, name="LunarLander-v3", **kwargs):
    with pytest.raises(UserError) as caught:
        check(EnvPoolConfig(name=name, kwargs=kwargs))
    return str(caught.value)


# What it is


def test_where_there_is_no_bound_the_space_has_none():
    space = make_env(EnvPoolConfig()).observation_space
    assert (space.low == -np.inf).all() and (space.high == np.inf).all()


def test_bounds_that_are_true_stay():
    tiny = np.finfo(np.float32).tiny
    given = spaces.Dict({"a": spaces.Box(tiny, 2.0, (2,)), "b": spaces.Box(0, 255, (2,), np.uint8)})
    true = with_true_bounds(given)
    assert true["b"] is given["b"]
    assert (true["a"].low.tolist(), true["a"].high.tolist()) == ([-np.inf] * 2, [2.0] * 2)


def test_the_return_at_which_an_env_counts_as_solved_is_envpools():
    assert make_vector_env(EnvPoolConfig(), 2).spec.reward_threshold == 200


def test_options_reach_the_env():
    env = make_env(EnvPoolConfig(name="Pendulum-v1", kwargs={"max_episode_steps": 3}))
    env.reset(seed=1)
    flags = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(3)]
    env.close()
    assert flags == [(False, False), (False, False), (False, True)]


def test_the_end_of_an_episode_can_be_drawn():
    env = make_rendering_env(EnvPoolConfig(name="CartPole-v1", kwargs={"max_episode_steps": 2}))
    env.reset(seed=1)
    frames = [env.render()]
    for _ in range(2):
        truncated = env.step(0)[3]
        frames.append(env.render())
    env.close()
    assert truncated
    assert (frames[1] != frames[2]).any()


@pytest.mark.parametrize("name", ["LunarLander-v3", "MiniGrid-Empty-5x5-v0"])
def test_what_can_be_drawn_is(name):
    env = make_rendering_env(EnvPoolConfig(name=name))
    env.reset(seed=1)
    frame = env.render()
    env.close()
    assert (frame.dtype, frame.ndim, frame.shape[2]) == (np.uint8, 3, 3)
    assert len(np.unique(frame)) > 2


def test_what_cannot_be_drawn_says_so():
    assert refusal(make_rendering_env, "FrozenLake-v1").startswith("env 'FrozenLake-v1' cannot be shown: render not")
    assert refusal(make_rendering_env, "Ant-v5").endswith("with the same policy: env=gym_env.")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if number < 3 else [pytest.mark.long])
        for number, name in enumerate(
            ["BipedalWalker-v3", "Taxi-v3", "Hopper-v5", "Ant-v5", "Humanoid-v5", "Acrobot-v1", "MountainCar-v0",
             "Blackjack-v1", "Catch-v0", "BabyAI-GoToObj-v0", "Snake-v1", "highway-v0", "CheetahRun-v1"]
        )
    ],
)  # fmt: skip
def test_envs_of_every_kind_keep_the_contract(name):
    check_env(make_env(EnvPoolConfig(name=name)), n_env_steps=100)


# What is refused


def test_a_misspelt_id_is_refused_with_the_nearest_one():
    message = refusal(resolve, "LunarLandr-v3")
    assert message.startswith("EnvPool has no env 'LunarLandr-v3'. Did you mean 'LunarLander-v3'?")


def test_an_unknown_option_is_refused_with_the_nearest_one():
    message = refusal(resolve, max_episode_step=5)
    assert message.startswith(
        "env 'LunarLander-v3' has no option 'max_episode_step' in env.kwargs. Did you mean 'max_epi"
    )


@pytest.mark.parametrize("key", ["seed", "num_envs", "batch_size", "num_threads"])
def test_options_that_are_set_by_others_are_none_of_the_env(key):
    assert f"has no option '{key}' in env.kwargs." in refusal(resolve, **{key: 1})


def test_a_value_of_another_type_is_refused_without_telling_it():
    message = refusal(resolve, max_episode_steps="secret")
    assert message == "env 'LunarLander-v3' does not take the values of its env.kwargs (max_episode_steps)."


def test_envs_for_several_players_are_refused():
    assert "is for several players" in refusal(resolve, "Go9x9-v1")


def test_a_foreign_configuration_names_no_file():
    refuse_foreign(EnvPoolConfig(kwargs={"max_episode_steps": 5, "reward_threshold": 1.0}))
    assert "the option 'base_path' of env.kwargs may name a file" in refusal(refuse_foreign, base_path="/etc")
    assert "EnvPool has no env 'evil:Env-v0'" in refusal(refuse_foreign, "evil:Env-v0")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    assert "\nNext: pip install envpool (there are wheels for Linux" in refusal(resolve)


def test_importing_envpool_leaves_the_environment_as_it_was():
    code = (
        "import os; before = dict(os.environ); from maze_envpool.config import EnvPoolConfig; "
        "from maze_envpool.envs import resolve; resolve(EnvPoolConfig()); assert dict(os.environ) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_there_is_at_least_one_thread():
    with pytest.raises(ConfigError, match=r"n_threads=0 .* must be a whole number from 1 to 1024"):
        EnvPoolConfig(n_threads=0)


# How it trains

LANDER = Recipe("ppo", groups={"env": "envpool"})


def test_a_run_that_was_cut_off_ends_as_if_nothing_had_happened(tmp_path):
    whole = LANDER.train(tmp_path / "whole")
    copy = cut_off(whole, tmp_path / "copy", after=1)
    go_on(copy)
    assert differing(result(whole), result(copy)) == []


def test_the_number_of_threads_changes_no_bit(tmp_path):
    runs = [
        Recipe("ppo", {"env.n_threads": n, "runner.checkpoint.keep": 2}, {"env": "envpool"}).train(tmp_path / str(n))
        for n in (1, 2)
    ]
    ours = [{key: bits for key, bits in result(run).items() if key.startswith("state_dict")} for run in runs]
    assert differing(*ours) == []


@pytest.mark.workers
def test_the_number_of_workers_changes_no_bit(tmp_path):
    evaluations = []
    for n in (0, 1):
        overrides = {"runner.n_workers": n, "runner.n_epochs": 1, "algorithm.n_rollouts_per_update": 8}
        with RunContext(
            algorithm="es", env={"envpool": {"name": "CartPole-v1"}}, overrides=overrides, callbacks=[], seed=5,
            silent=True, run_dir=tmp_path / str(n),
        ) as context:  # fmt: skip
            context.train()
            evaluations.append(context.evaluate(3))
    assert evaluations[0] == evaluations[1]


@pytest.mark.learning
def test_cartpole_is_solved(tmp_path):
    with RunContext(
        algorithm="ppo", env={"envpool": {"name": "CartPole-v1"}}, callbacks=[], seed=1, silent=True,
        local_plugins=False, run_dir=tmp_path / "run",
    ) as run:  # fmt: skip
        assert run.train().stop_reason.startswith("solved")


@pytest.mark.learning
@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_lander_lands(tmp_path):
    overrides = {"runner.total_env_steps": 600_000, "runner.stop_at_reward": float("inf")}
    with RunContext(
        experiment="ppo_envpool_lunar_lander", overrides=overrides, callbacks=[], seed=1, silent=True,
        local_plugins=False, run_dir=tmp_path / "run",
    ) as run:  # fmt: skip
        run.train()
        assert run.evaluate(50)["BaseEnvEvents/reward/mean"] > 100
