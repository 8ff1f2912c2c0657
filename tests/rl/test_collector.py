"""Collecting: every stored row is a step that an env took, and nothing is lost between rollouts."""

import json
import re
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from support.build import env_factory, gym_factory, make_actor_critic_job
from support.envs import PICK, CountdownEnv, MaskedEnv, TwoStepEnv

from maze_core.errors import EnvFaultError, NonFiniteError
from maze_core.rl import FLAT, Collector, InProcessVectorEnv
from maze_core.rl.episodes import EPISODE_EVENTS, EpisodeEvents
from maze_core.rl.replay import ReplayedVectorEnv

LONG = spaces.Box(-np.inf, np.inf, (3,))


class Step(NamedTuple):
    """A step as the env saw it."""

    seed: int
    before: Any
    action: int
    reward: float
    after: Any
    terminated: bool
    truncated: bool


class DiaryEnv(gymnasium.Env):
    """Remembers all that happens to it.

    Episodes have 1 to `longest` steps, as the seed decides; even ones terminate, odd ones are truncated.
    Whatever it observes is new, and the rewards are random.
    """

    observation_space, action_space = LONG, spaces.Discrete(2)

    def __init__(self, longest=5):
        self.longest, self.seeds, self.steps, self.lengths = longest, [], [], []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.left = self.length = int(self.np_random.integers(1, self.longest, endpoint=True))
        self.observation = self._draw()
        return self.observation, {}

    def step(self, action):
        self.left -= 1
        ends, even = self.left == 0, self.length % 2 == 0
        reward = float(self.np_random.normal())
        step = Step(
            self.seeds[-1], self.observation, int(action), reward, self._draw(), ends and even, ends and not even
        )
        self.steps.append(step)
        self.observation = step.after
        info = {EPISODE_EVENTS: EpisodeEvents({"seed": self.seeds[-1]})} if ends else {}
        return step.after, step.reward, step.terminated, step.truncated, info

    def _draw(self):
        return self.np_random.normal([0, 5, -100], [1, 30, 0.1]).astype(np.float32)

    def episodes(self):
        """Rewards of each episode that ended."""
        rewards, found = [], []
        for step in self.steps:
            rewards.append(step.reward)
            if step.terminated or step.truncated:
                found.append(rewards)
                rewards = []
        return found


def collector_of(make_env, n_envs=3, seed=0, **options):
    """A collector, and its envs."""
    job = make_actor_critic_job(env_factory(make_env), seed, **options)
    collector = Collector(job.make_vector_env(n_envs), job.kernel, job.streams)
    return collector, [env.unwrapped for env in collector.env.envs]


def by_env(rollout, part):
    """A part of the rows of a flat env's rollout, [T, B, ...]."""
    observation, _, outputs, actions = rollout.decisions[FLAT].rows()
    rows = {"observation": observation.get("observation"), "outputs": outputs, "actions": actions}[part]
    return rows.reshape(*rollout.rewards.shape, *rows.shape[1:])


def seeds_of(n_envs=2, seed=0, n_steps=20, n_rollouts=1, longest=5):
    """The seeds that each env was reset with."""
    collector, envs = collector_of(lambda: DiaryEnv(longest), n_envs, seed)
    for _ in range(n_rollouts):
        collector.collect(n_steps)
    return [env.seeds for env in envs]


# Rows


def test_every_row_is_a_step_that_the_env_took():
    collector, envs = collector_of(DiaryEnv)
    rollout = collector.collect(20)
    assert [len(env.steps) for env in envs] == [20] * 3
    for index, env in enumerate(envs):
        np.testing.assert_array_equal(by_env(rollout, "observation")[:, index], [step.before for step in env.steps])
        assert by_env(rollout, "actions")[:, index, 0].tolist() == [step.action for step in env.steps]
        assert rollout.rewards[:, index].tolist() == [step.reward for step in env.steps]
        assert rollout.terminated[:, index].tolist() == [step.terminated for step in env.steps]
        assert rollout.truncated[:, index].tolist() == [step.truncated for step in env.steps]


def test_outputs_are_those_of_the_policy_for_the_observation_of_the_row():
    collector, _ = collector_of(DiaryEnv)
    rollout = collector.collect(7)
    expected = collector.kernel.outputs(FLAT, {"observation": by_env(rollout, "observation").reshape(21, 3)})
    np.testing.assert_allclose(by_env(rollout, "outputs").reshape(21, 2), expected, atol=1e-6)


def test_a_rollout_goes_on_where_the_last_one_stopped():
    collector, envs = collector_of(DiaryEnv)
    collector.collect(7)
    shown = [env.observation for env in envs]
    rollout = collector.collect(6)
    np.testing.assert_array_equal(by_env(rollout, "observation")[0], shown)
    for index, env in enumerate(envs):
        np.testing.assert_array_equal(by_env(rollout, "observation")[:, index], [s.before for s in env.steps[7:]])
        assert len(env.seeds) == len(env.episodes()) + 1


def test_what_is_observed_after_the_last_step_is_kept_for_its_value():
    collector, envs = collector_of(DiaryEnv)
    (last,) = collector.collect(7).last
    assert last.envs.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(last.observation["observation"], [env.observation for env in envs])


def test_env_steps_are_counted_over_all_envs():
    collector, _ = collector_of(DiaryEnv)
    collector.collect(7)
    collector.collect(5)
    assert collector.env_steps == 36


def test_a_native_vector_env_gives_the_same_bits_as_scalar_envs():
    job = make_actor_critic_job(gym_factory("CartPole-v1"))
    forms = [job.make_vector_env(4), InProcessVectorEnv(lambda: gymnasium.make("CartPole-v1"), 4)]
    one, other = (Collector(env, job.kernel, job.streams).collect(60) for env in forms)
    np.testing.assert_array_equal(by_env(one, "observation"), by_env(other, "observation"))
    np.testing.assert_array_equal(by_env(one, "actions"), by_env(other, "actions"))
    assert one.episodes.lengths.tolist() == other.episodes.lengths.tolist() != []


# Randomness


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    rollouts = []
    for seed in (4, 4, 5):
        collector, _ = collector_of(DiaryEnv, seed=seed)
        collector.collect(9)
        rollout = collector.collect(9)
        rollouts.append([*(by_env(rollout, part).tolist() for part in ("observation", "outputs", "actions")),
                         rollout.rewards.tolist(), rollout.episodes.returns.tolist()])  # fmt: skip
    assert rollouts[0] == rollouts[1]
    assert all(one != other for one, other in zip(rollouts[0], rollouts[2], strict=True))


def test_actions_of_one_rollout_are_not_those_of_the_next():
    class Still(DiaryEnv):
        def _draw(self):
            return np.zeros(3, np.float32)

    collector, _ = collector_of(Still)
    one, other = (by_env(collector.collect(30), "actions").tolist() for _ in range(2))
    assert one != other


def test_no_episode_seed_comes_twice():
    seeds = [seed for of_env in seeds_of(n_steps=200, n_rollouts=2, longest=1) for seed in of_env]
    assert len(seeds) == len(set(seeds)) == 802


def test_the_seed_of_an_episode_depends_on_root_seed_env_and_number_only():
    few, many, longer = seeds_of(), seeds_of(n_envs=5), seeds_of(n_steps=3, n_rollouts=11)
    for env in range(2):
        n = min(len(few[env]), len(longer[env]))
        assert n > 3
        assert few[env] == many[env]
        assert few[env][:n] == longer[env][:n]
    assert set().union(*few).isdisjoint(set().union(*seeds_of(seed=1)))


class ForeseeingVectorEnv(InProcessVectorEnv):
    """Remembers what it was told of episodes to come, and when: after how many of them had begun."""

    def __init__(self, make_env, num_envs):
        super().__init__(make_env, num_envs)
        self.told = [[] for _ in range(num_envs)]

    def prepare_episodes(self, env, seeds):
        self.told[env].append((len(self.envs[env].unwrapped.seeds), seeds.tolist()))


def test_a_vector_env_that_wants_to_is_told_which_episodes_come_before_they_begin():
    job = make_actor_critic_job(env_factory(lambda: DiaryEnv(longest=1)))
    inner = ForeseeingVectorEnv(lambda: DiaryEnv(longest=1), 2)
    Collector(ReplayedVectorEnv(inner, 100), job.kernel, job.streams).collect(150)
    for told, env in zip(inner.told, inner.envs, strict=True):
        assert [begun for begun, _ in told] == [0, 64, 128]
        assert [seed for _, seeds in told for seed in seeds][:151] == env.unwrapped.seeds


# Ends of episodes


def final_steps(envs):
    """Tick and env of each step that was truncated, with what was observed after it."""
    cut = [
        (tick, env, step.after) for env, of in enumerate(envs) for tick, step in enumerate(of.steps) if step.truncated
    ]
    return sorted(cut, key=lambda entry: entry[:2])


def test_the_final_observation_of_a_truncated_episode_is_the_true_one():
    collector, envs = collector_of(DiaryEnv)
    cut = collector.collect(20).cut
    kept = [(seen.tick, env, seen.observation["observation"][row]) for seen in cut for row, env in enumerate(seen.envs)]
    expected = final_steps(envs)
    assert [entry[:2] for entry in kept] == [entry[:2] for entry in expected] != []
    np.testing.assert_array_equal([entry[2] for entry in kept], [entry[2] for entry in expected])


def expected_advantages(steps, value, gamma, gae_lambda):
    advantages, following = [], 0.0
    for step in reversed(steps):
        after = 0.0 if step.terminated else value(step.after)
        if step.terminated or step.truncated:
            following = 0.0
        following = step.reward + gamma * after - value(step.before) + gamma * gae_lambda * following
        advantages.insert(0, following)
    return advantages


@pytest.mark.parametrize("autograd", [False, True], ids=["dense", "autograd"])
@pytest.mark.parametrize(("gamma", "gae_lambda"), [(0.9, 0.8), (1.0, 1.0), (0.9, 0.0)])
def test_a_truncated_episode_is_worth_the_value_of_its_end_and_a_terminated_one_nothing(gamma, gae_lambda, autograd):
    collector, envs = collector_of(DiaryEnv, autograd=autograd)
    collector.collect(6)

    def value(observation):
        return float(collector.kernel.values(FLAT, {"observation": observation[None]})[0])

    rollout = collector.collect(25)
    (samples,) = rollout.experience(collector.kernel, gamma, gae_lambda).samples()
    assert rollout.terminated.any()
    assert rollout.truncated.any()
    for index, env in enumerate(envs):
        steps = env.steps[6:]
        advantages = expected_advantages(steps, value, gamma, gae_lambda)
        np.testing.assert_allclose(samples.advantages[index::3], advantages, rtol=1e-4, atol=1e-4)
        values = [value(step.before) for step in steps]
        np.testing.assert_allclose(samples.values[index::3], values, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(samples.returns[index::3], np.add(values, advantages), rtol=1e-4, atol=1e-4)


def test_an_episode_that_is_terminated_and_truncated_at_once_is_worth_nothing_more():
    class Both(DiaryEnv):
        def step(self, action):
            observation, reward, terminated, truncated, info = super().step(action)
            return observation, reward, terminated or truncated, terminated or truncated, info

    collector, _ = collector_of(Both)
    rollout = collector.collect(10)
    assert rollout.truncated.any()
    assert list(rollout.cut) == []


def test_the_mask_of_a_final_observation_may_be_empty():
    collector, _ = collector_of(lambda: MaskedEnv(empty_at=6))  # its last step is the sixth
    assert collector.collect(30).episodes.lengths.tolist() == [6] * 15


def test_returns_lengths_and_events_are_those_of_the_episodes_in_the_order_in_which_they_ended():
    collector, envs = collector_of(DiaryEnv)
    batches = [collector.collect(8).episodes for _ in range(3)]
    ends = sorted(
        (tick, env)
        for env, of in enumerate(envs)
        for tick, step in enumerate(of.steps)
        if step.terminated or step.truncated
    )
    taken = [iter(zip(env.episodes(), env.seeds, strict=False)) for env in envs]
    expected = [next(taken[env]) for _, env in ends]
    returns = np.concatenate([batch.returns for batch in batches])
    np.testing.assert_allclose(returns, [sum(rewards) for rewards, _ in expected], rtol=1e-12)
    assert [n for batch in batches for n in batch.lengths.tolist()] == [len(rewards) for rewards, _ in expected]
    assert [event.values["seed"] for batch in batches for event in batch.events] == [seed for _, seed in expected]


def test_an_env_that_tells_no_events_costs_none():
    collector, _ = collector_of(CountdownEnv)
    episodes = collector.collect(20).episodes
    assert len(episodes.returns) > 0
    assert len(episodes.events) == 0


# Running normalisation


def statistics(collector, key=FLAT, path="observation"):
    return dict(collector.policy.normalization.parts(key))[path].moments()


def test_running_statistics_are_those_of_all_observations_that_were_acted_upon():
    collector, envs = collector_of(DiaryEnv, running_normalization=True)
    for n_steps in (5, 11, 4):
        collector.collect(n_steps)
    seen = np.array([step.before for env in envs for step in env.steps], np.float64)
    moments = statistics(collector)
    assert moments.count == len(seen) == 60
    np.testing.assert_allclose(moments.mean, seen.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(np.sqrt(moments.m2 / moments.count), seen.std(axis=0), rtol=1e-10)
    np.testing.assert_array_equal([moments.low, moments.high], [seen.min(axis=0), seen.max(axis=0)])


def test_running_statistics_are_kept_by_actor():
    collector, _ = collector_of(TwoStepEnv, running_normalization=True)
    collector.collect(6)
    moments = statistics(collector, PICK, "values")
    assert moments.count == 18
    np.testing.assert_allclose([moments.low, moments.high], [[-1] * 4, [1] * 4])


def test_all_observations_of_a_rollout_are_normalised_alike_also_the_final_ones():
    collector, envs = collector_of(DiaryEnv, running_normalization=True)
    collector.collect(12)
    moments = statistics(collector)
    mean, std = moments.mean.copy(), np.sqrt(moments.m2 / moments.count)
    rollout = collector.collect(15)

    def normalised(observations):
        return np.clip((np.array(observations, np.float64) - mean) / std, -10, 10)

    steps = [env.steps[12:] for env in envs]
    rows = [[step.before for step in of_env] for of_env in steps]
    np.testing.assert_allclose(by_env(rollout, "observation"), normalised(rows).swapaxes(0, 1), rtol=1e-5, atol=1e-6)
    kept = {(seen.tick, env): row for seen in rollout.cut
            for env, row in zip(seen.envs.tolist(), seen.observation["observation"], strict=True)}  # fmt: skip
    assert len(kept) > 3
    for (tick, env), row in kept.items():
        np.testing.assert_allclose(row, normalised(steps[env][tick].after), rtol=1e-5, atol=1e-6)
    shown = [env.observation for env in envs]
    np.testing.assert_allclose(rollout.last[0].observation["observation"], normalised(shown), rtol=1e-5, atol=1e-6)


# Faults


class Spoilt(DiaryEnv):
    """Something goes wrong at its step number `at`, counted over all episodes."""

    def __init__(self, at, longest=5, **parts):
        super().__init__(longest)
        self.at, self.parts = at, parts

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        if len(self.steps) == self.at:
            observation, reward = self.parts.get("observation", observation), self.parts.get("reward", reward)
        return observation, reward, terminated, truncated, info


def spoilt_collector(bad):
    """Three envs of which the second one is bad."""
    made = iter([DiaryEnv(), DiaryEnv(), bad, DiaryEnv()])  # the first one is only asked for its spaces
    return collector_of(lambda: next(made))[0]


def spot(wanted):
    """The last of the second env's first 20 steps of some kind: its number, its number in its episode, and the seed."""
    collector, envs = collector_of(DiaryEnv)
    collector.collect(20)
    steps = envs[1].steps
    at = max(index for index, step in enumerate(steps) if wanted(step))
    return at + 1, sum(step.seed == steps[at].seed for step in steps[: at + 1]), steps[at].seed


NAN = np.full(3, np.nan, np.float32)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_observation_that_is_not_finite_is_an_error_that_names_env_step_and_seed(value):
    at, step, seed = spot(lambda step: not step.terminated and not step.truncated)
    collector = spoilt_collector(Spoilt(at, observation=np.full(3, value, np.float32)))
    with pytest.raises(EnvFaultError, match="observation is not finite") as error:
        collector.collect(20)
    assert f"in env step {step} of the episode with seed {seed} (env 1 of 3)" in str(error.value)


def test_a_final_observation_that_is_not_finite_is_an_error_if_its_value_counts():
    at, step, seed = spot(lambda step: step.truncated)
    collector = spoilt_collector(Spoilt(at, observation=NAN))
    with pytest.raises(EnvFaultError, match="observation is not finite") as error:
        collector.collect(20)
    assert f"in env step {step} of the episode with seed {seed} (env 1 of 3)" in str(error.value)


def test_nobody_looks_at_the_final_observation_of_a_terminated_episode():
    at, _, _ = spot(lambda step: step.terminated)
    spoilt_collector(Spoilt(at, observation=NAN)).collect(20)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("last", [False, True], ids=["inside", "at the end"])
def test_a_reward_that_is_not_finite_is_an_error_that_names_env_steps_and_seed(value, last):
    at, step, seed = spot(lambda step: (step.terminated or step.truncated) == last)
    collector = spoilt_collector(Spoilt(at, reward=value))
    with pytest.raises(NonFiniteError, match=f"env 1 of 3 gave the reward {value}") as error:
        collector.collect(20)
    steps = re.search(rf"in the first (\d) env steps of the episode with seed {seed};", str(error.value))
    assert int(steps[1]) >= step


def test_an_empty_mask_is_an_error_that_names_env_step_and_seed():
    collector, _ = collector_of(lambda: MaskedEnv(empty_at=4))
    seed = int(collector.streams.generator("training_episodes", 0, 0).integers(2**31 - 1, size=64, endpoint=True)[0])
    with pytest.raises(EnvFaultError, match="allows nothing") as error:
        collector.collect(20)
    assert f"in env step 4 of the episode with seed {seed} (env 0 of 3)" in str(error.value)


def test_an_empty_mask_of_one_actor_is_an_error_that_names_the_actor():
    class Blocked(TwoStepEnv):
        def _pick_turn(self):
            observation = super()._pick_turn()
            observation[PICK]["action_mask"][:] = self.steps_left > 2
            return observation

    collector, _ = collector_of(Blocked)
    with pytest.raises(EnvFaultError, match="mask of actor 'pick' for 'action' allows nothing, in env step 3 "):
        collector.collect(20)


def test_finite_rewards_whose_sum_is_not_finite_are_an_error_too():
    class Rich(DiaryEnv):
        def step(self, action):
            observation, _, terminated, truncated, info = super().step(action)
            return observation, 1e308, terminated, truncated, info

    collector, _ = collector_of(lambda: Rich(longest=9))
    with np.errstate(over="ignore"), pytest.raises(NonFiniteError):
        collector.collect(20)


@pytest.mark.parametrize("parts", [{"observation": NAN}, {"reward": np.nan}], ids=str)
@pytest.mark.parametrize("longest", [3, 1000], ids=["episode ends", "episode goes on"])
def test_nothing_is_learned_from_a_rollout_with_a_fault(parts, longest):
    collector, _ = collector_of(lambda: Spoilt(25, longest, **parts), running_normalization=True)
    collector.collect(12)
    before = {name: value.clone() for name, value in collector.policy.state_dict().items()}
    with pytest.raises((EnvFaultError, NonFiniteError)):
        collector.collect(20)
    after = collector.policy.state_dict()
    assert [name for name, value in before.items() if not torch.equal(after[name], value)] == []
    assert collector.env_steps == 36


# State


def test_a_collector_that_takes_over_a_state_begins_with_the_first_episodes_that_were_not_begun():
    first, earlier = collector_of(DiaryEnv)
    first.collect(20)
    second, later = collector_of(DiaryEnv)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.collect(20)
    assert second.env_steps == 120
    for one, other in zip(earlier, later, strict=True):
        begun = {step.seed for step in one.steps}
        assert begun.isdisjoint(other.seeds)
        assert [*one.seeds, other.seeds[0]][len(begun)] == other.seeds[0]
