"""Agents with networks of their own: what each learns is its own, for every algorithm and critic."""

from dataclasses import dataclass

import numpy as np
import pytest
from gymnasium import spaces

from maze_core import EnvSpec, RunContext, UserError, hookimpl
from maze_core.rl import StructuredEnv


class SidesEnv(StructuredEnv):
    """Two agents go left or right without seeing who they are: the first is paid for left, the second for right.

    Networks that are shared say the same twice, so they get 1 of each env step; the best is 2.
    """

    BEST_RETURN, N_STEPS = 20.0, 10

    def __init__(self, config=None):
        super().__init__({"go": (spaces.Box(0, 1, (1,)), spaces.Discrete(2))}, n_agents=2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = self.agent = 0
        return self._turn(), {}

    def step(self, action):
        reward = float(action["go"] == self.agent)
        self.agent ^= 1
        self.steps += self.agent == 0
        return self._turn(), reward, False, self.steps == self.N_STEPS and self.agent == 0, {}

    def _turn(self):
        return self.turn_of("go", np.ones(1, np.float32), new_step=self.agent == 0, agent=self.agent)


@dataclass(kw_only=True)
class SidesConfig:
    """Left and right."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="sides", summary="Left and right.", config=SidesConfig, build=SidesEnv)


ALGORITHMS = {
    "ppo": {"algorithm.n_rollout_steps": 32, "algorithm.batch_size": 64, "algorithm.lr": 0.01},
    "a2c": {"algorithm.lr": 0.01},
    "es": {"algorithm.n_rollouts_per_update": 20},
}


def context(algorithm, separate, **overrides):
    options = {"runner.n_epochs": 3, "runner.stop_at_reward": SidesEnv.BEST_RETURN, **overrides}
    model = {"per_actor": {"separate_agents": separate}}
    return RunContext(
        env="sides", model=model, algorithm=algorithm, overrides={**ALGORITHMS[algorithm], **options},
        plugins=__name__, local_plugins=False, callbacks=[], seed=1,
    )  # fmt: skip


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_separate_agents_learn_what_shared_ones_cannot(algorithm, tmp_path):
    with context(algorithm, True, run_dir=str(tmp_path / "separate")) as separate:
        separate.train()
        assert separate.evaluate(2)["BaseEnvEvents/reward/mean"] == SidesEnv.BEST_RETURN
    with context(algorithm, False, run_dir=str(tmp_path / "shared")) as shared:
        shared.train()
        assert shared.evaluate(2)["BaseEnvEvents/reward/mean"] == SidesEnv.BEST_RETURN / 2


@pytest.mark.parametrize("critic", ["shared", "per_sub_step", "shared_embedding", "none"])
def test_every_critic_serves_separate_agents(critic, tmp_path):
    with context("ppo", True, critic=critic, run_dir=str(tmp_path / "run")) as rc:
        rc.train()
        assert rc.evaluate(2)["BaseEnvEvents/reward/mean"] == SidesEnv.BEST_RETURN


def test_one_model_is_chosen_for_all_agents_of_a_step_key():
    overrides = {"model.actors.go": "flatten_concat", "model.actors.go.hidden_sizes": [7]}
    with context("ppo", True, **overrides) as rc:
        sizes = [model.dense.layers[0].out_features for model in rc.policy.models.values()]
        assert (list(rc.policy.models), sizes) == (["go-0", "go-1"], [7, 7])


def test_the_action_for_an_observation_is_that_of_its_agent(tmp_path):
    with context("ppo", True, run_dir=str(tmp_path / "run")) as rc:
        rc.train()
        env = rc.env_factory()
        first, _ = env.reset(seed=0)
        second, *_ = env.step({"go": 0})
        assert [int(rc.compute_action(observation)) for observation in (first, second)] == [0, 1]


def test_critics_cannot_tell_agents_apart_where_policies_do_not():
    overrides = {"critic.model": "per_actor", "critic.model.separate_agents": True}
    with pytest.raises(UserError, match=r"critic\.model\.separate_agents=true.*Use model\.separate_agents=true"):
        context("ppo", False, **overrides).train()
