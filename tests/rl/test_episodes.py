"""Whole episodes in lock-step."""

import numpy as np
import pytest
from support.build import gym_factory
from support.envs import PICK, CountdownEnv, FaultyEnv, TwoStepEnv

from maze_core import EnvFaultError, NonFiniteError
from maze_core.rl import Actors, EpisodeBatch, InProcessVectorEnv, run_episodes

SEEDS = [5, 3, 8, 2, 13, 1, 21, 34, 0]


def actors_of(vector):
    return Actors(vector.single_observation_space, vector.single_action_space)


def lock_step(make_env, act, seeds, num_envs=None, observe=None):
    vector = InProcessVectorEnv(make_env, num_envs or len(seeds))
    return run_episodes(vector, actors_of(vector), act, seeds, observe)


def one_by_one(make_env, act, seeds):
    """The same by a plain loop over a scalar env: (return, env steps) of each episode."""
    results = []
    for seed in seeds:
        env = make_env()
        observation, _ = env.reset(seed=seed)
        total, steps, ended = 0.0, 0, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            ended = terminated or truncated
            total += reward
            steps += ended or not isinstance(observation, dict) or bool(observation["new_step"])
        results.append((total, steps))
    return results


def as_pairs(batch):
    return list(zip(batch.returns.tolist(), batch.lengths.tolist(), strict=True))


def alternate(turn):
    return turn.observation[:, 0].astype(np.int64) % 2


def balance(turn):
    return (turn.observation[:, 2] + turn.observation[:, 3] > 0).astype(np.int64)


def muddle(turn):
    if turn.step_key == PICK:
        return turn.observation["values"].argmin(axis=1)
    return turn.observation / 2


def muddle_one(observation):
    pick = int(observation[PICK]["values"].argmin())
    return {PICK: pick, "place": observation["place"] / 2}


def test_returns_and_lengths_are_those_of_a_plain_loop_when_envs_end_at_different_times():
    expected = one_by_one(CountdownEnv, lambda observation: int(observation[0]) % 2, SEEDS)
    assert len({length for _, length in expected}) > 3
    assert as_pairs(lock_step(CountdownEnv, alternate, SEEDS)) == expected


def cartpole_one_by_one():
    return one_by_one(gym_factory("CartPole-v1"), lambda o: int(o[2] + o[3] > 0), SEEDS)


def test_native_cartpole_gives_the_episodes_of_a_plain_loop():
    vector = gym_factory("CartPole-v1").vector(len(SEEDS))
    assert not isinstance(vector, InProcessVectorEnv)
    assert as_pairs(run_episodes(vector, actors_of(vector), balance, SEEDS)) == cartpole_one_by_one()


def test_scalar_cartpole_gives_the_episodes_of_a_plain_loop():
    assert as_pairs(lock_step(gym_factory("CartPole-v1"), balance, SEEDS)) == cartpole_one_by_one()


@pytest.mark.parametrize("options", [{}, {"varied": True}, {"uneven": True}, {"uneven": True, "varied": True}])
def test_structured_envs_give_the_episodes_of_a_plain_loop(options):
    def make_env():
        return TwoStepEnv(7, **options)

    assert as_pairs(lock_step(make_env, muddle, SEEDS)) == one_by_one(make_env, muddle_one, SEEDS)


@pytest.mark.parametrize("num_envs", [10, 16])
def test_envs_without_a_seed_stay_out(num_envs):
    batch = lock_step(CountdownEnv, alternate, SEEDS, num_envs)
    assert as_pairs(batch) == as_pairs(lock_step(CountdownEnv, alternate, SEEDS))


def test_structured_envs_without_a_seed_stay_out():
    batch = lock_step(lambda: TwoStepEnv(uneven=True), muddle, SEEDS, 12)
    assert as_pairs(batch) == as_pairs(lock_step(lambda: TwoStepEnv(uneven=True), muddle, SEEDS))


def test_every_episode_that_starts_counts_once_however_long_it_is():
    starts = []

    class Counting(CountdownEnv):
        def reset(self, *, seed=None, options=None):
            starts.append(seed)
            return super().reset(seed=seed)

    batch = lock_step(Counting, alternate, SEEDS)
    assert starts == SEEDS
    assert len(batch.returns) == len(batch.lengths) == len(SEEDS)


def test_a_vector_env_can_be_used_again_with_the_same_result():
    vector = gym_factory("CartPole-v1").vector(len(SEEDS))
    first = run_episodes(vector, actors_of(vector), balance, SEEDS)
    run_episodes(vector, actors_of(vector), balance, SEEDS[::-1])
    assert as_pairs(run_episodes(vector, actors_of(vector), balance, SEEDS)) == as_pairs(first)


def test_a_vector_env_that_was_left_in_the_middle_of_an_episode_can_be_used_again():
    vector = InProcessVectorEnv(CountdownEnv, len(SEEDS))
    vector.reset(seed=[99] * len(SEEDS))
    vector.step(np.ones(len(SEEDS), np.int64))
    assert as_pairs(run_episodes(vector, actors_of(vector), alternate, SEEDS)) == as_pairs(
        lock_step(CountdownEnv, alternate, SEEDS)
    )


def test_the_observer_is_told_each_live_decision_once():
    told = []
    batch = lock_step(CountdownEnv, alternate, SEEDS, observe=lambda turn, actions, live: told.append(live.sum()))
    assert sum(told) == batch.lengths.sum()


def test_the_observer_is_told_the_rows_of_the_turn():
    shapes = []

    def observe(turn, actions, live):
        shapes.append((len(actions), len(live)))

    lock_step(lambda: TwoStepEnv(varied=True, uneven=True), muddle, SEEDS, observe=observe)
    assert all(actions == live for actions, live in shapes)


def test_act_sees_ever_fewer_rows_as_episodes_end():
    sizes = []

    def act(turn):
        sizes.append(len(turn.observation))
        return alternate(turn)

    lock_step(CountdownEnv, act, range(16))
    assert sizes[0] == 16
    assert sizes[-1] < 8
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), float("-inf")])
def test_a_reward_that_is_no_finite_number_is_an_error_naming_the_seed(reward):
    with pytest.raises(NonFiniteError, match=r"episode with seed 5; rewards must be finite"):
        lock_step(lambda: FaultyEnv("", reward=reward), alternate, SEEDS)


def test_an_env_that_raises_ends_it_with_a_fault():
    with pytest.raises(EnvFaultError, match="the lamp is broken"):
        lock_step(lambda: FaultyEnv("step"), alternate, SEEDS)


def test_batches_are_joined_in_order():
    one, other = lock_step(CountdownEnv, alternate, [3, 1]), lock_step(CountdownEnv, alternate, [2])
    assert as_pairs(EpisodeBatch.joined([one, other])) == as_pairs(lock_step(CountdownEnv, alternate, [3, 1, 2]))


def test_no_batches_are_joined_to_no_episodes():
    assert as_pairs(EpisodeBatch.joined([])) == []
