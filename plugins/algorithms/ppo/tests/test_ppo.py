"""Proximal policy optimisation: what holds exactly, and what is learned."""

import json
from dataclasses import fields
from itertools import chain

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from maze_ppo.config import PPOConfig
from maze_ppo.ppo import PPOTrainer
from support.actor_critic import (
    CRITICS,
    copied,
    final_return,
    leaves,
    log_probs_now,
    own_weights,
    softmax,
    spread,
    train,
    watched,
    weights,
)
from support.build import CPU, env_factory, gym_factory, make_actor_critic
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
from torch import nn

from maze_core import BoxDistribution, ConfigError, NonFiniteError, RunContext, Schedule, UserError
from maze_core.protocols import TrainingJob
from maze_core.rl import FLAT, Actors, AutogradKernel, Policy, Streams, make_kernel
from maze_core.runs.threads import limited_threads

KERNELS = pytest.mark.parametrize("autograd", [False, True], ids=["dense", "autograd"])
CARTPOLE, PENDULUM = gym_factory("CartPole-v1"), gym_factory("Pendulum-v1")
UNEVEN = env_factory(lambda: TwoStepEnv(uneven=True, varied=True))
SETTINGS = {
    "categorical": (CARTPOLE, {}),
    "gaussian": (PENDULUM, {}),
    "squashed": (PENDULUM, {"box_distribution": BoxDistribution.squashed_gaussian}),
    "structured": (UNEVEN, {}),
}
SMALL = {"n_envs": 4, "n_rollout_steps": 16, "batch_size": 16, "n_optimization_epochs": 3}
"""Four minibatches in each of three epochs."""


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks are small here."""
    with limited_threads(True):
        yield


def ppo(factory=CARTPOLE, seed=0, *, job=None, **options):
    return make_actor_critic("ppo", factory, seed, job=job, **{**SMALL, **options})


# What an update looks at


@KERNELS
@pytest.mark.parametrize("setting", SETTINGS)
def test_before_the_first_gradient_step_every_ratio_is_one(setting, autograd):
    factory, options = SETTINGS[setting]
    trainer = spread(ppo(factory, job={"autograd": autograd}, batch_size=64, n_optimization_epochs=1, **options))

    def farthest(samples):
        return max(np.abs(np.expm1(log_probs_now(trainer, part) - part.log_probs)).max() for part in samples)

    distances = watched(trainer, farthest)
    metrics = trainer.step()
    assert distances[0] < 1e-5
    if len(distances) == 1:
        assert metrics["approx_kl"] < 1e-9
        assert metrics["clip_fraction"] == 0.0


@KERNELS
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_was_found_in_the_rollout_stays_as_it_was_over_all_epochs(setting, autograd):
    factory, options = SETTINGS[setting]
    trainer = spread(ppo(factory, job={"autograd": autograd}, lr=0.03, **options))

    def known(samples):
        rows = [zip(part.log_probs, part.advantages, part.values, part.returns, strict=True) for part in samples]
        return [(part.step_key, *row) for part, of_part in zip(samples, rows, strict=True) for row in of_part]

    minibatches = watched(trainer, known)
    moved = watched(trainer, lambda samples: [np.abs(log_probs_now(trainer, p) - p.log_probs).max() for p in samples])
    trainer.step()
    n = len(minibatches) // 3
    epochs = [sorted(row for part in minibatches[first : first + n] for row in part) for first in (0, n, 2 * n)]
    assert epochs[0] == epochs[1] == epochs[2]
    assert max(moved[-1]) > 1e-3


def test_an_update_takes_one_gradient_step_for_each_minibatch_of_each_epoch():
    trainer = ppo(batch_size=20)  # 64 env steps are cut into four parts
    sizes = watched(trainer, lambda samples: len(samples[0].actions))
    assert trainer.step()["n_gradient_steps"] == 12
    assert sizes == [16] * 12


class ClockEnv(gymnasium.Env):
    """Shows the number of the step; episodes have 16 steps."""

    observation_space, action_space = spaces.Box(0, 16, (1,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.time = np.zeros(1, np.float32)
        return self.time, {}

    def step(self, action):
        self.time = self.time + 1
        return self.time, 1.0, False, self.time[0] == 16, {}


def test_every_epoch_of_every_update_has_an_order_of_its_own():
    trainer = ppo(env_factory(ClockEnv), n_envs=1, batch_size=4, n_optimization_epochs=2)
    minibatches = watched(trainer, lambda samples: samples[0].observation["observation"][:, 0].tolist())
    trainer.step()
    trainer.step()
    orders = [[*chain(*minibatches[first : first + 4])] for first in range(0, 16, 4)]
    assert all(sorted(order) == list(range(16)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_an_update_ends_early_when_the_policy_has_moved_too_far():
    assert ppo(lr=0.1, target_kl=1e-4).step()["n_gradient_steps"] == 1
    assert ppo(lr=0.1, target_kl=1e3).step()["n_gradient_steps"] == 12


def test_an_early_end_of_one_update_is_not_that_of_the_next():
    trainer = ppo(lr=0.1, target_kl=1e-4)
    assert [trainer.step()["n_gradient_steps"] for _ in range(3)] == [1, 1, 1]


@KERNELS
@pytest.mark.parametrize("critic", ["shared", "per_sub_step"])
def test_during_its_burn_in_only_the_critic_learns(critic, autograd):
    trainer = ppo(
        PENDULUM,
        job={"critic": critic, "autograd": autograd},
        critic_burn_in_epochs=1,
        epoch_length=2,
        entropy_coef=0.1,
    )
    policy, values = own_weights(trainer.policy), own_weights(trainer.kernel.critic)
    for _ in range(2):
        assert all(np.isfinite(value) for value in trainer.step().values())
        np.testing.assert_array_equal(own_weights(trainer.policy), policy)
        assert not np.array_equal(own_weights(trainer.kernel.critic), values)
        values = own_weights(trainer.kernel.critic)
    trainer.step()
    assert not np.array_equal(own_weights(trainer.policy), policy)


# What it reports and counts


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_diagnostics_are_complete_and_finite(setting):
    factory, options = SETTINGS[setting]
    trainer = ppo(factory, **options)
    for _ in range(2):
        metrics = trainer.step()
        assert set(metrics) >= {
            "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "explained_variance",
            "gradient_norm", "lr", "clip_range", "entropy_coef",
        }  # fmt: skip
        assert all(np.isfinite(value) for value in metrics.values())
        assert metrics["gradient_norm"] > 0
        assert metrics["explained_variance"] <= 1


def test_the_entropy_of_a_new_policy_is_nearly_that_of_chance():
    assert ppo().step()["entropy"] == pytest.approx(np.log(2), abs=1e-2)
    assert ppo(PENDULUM).step()["entropy"] == pytest.approx(0.5 * np.log(2 * np.pi * np.e), abs=1e-2)


def test_a_step_counts_one_update_its_env_steps_and_the_episodes_that_ended():
    trainer = ppo()
    for _ in range(3):
        trainer.step()
    assert (trainer.updates, trainer.env_steps, len(trainer.episodes)) == (3, 192, 3)
    lengths = [n for batch in trainer.episodes for n in batch.lengths.tolist()]
    assert 192 - 4 * max(lengths) * 3 < sum(lengths) <= 192


def test_after_a_step_the_networks_are_as_evaluation_needs_them():
    for autograd in (False, True):
        trainer = ppo(job={"autograd": autograd})
        trainer.step()
        assert not trainer.policy.training
        assert not trainer.kernel.critic.training


def test_schedules_go_down_over_the_smaller_budget():
    linear = dict.fromkeys(("lr_schedule", "clip_range_schedule", "entropy_coef_schedule"), Schedule.linear)
    for budget in ({"n_epochs": 2, "total_env_steps": 10**6}, {"n_epochs": 50, "total_env_steps": 4 * 64 - 1}):
        trainer = ppo(job=budget, epoch_length=2, lr=0.4, clip_range=0.2, entropy_coef=0.1, **linear)
        metrics = [trainer.step() for _ in range(5)]
        assert [m["lr"] for m in metrics] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.1])
        assert [m["clip_range"] for m in metrics] == pytest.approx([0.2, 0.15, 0.1, 0.05, 0.05])
        assert [m["entropy_coef"] for m in metrics] == pytest.approx([0.1, 0.075, 0.05, 0.025, 0.025])


@pytest.mark.parametrize("name", ["lr_schedule", "clip_range_schedule", "entropy_coef_schedule"])
def test_a_linear_schedule_without_a_budget_is_an_error(name):
    with pytest.raises(UserError, match=r"a linear schedule needs to know when it ends. Set runner.n_epochs or"):
        ppo(**{name: Schedule.linear})


# Bits


@KERNELS
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_same_seed_gives_the_same_bits(setting, autograd):
    factory, options = SETTINGS[setting]
    one, other = (ppo(factory, job={"autograd": autograd}, **options) for _ in range(2))
    for _ in range(3):
        assert one.step() == other.step()
    np.testing.assert_array_equal(weights(one), weights(other))


def test_another_seed_gives_another_run():
    assert ppo(seed=0).step() != ppo(seed=1).step()


class DropoutNet(nn.Module):
    """Puts out the heads, or a value; some of its units are left out while it learns."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes = sizes
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, sum(sizes.values())))

    def forward(self, observation):
        parts = torch.split(self.layers(observation["observation"]), list(self.sizes.values()), dim=1)
        return dict(zip(self.sizes, parts, strict=True))


def of_modules(make_model, seed=0):
    """A trainer on CartPole without critic, of a policy of one's own."""
    env = CARTPOLE.vector(1)
    actors = Actors(env.single_observation_space, env.single_action_space)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy(actors, {FLAT: make_model(actors.by_key[FLAT].heads.output_sizes)}).eval()
    job = TrainingJob(actors, make_kernel(policy, CPU), None, Streams(seed), CARTPOLE.vector)
    return PPOTrainer(PPOConfig(**SMALL), job)


def test_networks_that_are_random_while_they_learn_give_the_same_bits_and_leave_torch_alone():
    one, other = of_modules(DropoutNet), of_modules(DropoutNet)
    assert isinstance(one.kernel, AutogradKernel)
    assert [one.step() for _ in range(2)] == [other.step() for _ in range(2)]
    before = torch.get_rng_state()
    one.step()
    assert torch.equal(torch.get_rng_state(), before)
    assert not one.policy.training


# State


def test_a_state_is_made_of_tensors_and_json_values():
    trainer = ppo()
    trainer.step()
    assert json.loads(json.dumps(leaves(trainer.state_dict()))) == leaves(trainer.state_dict())


def test_a_state_that_was_handed_out_does_not_change_when_training_goes_on():
    trainer = ppo()
    trainer.step()
    state = trainer.state_dict()
    kept = leaves(copied(state))
    trainer.step()
    assert leaves(state) == kept


def test_trainers_that_take_over_a_state_go_on_alike():
    first, second, third = (ppo(lr_schedule=Schedule.linear, job={"n_epochs": 2}, epoch_length=2) for _ in range(3))
    first.step()
    first.step()
    state = first.state_dict()
    for trainer in (second, third):
        trainer.load_state_dict(state)
        assert trainer.updates == 2
        np.testing.assert_array_equal(weights(trainer), weights(first))
    assert second.step() == third.step()
    assert second.env_steps == 192
    np.testing.assert_array_equal(weights(second), weights(third))


def test_a_state_brings_the_moments_of_the_optimizer():
    first, second, third = (ppo() for _ in range(3))
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
    trainer = ppo(factory, job={"critic": critic, "autograd": autograd}, value_clip_range=0.2)
    before = weights(trainer)
    for _ in range(2):
        metrics = trainer.step()
        assert all(np.isfinite(value) for value in metrics.values())
        assert ("value_loss" in metrics) == ("explained_variance" in metrics) == (critic != "none")
    assert not np.array_equal(weights(trainer), before)


@settings(max_examples=12)
@given(any_space(), any_space())
def test_every_space_trains(observation_space, action_space):
    trainer = ppo(
        env_factory(lambda: RandomEnv(observation_space, action_space)),
        n_rollout_steps=6,
        batch_size=12,
        entropy_coef=0.1,
    )
    for _ in range(2):
        assert all(np.isfinite(value) for value in trainer.step().values())


def test_no_action_is_ever_tried_that_its_mask_forbids():
    tried = {"allowed": 0, "forbidden": 0}

    class Counting(TwoStepEnv):
        def step(self, action):
            if self.observation["actor"] == 0:
                mask = self.observation[PICK]["action_mask"]
                tried["allowed" if mask[int(action[PICK])] else "forbidden"] += 1
            return super().step(action)

    trainer = ppo(env_factory(Counting), lr=0.1)
    for _ in range(4):
        trainer.step()
    assert tried == {"allowed": 256, "forbidden": 0}


def test_an_env_with_one_choice_at_a_time_can_be_trained():
    trainer = ppo(env_factory(MaskedEnv), lr=0.1)  # raises if another one is taken
    for _ in range(4):
        metrics = trainer.step()
    assert metrics["entropy"] == 0.0
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_reward_that_is_no_number_stops_the_training_and_leaves_the_weights_as_they_were():
    trainer = ppo(env_factory(lambda: FaultyEnv("", reward=float("nan"))))
    before = weights(trainer)
    with pytest.raises(NonFiniteError):
        trainer.step()
    np.testing.assert_array_equal(weights(trainer), before)
    assert trainer.updates == 0


def test_rewards_that_are_too_large_for_the_networks_are_an_error_that_leaves_them_finite():
    trainer = ppo(env_factory(lambda: FaultyEnv("", reward=1e30)), normalize_advantages=False)
    with np.errstate(over="ignore"), pytest.raises(NonFiniteError, match="no longer finite"):
        trainer.step()
    assert np.isfinite(weights(trainer)).all()


@KERNELS
def test_a_learning_rate_that_is_too_large_is_told_in_a_sentence_and_nothing_else(autograd):
    trainer = ppo(PENDULUM, job={"autograd": autograd}, lr=1000.0)
    with pytest.raises(NonFiniteError, match=r"no longer finite.*smaller algorithm\.lr"):  # a warning is an error, too
        for _ in range(50):
            trainer.step()


class Weightless(nn.Module):
    """Says the same whatever it observes."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes = sizes

    def forward(self, observation):
        return {head: torch.zeros(len(observation["observation"]), size) for head, size in self.sizes.items()}


def test_a_model_without_weights_is_an_error():
    with pytest.raises(UserError, match="the model has no weights that could be trained"):
        of_modules(Weightless)


# Options


def test_whole_numbers_are_numbers():
    trainer = ppo(PENDULUM, lr=1, initial_log_std=-1, gamma=1, gae_lambda=1, entropy_coef=0, max_grad_norm=1)
    assert trainer.policy.log_std(FLAT).tolist() == [-1.0]


@pytest.mark.parametrize(
    "options",
    [
        {"n_envs": 0},
        {"n_rollout_steps": 0},
        {"batch_size": 0},
        {"batch_size": 65, "n_envs": 4, "n_rollout_steps": 16},
        {"batch_size": 1},
        {"batch_size": 2, "n_envs": 1, "n_rollout_steps": 5},
        {"n_optimization_epochs": 0},
        {"lr": 0.0},
        {"gamma": 1.1},
        {"gamma": -0.1},
        {"gae_lambda": 1.1},
        {"clip_range": 0.0},
        {"value_clip_range": 0.0},
        {"value_loss_coef": -1.0},
        {"entropy_coef": -0.1},
        {"max_grad_norm": 0.0},
        {"target_kl": 0.0},
        {"critic_burn_in_epochs": -1},
        {"initial_log_std": 6.0},
        {"epoch_length": 0},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(ConfigError, match=rf"^{next(iter(options))}=.* is not allowed"):
        PPOConfig(**options)


@pytest.mark.parametrize("name", [field.name for field in fields(PPOConfig) if "float" in str(field.type)])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_must_be_finite(name, value):
    with pytest.raises(ConfigError, match=rf"^{name}={value} is not allowed"):
        PPOConfig(**{name: value})


def test_minibatches_of_one_are_allowed_where_nothing_is_normalised():
    trainer = ppo(batch_size=1, normalize_advantages=False, n_optimization_epochs=1)
    assert trainer.step()["n_gradient_steps"] == 64


# Runs


FILES = ("state_dict.pt", "final_state_dict.pt")


def context(tmp_path, **overrides):
    return RunContext(
        env={"gym_env": {"name": "CartPole-v1"}}, algorithm={"ppo": SMALL}, callbacks=["jsonl"], local_plugins=False,
        overrides={"runner.evaluation.n_episodes": 4, **overrides}, seed=1, run_dir=tmp_path / "run",
    )  # fmt: skip


def test_the_last_update_is_evaluated_and_saved_and_the_best_weights_are_copies(tmp_path):
    saved = {}
    with context(
        tmp_path,
        **{
            "wrappers": ["reward_scaling"],
            "wrappers.reward_scaling.scale": -1.0,  # so that the policy gets worse and worse
            "algorithm.lr": 0.01,
            "algorithm.epoch_length": 3,
            "runner.n_epochs": 4,
            "runner.evaluation.every_epochs": 3,
        },
    ) as run:
        step = run.trainer.step

        def step_and_keep():
            metrics = step()
            saved[run.trainer.updates] = weights(run.trainer)
            return metrics

        run.trainer.step = step_and_keep
        summary = run.train()
        np.testing.assert_array_equal(weights(run.trainer), saved[9])
    rows = map(json.loads, (summary.directory / "metrics.jsonl").read_text().splitlines())
    assert [row["update"] for row in rows if row["stage"] == "eval"] == [9, 12]
    assert (summary.best_epoch, max(saved)) == (2, 12)
    best, last = (torch.load(summary.directory / name, weights_only=True) for name in FILES)
    assert best.keys() == last.keys()
    np.testing.assert_array_equal(np.concatenate([part.numpy().ravel() for part in best.values()]), saved[9])
    np.testing.assert_array_equal(np.concatenate([part.numpy().ravel() for part in last.values()]), saved[12])


def test_a_device_that_is_not_there_is_an_error_that_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with context(tmp_path, **{"runner.device": "cuda"}) as run, pytest.raises(UserError, match="finds no CUDA device"):
        run.train()
    assert not (tmp_path / "run").exists()


# Learning


IDENTITIES = [spaces.Discrete(6), spaces.MultiDiscrete([3, 4]), spaces.MultiBinary(4)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("space", IDENTITIES, ids=str)
def test_what_is_shown_is_repeated(space, seed):
    trainer = ppo(
        env_factory(lambda: IdentityEnv(space)), seed, job={"hidden_sizes": []}, n_rollout_steps=25, batch_size=25,
        n_optimization_epochs=10, lr=0.02, gamma=0.0,
    )  # fmt: skip
    train(trainer, 1200)
    assert trainer.env_steps == 1200
    assert final_return(trainer) >= 90


def test_a_bandit_is_played_as_its_entropy_bonus_demands():
    """The best policy chooses in proportion to ``exp(pay / entropy_coef)``."""
    pays, factory = (1.0, 0.5, 0.8, -0.5), env_factory(lambda: BanditEnv((1.0, 0.5, 0.8, -0.5)))
    trainer = ppo(
        factory, job={"hidden_sizes": [], "n_epochs": 60}, n_envs=16, batch_size=256, n_optimization_epochs=4, lr=0.03,
        lr_schedule=Schedule.linear, entropy_coef=0.5, normalize_advantages=False, epoch_length=1,
    )  # fmt: skip
    for _ in range(60):
        trainer.step()
    seen, best = {"observation": np.ones((1, 1), np.float32)}, softmax(np.array(pays) / 0.5)
    np.testing.assert_allclose(softmax(trainer.kernel.outputs(FLAT, seen)[0]), best, atol=0.03)
    assert trainer.kernel.values(FLAT, seen)[0] == pytest.approx(best @ pays, abs=0.03)


def test_two_states_get_the_values_of_an_endless_process_although_episodes_are_truncated():
    trainer = ppo(
        env_factory(TwoStateEnv), job={"hidden_sizes": [], "n_epochs": 60}, n_envs=8, batch_size=128,
        n_optimization_epochs=8, lr=0.1, lr_schedule=Schedule.linear, gamma=0.8, epoch_length=1, max_grad_norm=None,
    )  # fmt: skip
    for _ in range(60):
        trainer.step()
    both = {"observation": np.eye(2, dtype=np.float32)}
    np.testing.assert_allclose(trainer.kernel.values(FLAT, both), [8, 10], atol=0.1)
    np.testing.assert_allclose(softmax(trainer.kernel.outputs(FLAT, both)), [[0, 1], [1, 0]], atol=0.02)


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_quadratic_problem_is_solved_as_its_riccati_equation_is(seed):
    trainer = ppo(
        env_factory(LinearQuadraticEnv), seed, job={"hidden_sizes": [], "n_epochs": 60}, n_envs=32, n_rollout_steps=12,
        batch_size=192, n_optimization_epochs=4, lr=0.03, lr_schedule=Schedule.linear, gamma=0.5, entropy_coef=0.3,
        normalize_advantages=False, initial_log_std=-1.0, max_grad_norm=5.0, epoch_length=1,
    )  # fmt: skip
    for _ in range(60):
        trainer.step()
    x = np.array([-1, 0, 0.5, 1], np.float32)
    actions = trainer.kernel.outputs(FLAT, {"observation": np.stack((x, x**2), axis=1)})[:, 0]
    np.testing.assert_allclose(actions, -LinearQuadraticEnv.best_gain(0.5) * x, atol=0.07)
    assert np.exp(trainer.policy.log_std(FLAT)[0]) == pytest.approx(LinearQuadraticEnv.best_std(0.5, 0.3), rel=0.1)


@pytest.mark.learning
@pytest.mark.parametrize(
    "choice", [{"experiment": "ppo_cartpole"}, {"algorithm": "ppo"}], ids=["experiment", "defaults"]
)
def test_cartpole_is_solved(choice, tmp_path):
    with RunContext(**choice, callbacks=[], seed=1, local_plugins=False, run_dir=tmp_path / "run") as run:
        assert run.train().stop_reason.startswith("solved")
        assert run.trainer.env_steps < 100_000
        assert run.evaluate(100)["BaseEnvEvents/reward/mean"] > 450
