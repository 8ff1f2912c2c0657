"""Advantage actor-critic: what holds exactly, and what is learned."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from maze_a2c.config import A2CConfig, Optimizer
from support.actor_critic import (
    CRITICS,
    copied,
    final_return,
    leaves,
    own_weights,
    softmax,
    spread,
    train,
    watched,
    weights,
)
from support.build import env_factory, gym_factory, make_actor_critic
from support.envs import (
    PICK,
    BanditEnv,
    FaultyEnv,
    IdentityEnv,
    LinearQuadraticEnv,
    MaskedEnv,
    RandomEnv,
    TwoStateEnv,
    TwoStepEnv,
)
from support.spaces import any_space

from maze_core import BoxDistribution, ConfigError, NonFiniteError, RunContext, Schedule, UserError
from maze_core.rl import FLAT, get_vector
from maze_core.runs.threads import limited_threads

KERNELS = pytest.mark.parametrize("autograd", [False, True], ids=["dense", "autograd"])
OPTIMIZERS = pytest.mark.parametrize("optimizer", list(Optimizer), ids=lambda optimizer: optimizer.name)
CARTPOLE, PENDULUM = gym_factory("CartPole-v1"), gym_factory("Pendulum-v1")
UNEVEN = env_factory(lambda: TwoStepEnv(uneven=True, varied=True))
EVEN = env_factory(lambda: TwoStepEnv(varied=True))
SMALL = {"n_envs": 4, "n_rollout_steps": 5}


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks are small here."""
    with limited_threads(True):
        yield


def a2c(factory=CARTPOLE, seed=0, *, job=None, **options):
    return make_actor_critic("a2c", factory, seed, job=job, **{**SMALL, **options})


# What an update looks at


@KERNELS
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("factory", [CARTPOLE, PENDULUM, EVEN], ids=["categorical", "gaussian", "structured"])
def test_the_gradient_is_that_of_ppo_with_a_single_step_on_the_whole_rollout(factory, normalize, autograd):
    common = {"n_envs": 4, "n_rollout_steps": 16, "gae_lambda": 0.9, "entropy_coef": 0.01, "max_grad_norm": None,
              "normalize_advantages": normalize}  # fmt: skip
    options = {"a2c": common, "ppo": {**common, "batch_size": 64, "n_optimization_epochs": 1}}
    found = []
    for name in ("a2c", "ppo"):
        trainer = spread(make_actor_critic(name, factory, job={"autograd": autograd}, **options[name]))
        metrics = trainer.step()
        found.append(trainer.kernel.parameters.gradients.numpy())
        assert np.linalg.norm(found[-1]) == pytest.approx(metrics["gradient_norm"], rel=1e-6)
    np.testing.assert_allclose(found[0] / metrics["gradient_norm"], found[1] / metrics["gradient_norm"], atol=1e-6)


@KERNELS
@pytest.mark.parametrize("factory", [CARTPOLE, PENDULUM, UNEVEN], ids=["categorical", "gaussian", "structured"])
def test_an_update_looks_once_at_the_whole_rollout_with_the_weights_that_collected_it(factory, autograd):
    trainer = spread(a2c(factory, job={"autograd": autograd}))

    def look(samples):
        return sum(len(part.actions) for part in samples), get_vector(trainer.policy)

    looks, collected_by = watched(trainer, look), []
    for _ in range(3):
        collected_by.append(get_vector(trainer.policy))
        trainer.step()
    assert len(looks) == 3
    assert min(n for n, _ in looks) >= 20
    assert all(torch.equal(weights, before) for (_, weights), before in zip(looks, collected_by, strict=True))
    assert not torch.equal(collected_by[0], collected_by[1])


@KERNELS
@OPTIMIZERS
@pytest.mark.parametrize("critic", ["shared", "per_sub_step"])
def test_during_its_burn_in_only_the_critic_learns(critic, optimizer, autograd):
    job = {"critic": critic, "autograd": autograd}
    trainer = a2c(PENDULUM, job=job, critic_burn_in_epochs=1, epoch_length=2, entropy_coef=0.1, optimizer=optimizer)
    policy, values = own_weights(trainer.policy), own_weights(trainer.kernel.critic)
    for _ in range(2):
        assert all(np.isfinite(value) for value in trainer.step().values())
        np.testing.assert_array_equal(own_weights(trainer.policy), policy)
        assert not np.array_equal(own_weights(trainer.kernel.critic), values)
        values = own_weights(trainer.kernel.critic)
    trainer.step()
    assert not np.array_equal(own_weights(trainer.policy), policy)


# What it reports and counts


@pytest.mark.parametrize("factory", [CARTPOLE, PENDULUM, UNEVEN], ids=["categorical", "gaussian", "structured"])
def test_the_diagnostics_are_complete_and_finite(factory):
    trainer = a2c(factory)
    for _ in range(3):
        metrics = trainer.step()
        assert set(metrics) >= {
            "policy_loss", "value_loss", "entropy", "explained_variance", "gradient_norm", "lr", "entropy_coef",
        }  # fmt: skip
        assert all(np.isfinite(value) for value in metrics.values())
        assert metrics["gradient_norm"] > 0


def test_a_step_counts_one_update_its_env_steps_and_the_episodes_that_ended():
    trainer = a2c()
    for _ in range(20):
        trainer.step()
    assert (trainer.updates, trainer.env_steps, len(trainer.episodes)) == (20, 400, 20)
    lengths = [n for batch in trainer.episodes for n in batch.lengths.tolist()]
    assert 400 - 4 * max(lengths) * 3 < sum(lengths) <= 400


@KERNELS
def test_after_a_step_the_networks_are_as_evaluation_needs_them(autograd):
    trainer = a2c(job={"autograd": autograd})
    trainer.step()
    assert not trainer.policy.training
    assert not trainer.kernel.critic.training


def test_schedules_go_down_over_the_smaller_budget():
    linear = dict.fromkeys(("lr_schedule", "entropy_coef_schedule"), Schedule.linear)
    for budget in ({"n_epochs": 2, "total_env_steps": 10**6}, {"n_epochs": 50, "total_env_steps": 4 * 20 - 1}):
        trainer = a2c(job=budget, epoch_length=2, lr=0.4, entropy_coef=0.1, **linear)
        metrics = [trainer.step() for _ in range(5)]
        assert [m["lr"] for m in metrics] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.1])
        assert [m["entropy_coef"] for m in metrics] == pytest.approx([0.1, 0.075, 0.05, 0.025, 0.025])


@pytest.mark.parametrize("name", ["lr_schedule", "entropy_coef_schedule"])
def test_a_linear_schedule_without_a_budget_is_an_error(name):
    with pytest.raises(UserError, match=r"a linear schedule needs to know when it ends. Set runner.n_epochs or"):
        a2c(**{name: Schedule.linear})


# Bits and state


@KERNELS
@pytest.mark.parametrize("factory", [CARTPOLE, PENDULUM, UNEVEN], ids=["categorical", "gaussian", "structured"])
def test_the_same_seed_gives_the_same_bits(factory, autograd):
    one, other = (a2c(factory, job={"autograd": autograd}) for _ in range(2))
    for _ in range(3):
        assert one.step() == other.step()
    np.testing.assert_array_equal(weights(one), weights(other))


def test_another_seed_gives_another_run():
    assert a2c(seed=0).step() != a2c(seed=1).step()


def test_a_state_is_made_of_tensors_and_json_values():
    trainer = a2c()
    trainer.step()
    assert json.loads(json.dumps(leaves(trainer.state_dict()))) == leaves(trainer.state_dict())


@OPTIMIZERS
def test_a_state_that_was_handed_out_does_not_change_when_training_goes_on(optimizer):
    trainer = a2c(optimizer=optimizer)
    trainer.step()
    state = trainer.state_dict()
    kept = leaves(copied(state))
    trainer.step()
    assert leaves(state) == kept


@OPTIMIZERS
def test_trainers_that_take_over_a_state_go_on_alike(optimizer):
    first, second, third = (
        a2c(optimizer=optimizer, lr_schedule=Schedule.linear, job={"n_epochs": 2}, epoch_length=2) for _ in range(3)
    )
    first.step()
    first.step()
    state = first.state_dict()
    for trainer in (second, third):
        trainer.load_state_dict(state)
        assert trainer.updates == 2
        np.testing.assert_array_equal(weights(trainer), weights(first))
    assert second.step() == third.step()
    assert second.env_steps == 60
    np.testing.assert_array_equal(weights(second), weights(third))


@OPTIMIZERS
def test_a_state_brings_the_moments_of_the_optimizer(optimizer):
    first, second, third = (a2c(optimizer=optimizer) for _ in range(3))
    first.step()
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        third.kernel.parameters.values.copy_(first.kernel.parameters.values)
    for trainer in (first, second, third):
        trainer.kernel.parameters.gradients.fill_(0.1)
        trainer.optimizer.step(0.01, None)
    np.testing.assert_array_equal(weights(second), weights(first))
    assert not np.array_equal(weights(third), weights(first))


# Every env


@KERNELS
@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("factory", [CARTPOLE, UNEVEN], ids=["flat", "structured"])
def test_every_critic_trains(factory, critic, autograd):
    trainer = a2c(factory, job={"critic": critic, "autograd": autograd})
    before = weights(trainer)
    for _ in range(2):
        metrics = trainer.step()
        assert all(np.isfinite(value) for value in metrics.values())
        assert ("value_loss" in metrics) == ("explained_variance" in metrics) == (critic != "none")
    assert not np.array_equal(weights(trainer), before)


@settings(max_examples=12)
@given(any_space(), any_space())
def test_every_space_trains(observation_space, action_space):
    trainer = a2c(env_factory(lambda: RandomEnv(observation_space, action_space)), entropy_coef=0.1)
    for _ in range(2):
        assert all(np.isfinite(value) for value in trainer.step().values())


def test_squashed_actions_can_be_trained():
    trainer = a2c(PENDULUM, box_distribution=BoxDistribution.squashed_gaussian, entropy_coef=0.1)
    for _ in range(3):
        assert all(np.isfinite(value) for value in trainer.step().values())


def test_no_action_is_ever_tried_that_its_mask_forbids():
    tried = {"allowed": 0, "forbidden": 0}

    class Counting(TwoStepEnv):
        def step(self, action):
            if self.observation["actor"] == 0:
                mask = self.observation[PICK]["action_mask"]
                tried["allowed" if mask[int(action[PICK])] else "forbidden"] += 1
            return super().step(action)

    trainer = a2c(env_factory(Counting), lr=0.05)
    for _ in range(12):
        trainer.step()
    assert tried == {"allowed": 240, "forbidden": 0}


def test_an_env_with_one_choice_at_a_time_can_be_trained():
    trainer = a2c(env_factory(MaskedEnv), lr=0.05)  # raises if another one is taken
    for _ in range(12):
        metrics = trainer.step()
    assert metrics["entropy"] == 0.0
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_reward_that_is_no_number_stops_the_training_and_leaves_the_weights_as_they_were():
    trainer = a2c(env_factory(lambda: FaultyEnv("", reward=float("nan"))))
    before = weights(trainer)
    with pytest.raises(NonFiniteError):
        trainer.step()
    np.testing.assert_array_equal(weights(trainer), before)
    assert trainer.updates == 0


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"n_envs": 0},
        {"n_rollout_steps": 0},
        {"normalize_advantages": True, "n_envs": 1, "n_rollout_steps": 1},
        {"lr": 0.0},
        {"gamma": 1.1},
        {"gamma": -0.1},
        {"gae_lambda": 1.1},
        {"value_loss_coef": -1.0},
        {"entropy_coef": -0.1},
        {"max_grad_norm": 0.0},
        {"critic_burn_in_epochs": -1},
        {"initial_log_std": 6.0},
        {"epoch_length": 0},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(ConfigError, match=rf"^{next(iter(options))}=.* is not allowed"):
        A2CConfig(**options)


@pytest.mark.parametrize("name", [field.name for field in fields(A2CConfig) if "float" in str(field.type)])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_must_be_finite(name, value):
    with pytest.raises(ConfigError, match=rf"^{name}={value} is not allowed"):
        A2CConfig(**{name: value})


def test_an_update_may_see_a_single_env_step():
    trainer = a2c(n_envs=1, n_rollout_steps=1)
    for _ in range(3):
        assert all(np.isfinite(value) for value in trainer.step().values())


# Learning


IDENTITIES = [spaces.Discrete(6), spaces.MultiDiscrete([3, 4]), spaces.MultiBinary(4)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("space", IDENTITIES, ids=str)
def test_what_is_shown_is_repeated(space, seed):
    trainer = a2c(env_factory(lambda: IdentityEnv(space)), seed, job={"hidden_sizes": []}, lr=0.03, gamma=0.0)
    train(trainer, 1200)
    assert trainer.env_steps == 1200
    assert final_return(trainer) >= 90


def test_a_bandit_is_played_as_its_entropy_bonus_demands():
    """The best policy chooses in proportion to ``exp(pay / entropy_coef)``."""
    pays = (1.0, 0.5, 0.8, -0.5)
    trainer = a2c(
        env_factory(lambda: BanditEnv(pays)), job={"hidden_sizes": [], "n_epochs": 200}, n_envs=16, n_rollout_steps=8,
        lr=0.03, lr_schedule=Schedule.linear, entropy_coef=0.5, optimizer=Optimizer.adam, epoch_length=1,
    )  # fmt: skip
    for _ in range(200):
        trainer.step()
    seen, best = {"observation": np.ones((1, 1), np.float32)}, softmax(np.array(pays) / 0.5)
    np.testing.assert_allclose(softmax(trainer.kernel.outputs(FLAT, seen)[0]), best, atol=0.03)
    assert trainer.kernel.values(FLAT, seen)[0] == pytest.approx(best @ pays, abs=0.03)


def test_two_states_get_the_values_of_an_endless_process_although_episodes_are_truncated():
    trainer = a2c(
        env_factory(TwoStateEnv), job={"hidden_sizes": [], "n_epochs": 300}, n_envs=8, n_rollout_steps=8, lr=0.1,
        lr_schedule=Schedule.linear, gamma=0.8, max_grad_norm=None, optimizer=Optimizer.adam, epoch_length=1,
    )  # fmt: skip
    for _ in range(300):
        trainer.step()
    both = {"observation": np.eye(2, dtype=np.float32)}
    np.testing.assert_allclose(trainer.kernel.values(FLAT, both), [8, 10], atol=0.2)
    np.testing.assert_allclose(softmax(trainer.kernel.outputs(FLAT, both)), [[0, 1], [1, 0]], atol=0.06)


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_quadratic_problem_is_solved_as_its_riccati_equation_is(seed):
    trainer = a2c(
        env_factory(LinearQuadraticEnv), seed, job={"hidden_sizes": [], "n_epochs": 300}, n_envs=32, n_rollout_steps=8,
        lr=0.03, lr_schedule=Schedule.linear, gamma=0.5, entropy_coef=0.3, initial_log_std=-1.0, max_grad_norm=5.0,
        optimizer=Optimizer.adam, epoch_length=1,
    )  # fmt: skip
    for _ in range(300):
        trainer.step()
    x = np.array([-1, 0, 0.5, 1], np.float32)
    actions = trainer.kernel.outputs(FLAT, {"observation": np.stack((x, x**2), axis=1)})[:, 0]
    np.testing.assert_allclose(actions, -LinearQuadraticEnv.best_gain(0.5) * x, atol=0.07)
    assert np.exp(trainer.policy.log_std(FLAT)[0]) == pytest.approx(LinearQuadraticEnv.best_std(0.5, 0.3), rel=0.1)


@pytest.mark.learning
def test_cartpole_is_solved_with_the_defaults(tmp_path):
    with RunContext(algorithm="a2c", callbacks=[], seed=1, local_plugins=False, run_dir=tmp_path / "run") as run:
        assert run.train().stop_reason.startswith("solved")
        assert run.trainer.env_steps < 500_000
        assert run.evaluate(100)["BaseEnvEvents/reward/mean"] > 450
