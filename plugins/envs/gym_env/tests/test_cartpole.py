"""The native CartPole is the scalar one, many times over."""

from collections import Counter

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from maze_gym_env.cartpole import SeededCartPoleVectorEnv
from maze_gym_env.config import GymEnvConfig
from maze_gym_env.envs import make_env, make_native_vector_env

from maze_core.rl import InProcessVectorEnv, reset_envs


def native(count, **options):
    return SeededCartPoleVectorEnv(count, **{"max_episode_steps": 500, **options})


def ones(count):
    return np.ones(count, np.int64)


def pushed_over(env):
    """Steps env 0 and 1 to the right until their episodes end."""
    for _ in range(20):
        observation, _, terminated, _, _ = env.step(ones(env.num_envs))
        if terminated.all():
            return observation
    raise AssertionError("the poles did not fall")


def play(vector, steps=650):
    """All that a vector env returns under random actions, each ended env being reset with a seed of its own."""
    count, episodes = vector.num_envs, Counter()
    generator = np.random.default_rng(3)
    trace = [reset_envs(vector, np.arange(count), list(range(count))).copy()]
    for step in range(steps):
        actions = generator.integers(2, size=count)
        if step % 3:  # balance most of the time, so that episodes are long
            actions = (trace[-1][:, 2] + trace[-1][:, 3] > 0).astype(np.int64)
        observation, rewards, terminated, truncated, _ = vector.step(actions)
        trace += [np.array(part) for part in (observation, rewards, terminated, truncated)]
        ended = np.flatnonzero(terminated | truncated)
        for name, flags in (("terminated", terminated), ("truncated", truncated)):
            episodes[name] += int(flags.sum())
        if len(ended):
            trace.append(reset_envs(vector, ended, [1000 * step + int(row) for row in ended]).copy())
        else:
            trace.append(trace[-4])
    return trace, episodes


@pytest.mark.parametrize("name", ["CartPole-v0", "CartPole-v1"])
@pytest.mark.parametrize("sutton_barto_reward", [False, True])
def test_it_equals_the_scalar_env_bit_for_bit(name, sutton_barto_reward):
    config = GymEnvConfig(name=name, kwargs={"sutton_barto_reward": sutton_barto_reward})
    vector = make_native_vector_env(config, 64)
    assert isinstance(vector, SeededCartPoleVectorEnv)
    actual, ends = play(vector)
    expected, _ = play(InProcessVectorEnv(lambda: make_env(config), 64))
    assert ends["terminated"] > 0
    assert ends["truncated"] > 0
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_its_observation_lies_in_its_space():
    env = native(3)
    assert env.observation_space.contains(env.reset(seed=[1, 2, 3])[0])
    assert env.observation_space.contains(env.step(ones(3))[0])


def test_it_never_resets_by_itself():
    assert native(1).metadata["autoreset_mode"] == AutoresetMode.DISABLED


def test_reset_starts_exactly_the_chosen_copies_each_with_its_own_seed():
    env = native(3)
    env.reset(seed=[1, 2, 3])
    before = env.step(ones(3))[0]
    observation = reset_envs(env, np.array([1]), [9])
    np.testing.assert_array_equal(observation[[0, 2]], before[[0, 2]])
    np.testing.assert_array_equal(observation[1], native(1).reset(seed=[9])[0][0])


def test_a_copy_starts_the_same_whatever_its_place():
    here, there = native(2).reset(seed=[7, 8])[0], native(2).reset(seed=[8, 7])[0]
    np.testing.assert_array_equal(here, there[::-1])


def test_copies_that_were_never_reset_are_idle():
    env = native(3)
    reset_envs(env, np.array([1]), [0])
    _, rewards, terminated, truncated, _ = env.step(ones(3))
    assert rewards.tolist() == [0, 1, 0]
    assert not (terminated | truncated).any()


def test_a_copy_whose_episode_ended_is_idle_until_it_is_reset():
    env = native(2)
    env.reset(seed=[1, 1])
    pushed_over(env)
    reset_envs(env, np.array([1]), [5])
    for _ in range(4):
        _, rewards, terminated, truncated, _ = env.step(ones(2))
        assert rewards.tolist() == [0, 1]
        assert not (terminated | truncated).any()
    reset_envs(env, np.array([0]), [5])
    assert env.step(ones(2))[1].tolist() == [1, 1]


def test_an_idle_copy_stays_finite_for_ever():
    env = native(2)
    reset_envs(env, np.array([0]), [0])
    for _ in range(300):
        observation, *_ = env.step(ones(2))
    assert np.isfinite(observation).all()


def test_the_observation_that_ends_an_episode_is_the_true_final_one():
    env = native(2)
    env.reset(seed=[1, 1])
    assert (np.abs(pushed_over(env)[:, 2]) > env.theta_threshold_radians).all()


def test_an_episode_is_truncated_after_its_steps_and_counted_anew_after_a_reset():
    env = native(2, max_episode_steps=3)
    env.reset(seed=[1, 2])
    for _ in range(2):
        assert env.step(ones(2))[3].tolist() == [False, False]
        assert env.step(ones(2) * 0)[3].tolist() == [False, False]
        assert env.step(ones(2))[3].tolist() == [True, True]
        env.reset(seed=[1, 2])


def test_a_truncated_episode_is_not_terminated():
    env = native(1, max_episode_steps=1)
    env.reset(seed=[1])
    _, rewards, terminated, truncated, _ = env.step(ones(1))
    assert (rewards[0], terminated[0], truncated[0]) == (1, False, True)


def test_what_a_step_returned_is_not_overwritten_by_the_next():
    env = native(2, max_episode_steps=1)
    env.reset(seed=[1, 2])
    kept = env.step(ones(2))
    copies = [np.array(part) for part in kept[:4]]
    env.step(ones(2))
    for part, copy in zip(kept[:4], copies, strict=True):
        np.testing.assert_array_equal(part, copy)


@pytest.mark.parametrize("name", ["Acrobot-v1", "Pendulum-v1", "Nowhere-v0", "phys2d/CartPole-v1"])
def test_other_envs_have_no_native_form(name):
    assert make_native_vector_env(GymEnvConfig(name=name), 2) is None


def test_arguments_that_the_native_form_does_not_know_lead_to_the_scalar_one():
    assert make_native_vector_env(GymEnvConfig(kwargs={"max_episode_steps": 10}), 2) is None


def test_the_native_form_has_the_spec_of_the_scalar_env():
    vector = make_native_vector_env(GymEnvConfig(name="CartPole-v0"), 2)
    assert vector.spec.id == "CartPole-v0"
    assert (vector.num_envs, vector.max_episode_steps) == (2, 200)


@pytest.mark.parametrize(
    "registration", [{"kwargs": {"sutton_barto_reward": True}, "max_episode_steps": 9}, {"max_episode_steps": None}]
)
def test_a_variant_of_cartpole_plays_as_it_was_registered(registration):
    entry_point = gymnasium.spec("CartPole-v1").entry_point
    gymnasium.register("MazeTest/CartPole-v0", entry_point, disable_env_checker=True, **registration)
    try:
        config = GymEnvConfig(name="MazeTest/CartPole-v0")
        vector = make_native_vector_env(config, 4) or InProcessVectorEnv(lambda: make_env(config), 4)
        actual, _ = play(vector, 700)
        expected, _ = play(InProcessVectorEnv(lambda: make_env(config), 4), 700)
        for one, other in zip(actual, expected, strict=False):
            np.testing.assert_array_equal(one, other)
    finally:
        del gymnasium.registry["MazeTest/CartPole-v0"]


# State


def under_way(count=8, steps=60):
    """An env in the middle of episodes of different ages, one of which has ended and one never began."""
    env = native(count, max_episode_steps=90)
    reset_envs(env, np.arange(count - 1), list(range(count - 1)))
    generator = np.random.default_rng(1)
    for step in range(steps):
        ended = np.flatnonzero(np.logical_or(*env.step(generator.integers(2, size=count))[2:4]))
        if len(ended) and step < steps - 20:
            reset_envs(env, ended, [100 * step + int(row) for row in ended])
    return env


def continued(env, steps=120):
    """All that comes after, with a reset in between."""
    generator, trace = np.random.default_rng(2), []
    for step in range(steps):
        trace += [np.array(part) for part in env.step(generator.integers(2, size=env.num_envs))[:4]]
        if step % 40 == 20:
            trace.append(reset_envs(env, np.array([0, 3]), [step, step + 1]).copy())
    return trace


def test_a_fresh_env_with_the_state_of_another_goes_on_bit_for_bit():
    env = under_way()
    state = env.get_state()
    assert 0 < state["idle"].sum() < env.num_envs
    assert len(np.unique(state["steps"])) > 2
    fresh = native(env.num_envs, max_episode_steps=90)
    observation, restored = fresh.set_state(state)
    np.testing.assert_array_equal(observation, env.state.T.astype(np.float32))
    assert (observation.dtype, observation.shape) == (np.float32, (8, 4))
    assert (restored.dtype, restored.tolist()) == (bool, [True] * 8)
    for one, other in zip(continued(env), continued(fresh), strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


def test_the_observation_of_a_state_is_that_of_the_last_step():
    env = native(2)
    env.reset(seed=[1, 2])
    observation = env.step(ones(2))[0]
    np.testing.assert_array_equal(native(2).set_state(env.get_state())[0], observation)


def test_a_state_is_a_copy_in_both_directions():
    env = under_way()
    state = env.get_state()
    before = {name: array.copy() for name, array in state.items()}
    fresh = native(8, max_episode_steps=90)
    fresh.set_state(state)
    continued(env)
    continued(fresh)
    for name, array in state.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_used_env_forgets_its_own_episodes():
    env, other = under_way(), native(8, max_episode_steps=90)
    other.reset(seed=list(range(8)))
    env.set_state(other.get_state())
    for one, two in zip(continued(env), continued(other), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": np.zeros((4, 3))}, "state of 2 copies"),
        ({"state": np.zeros((2, 4))}, "state of 2 copies"),
        ({"state": np.zeros((4, 2), np.float32)}, "float32"),
        ({"state": np.full((4, 2), np.nan)}, "not finite"),
        ({"state": np.full((4, 2), np.inf)}, "not finite"),
        ({"steps": np.zeros(3, np.int32)}, "steps of 2 copies"),
        ({"steps": np.zeros(2)}, "float64"),
        ({"steps": np.array([0, -1], np.int32)}, "from 0 to 500"),
        ({"steps": np.array([0, 501], np.int32)}, "from 0 to 500"),
        ({"idle": np.zeros(2)}, "idle of 2 copies"),
        ({"idle": np.zeros((2, 1), bool)}, "idle of 2 copies"),
        ({"more": np.zeros(2)}, "has state, steps, idle"),
    ],
)
def test_what_is_no_state_of_this_env_is_refused_and_changes_nothing(changes, message):
    env = native(2)
    env.reset(seed=[1, 2])
    before = env.get_state()
    with pytest.raises(ValueError, match=message):
        env.set_state({**before, **changes})
    for name, array in env.get_state().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_state_without_one_of_its_parts_is_refused():
    with pytest.raises(ValueError, match="there are state, steps"):
        native(2).set_state({name: array for name, array in native(2).get_state().items() if name != "idle"})
