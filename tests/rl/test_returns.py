"""From rewards to advantages, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maze_core.rl import explained_variance, generalized_advantages


def column(*numbers):
    return np.array(numbers, float)[:, None]


REWARDS, VALUES, NO_END = column(1, 2, 3), column(1, 1, 1), np.zeros((3, 1), bool)
AFTER_SECOND = column(0, 1, 0).astype(bool)


def test_an_episode_that_goes_on_is_bootstrapped_at_the_end_of_the_rollout():
    advantages = generalized_advantages(REWARDS, VALUES, column(1, 1, 4), NO_END, 0.5, 0.5)
    np.testing.assert_allclose(advantages, column(0.5 + 0.25 * (1.5 + 0.25 * 4), 1.5 + 0.25 * 4, 4))


def test_after_a_termination_nothing_is_worth_anything():
    advantages = generalized_advantages(REWARDS, VALUES, column(1, 0, 4), AFTER_SECOND, 0.5, 0.5)
    np.testing.assert_allclose(advantages, column(0.5 + 0.25 * 1, 2 + 0 - 1, 4))


def test_after_a_truncation_the_final_observation_keeps_its_value():
    advantages = generalized_advantages(REWARDS, VALUES, column(1, 6, 4), AFTER_SECOND, 0.5, 0.5)
    np.testing.assert_allclose(advantages, column(0.5 + 0.25 * 4, 2 + 0.5 * 6 - 1, 4))


def test_envs_of_a_batch_that_go_on_terminate_and_truncate_do_not_disturb_each_other():
    next_values = np.hstack([column(1, 1, 4), column(1, 0, 4), column(1, 6, 4)])
    ended = np.hstack([NO_END, AFTER_SECOND, AFTER_SECOND])
    together = generalized_advantages(REWARDS.repeat(3, 1), VALUES.repeat(3, 1), next_values, ended, 0.5, 0.5)
    for env in range(3):
        alone = generalized_advantages(REWARDS, VALUES, next_values[:, [env]], ended[:, [env]], 0.5, 0.5)
        np.testing.assert_array_equal(together[:, [env]], alone)


def test_what_is_given_is_not_changed():
    given_arrays = [REWARDS.copy(), VALUES.copy(), column(1, 0, 4), AFTER_SECOND.copy()]
    before = [array.copy() for array in given_arrays]
    generalized_advantages(*given_arrays, 0.5, 0.5)
    for array, expected in zip(given_arrays, before, strict=True):
        np.testing.assert_array_equal(array, expected)


@st.composite
def rollouts(draw):
    """Rewards, values, values afterwards and ends of a few envs, and a generator."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 9999)))
    rewards, values, last = generator.normal(size=shape), generator.normal(size=shape), generator.normal(size=shape[1:])
    terminated, truncated = generator.random(shape) < 0.2, generator.random(shape) < 0.2
    next_values = np.concatenate([values[1:], last[None]])
    next_values = np.where(truncated, generator.normal(size=shape), next_values)
    next_values[terminated] = 0
    return rewards, values, next_values, terminated | truncated, generator


@given(rollouts())
def test_with_lambda_one_the_return_is_monte_carlo(rollout):
    rewards, values, next_values, ended, _ = rollout
    returns = generalized_advantages(rewards, values, next_values, ended, 0.9, 1.0) + values
    for step, env in np.ndindex(*rewards.shape):
        later, expected, discount = step, 0.0, 1.0
        while True:
            expected += discount * rewards[later, env]
            discount *= 0.9
            if ended[later, env] or later == len(rewards) - 1:
                break
            later += 1
        assert returns[step, env] == pytest.approx(expected + discount * next_values[later, env])


@given(rollouts())
def test_with_lambda_zero_the_advantage_is_the_error_of_one_step(rollout):
    rewards, values, next_values, ended, _ = rollout
    advantages = generalized_advantages(rewards, values, next_values, ended, 0.9, 0.0)
    np.testing.assert_allclose(advantages, rewards + 0.9 * next_values - values)


@given(rollouts())
def test_nothing_crosses_the_end_of_an_episode(rollout):
    rewards, values, next_values, ended, generator = rollout
    expected = generalized_advantages(rewards, values, next_values, ended, 0.99, 0.95)
    for step, env in np.argwhere(ended):
        changed = [array.copy() for array in (rewards, values, next_values)]
        for array in changed:
            array[step + 1 :, env] += generator.normal(0, 100, len(array) - step - 1)
        advantages = generalized_advantages(*changed, ended, 0.99, 0.95)
        np.testing.assert_array_equal(advantages[: step + 1, env], expected[: step + 1, env])


@given(rollouts())
def test_a_number_and_an_array_of_it_are_the_same_discount(rollout):
    *rest, _ = rollout
    everywhere = np.ones_like(rest[0])
    np.testing.assert_allclose(
        generalized_advantages(*rest, 0.9 * everywhere, 0.8 * everywhere), generalized_advantages(*rest, 0.9, 0.8)
    )


def test_within_an_env_step_nothing_is_discounted():
    rewards, values, next_values = column(1, 2, 3, 4), column(10, 20, 30, 40), column(20, 30, 40, 50)
    gamma, gae_lambda = column(1, 0.5, 1, 0.5), column(1, 0.2, 1, 0.2)
    advantages = generalized_advantages(rewards, values, next_values, np.zeros((4, 1), bool), gamma, gae_lambda)
    fourth = 4 + 0.5 * 50 - 40
    third = (3 + 40 - 30) + fourth
    second = (2 + 0.5 * 30 - 20) + 0.5 * 0.2 * third
    first = (1 + 20 - 10) + second
    np.testing.assert_allclose(advantages, column(first, second, third, fourth))


@given(rollouts())
def test_with_one_value_for_an_env_step_its_sub_steps_get_the_advantage_of_the_whole(rollout):
    rewards, values, next_values, ended, _ = rollout
    expected = generalized_advantages(rewards, values, next_values, ended, 0.9, 0.8)

    def of_sub_steps(inner, last):  # two to an env step
        return np.stack([inner, last], axis=1).reshape(-1, rewards.shape[1])

    zeros, ones = np.zeros_like(rewards), np.ones_like(rewards)
    advantages = generalized_advantages(
        of_sub_steps(zeros, rewards), of_sub_steps(values, values), of_sub_steps(values, next_values),
        of_sub_steps(zeros, ended) > 0, of_sub_steps(ones, 0.9 * ones), of_sub_steps(ones, 0.8 * ones),
    )  # fmt: skip
    np.testing.assert_allclose(advantages, of_sub_steps(expected, expected), atol=1e-12)


@pytest.mark.parametrize(
    ("values", "share"),
    [([1, 2, 3, 4], 1.0), ([6, 7, 8, 9], 1.0), ([9, 9, 9, 9], 0.0), ([4, 3, 2, 1], -3.0), ([1, 2, 3, 3], 1 - 0.15)],
)
def test_the_explained_variance_is_that_of_the_errors(values, share):
    assert explained_variance(np.array(values, np.float32), np.arange(1, 5)) == pytest.approx(share)


def test_returns_that_are_all_the_same_explain_nothing():
    assert explained_variance(np.array([1.0, 2.0]), np.array([3.0, 3.0])) == 0.0
