"""Episodes with seeds of their own, in pools that seed an env when they make it."""

import numpy as np
import pytest
from gymnasium import spaces
from maze_envpool.vector_env import EPISODES_AHEAD, PoolVectorEnv


class Pool:
    """Stands for EnvPool's: env i counts its steps, and ends when it has taken as many as its seed says."""

    made = []

    def __init__(self, seeds):
        self.seeds, self.steps, self.begun = list(seeds), {}, []
        Pool.made.append(self)

    def reset(self, indices):
        assert not set(indices) & set(self.begun), "an env is used for one episode only"
        self.begun += indices.tolist()
        self.steps |= dict.fromkeys(indices.tolist(), 0)
        return self._observation(indices), {}

    def send(self, actions, indices):
        assert len(actions) == len(indices)
        for index in indices.tolist():
            assert self.steps[index] < self.seeds[index], "an env whose episode ended would begin another one by itself"
            self.steps[index] += 1
        self._sent = indices

    def recv(self):
        ended = np.array([self.steps[index] >= self.seeds[index] for index in self._sent.tolist()])
        n = len(self._sent)
        return self._observation(self._sent), np.ones(n, np.float32), ended, np.zeros(n, bool), {}

    def _observation(self, indices):
        return np.array([[self.seeds[index], self.steps[index]] for index in indices.tolist()], np.float32)


@pytest.fixture
def make():
    Pool.made = []

    def make_env(num_envs):
        return PoolVectorEnv(Pool, num_envs, spaces.Box(0, np.inf, (2,)), spaces.Discrete(2))

    return make_env


def reset(env, rows, seeds):
    mask, by_env = np.zeros(env.num_envs, bool), [0] * env.num_envs
    mask[rows] = True
    for row, seed in zip(rows, seeds, strict=True):
        by_env[row] = seed
    return env.reset(seed=by_env, options={"reset_mask": mask})[0]


def play(env, episodes):
    """Plays the episodes with these seeds in each env, one after the other; returns what was seen of each."""
    now, seen = [0] * env.num_envs, {}
    observation = reset(env, list(range(env.num_envs)), [own[0] for own in episodes])
    live = np.ones(env.num_envs, bool)
    while live.any():
        before = live.copy()
        observation, _, terminated, _, _ = env.step(np.zeros(env.num_envs, int))
        for row in np.flatnonzero(before):
            seen.setdefault((row, now[row]), []).append(observation[row].tolist())
        ended = np.flatnonzero(terminated)
        for row in ended:
            now[row] += 1
        again = [row for row in ended if now[row] < len(episodes[row])]
        live[ended] = False
        if again:
            reset(env, again, [episodes[row][now[row]] for row in again])
            live[again] = True
    return seen


def lengths(seed):
    """From 2 to 9 steps, for 20 episodes."""
    return np.random.default_rng(seed).integers(2, 10, size=20).tolist()


def test_each_episode_is_that_of_its_seed(make):
    episodes = [lengths(1), lengths(2), lengths(3)]
    seen = play(make(3), episodes)
    for (row, number), observations in seen.items():
        seed = episodes[row][number]
        assert observations == [[seed, step] for step in range(1, seed + 1)]


def test_a_hint_changes_nothing_but_the_number_of_pools(make):
    episodes = [lengths(1), lengths(2), lengths(3)]
    plain, n_plain = play(make(3), episodes), len(Pool.made)
    hinted = make(3)
    for row, seeds in enumerate(episodes):
        hinted.prepare_episodes(row, seeds)
    assert play(hinted, episodes) == plain
    assert len(Pool.made) - n_plain < n_plain / 5


def test_a_wrong_hint_changes_nothing(make):
    episodes = [lengths(1), lengths(2)]
    plain, misled = play(make(2), episodes), make(2)
    misled.prepare_episodes(0, lengths(9))
    misled.prepare_episodes(1, [*episodes[1][:5], 3, *episodes[1][7:]])
    assert play(misled, episodes) == plain


def test_a_pool_is_made_for_some_episodes_of_each_env(make):
    env = make(2)
    for row in (0, 1):
        env.prepare_episodes(row, range(10, 40))
    reset(env, [0, 1], [10, 10])
    assert Pool.made[0].seeds == 2 * list(range(10, 10 + EPISODES_AHEAD))


def test_without_hints_a_pool_has_the_episodes_that_begin(make):
    env = make(3)
    reset(env, [0, 2], [4, 5])
    assert [pool.seeds for pool in Pool.made] == [[4, 5]]


def test_an_env_idles_until_it_is_reset_and_shows_its_last_observation(make):
    env = make(2)
    reset(env, [0, 1], [1, 3])
    env.step(np.zeros(2, int))
    observation, rewards, terminated, truncated, _ = env.step(np.zeros(2, int))
    assert observation.tolist() == [[1, 1], [3, 2]]
    assert (rewards.tolist(), terminated.tolist(), truncated.tolist()) == ([0, 1], [False, False], [False, False])


def test_an_episode_may_be_given_up(make):
    env = make(2)
    reset(env, [0, 1], [5, 5])
    env.step(np.zeros(2, int))
    assert reset(env, [1], [7]).tolist() == [[5, 1], [7, 0]]


def test_seeds_that_are_too_large_for_envpool_are_made_smaller(make):
    reset(make(1), [0], [2**31 + 6])
    assert Pool.made[0].seeds == [6]


def test_without_seeds_episodes_differ(make):
    env = make(2)
    env.reset()
    assert len(set(Pool.made[0].seeds)) == 2


def test_a_closed_env_has_no_pool_left(make):
    env = make(2)
    env.prepare_episodes(0, [3, 4, 5])
    reset(env, [0, 1], [3, 3])
    env.close()
    assert not env._places and not env._groups and not any(env._prepared)
