"""Losses and their derivatives against torch in float64."""

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from support.envs import PICK, PLACE, TwoStepEnv
from support.spaces import random_mask
from torch.distributions import Bernoulli, Categorical, Normal

from maze_core import NonFiniteError
from maze_core.rl import (
    FLAT,
    ActorCriticLoss,
    Actors,
    Policy,
    Samples,
    clipped_surrogate,
    policy_gradient,
    squared_error,
)

LOG_STDS = [-0.3, 0.4]


@st.composite
def rows(draw):
    """Three arrays of 50 numbers; rounded ones meet often."""
    drawn = np.random.default_rng(draw(st.integers(0, 9999))).uniform(-3, 3, (3, 50))
    return drawn.round(1) if draw(st.booleans()) else drawn


def tensor(array):
    return torch.tensor(np.asarray(array, float), requires_grad=True)


def derivative(loss, by):
    """Of the sum of the losses of all rows: of each row's loss with respect to its own number."""
    return torch.autograd.grad(loss.sum(), by)[0].numpy()


def torch_surrogate(log_probs, old_log_probs, advantages, clip_range):
    ratio = torch.exp(log_probs - old_log_probs)
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip_range, 1 + clip_range) * advantages)


def torch_squared_error(values, returns, old_values, clip_range):
    if clip_range is None:
        return (values - returns) ** 2
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return torch.max((values - returns) ** 2, (clipped - returns) ** 2)


@given(rows())
def test_the_policy_gradient_is_that_of_torch(rows):
    log_probs, old_log_probs, advantages = rows
    losses, slopes = policy_gradient(log_probs, old_log_probs, advantages)
    by = tensor(log_probs)
    expected = -torch.tensor(advantages) * by
    np.testing.assert_allclose(losses, expected.detach())
    np.testing.assert_allclose(slopes, derivative(expected, by))


@given(rows(), st.sampled_from([0.01, 0.2, 0.5]))
def test_the_clipped_surrogate_is_that_of_torch(rows, clip_range):
    log_probs, old_log_probs, advantages = rows
    losses, slopes = clipped_surrogate(log_probs, old_log_probs, advantages, clip_range)
    by = tensor(log_probs)
    expected = torch_surrogate(by, torch.tensor(old_log_probs), torch.tensor(advantages), clip_range)
    np.testing.assert_allclose(losses, expected.detach(), atol=1e-12)
    np.testing.assert_allclose(slopes, derivative(expected, by), atol=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "cut"), [(1.3, 1, True), (1.3, -1, False), (0.7, 1, False), (0.7, -1, True)]
)
def test_the_gradient_is_cut_only_where_the_step_has_gone_far_enough(ratio, advantage, cut):
    _, slopes = clipped_surrogate(np.log([ratio]), np.zeros(1), np.array([advantage]), 0.2)
    assert slopes[0] == pytest.approx(0 if cut else -ratio * advantage)


@given(rows())
def test_before_the_first_step_both_policy_losses_have_the_same_derivatives(rows):
    log_probs, _, advantages = rows.astype(np.float32)
    _, plain = policy_gradient(log_probs, log_probs, advantages)
    _, clipped = clipped_surrogate(log_probs, log_probs, advantages, 0.2)
    np.testing.assert_allclose(clipped, plain, rtol=1e-6)


@given(rows())
def test_the_squared_error_is_that_of_torch(rows):
    losses, slopes = squared_error(*rows, None)
    by = tensor(rows[0])
    expected = torch_squared_error(by, torch.tensor(rows[1]), torch.tensor(rows[2]), None)
    np.testing.assert_allclose(losses, expected.detach())
    np.testing.assert_allclose(slopes, derivative(expected, by))


@given(rows(), st.sampled_from([0.11, 0.5, 2.01, 10.0]))
def test_the_clipped_squared_error_is_that_of_torch(rows, clip_range):
    values, returns, old_values = rows
    losses, slopes = squared_error(values, returns, old_values, clip_range)
    by = tensor(values)
    expected = torch_squared_error(by, torch.tensor(returns), torch.tensor(old_values), clip_range)
    np.testing.assert_allclose(losses, expected.detach(), atol=1e-12)
    moved = np.clip(values - old_values, -clip_range, clip_range)
    corner = np.abs(np.abs(values - returns) - np.abs(old_values + moved - returns)) < 1e-9
    corner &= np.abs(values - old_values) >= clip_range - 1e-9  # there is no derivative
    np.testing.assert_allclose(slopes[~corner], derivative(expected, by)[~corner], atol=1e-12)


def test_a_value_that_moved_less_than_its_range_keeps_its_gradient():
    values, old_values = np.linspace(-1, 1, 1001, dtype=np.float32), np.full(1001, 0.3, np.float32)
    for returns in (np.full(1001, -2, np.float32), np.full(1001, 2, np.float32)):
        _, slopes = squared_error(values, returns, old_values, 5.0)
        np.testing.assert_allclose(slopes, 2 * (values - returns))


@pytest.mark.parametrize(("value", "cut"), [(0.5, True), (-0.5, False)])
def test_the_gradient_of_a_value_is_cut_where_it_has_moved_far_enough_to_its_return(value, cut):
    _, slopes = squared_error(np.array([value]), np.array([1.0]), np.zeros(1), 0.2)
    assert slopes[0] == pytest.approx(0 if cut else 2 * (value - 1))


def flat_actors():
    space = spaces.Dict({"box": spaces.Box(-1, 1, (2,)), "yes": spaces.MultiBinary(2), "way": spaces.Discrete(3)})
    return Actors(spaces.Box(-1, 1, (2,)), space)


def two_actors():
    env = TwoStepEnv()
    return Actors(env.observation_space, env.action_space)


def make_policy(actors):
    policy = Policy(actors, {}, initial_log_std=0.0)
    with torch.no_grad():
        for log_std in policy.log_stds.values():
            log_std.copy_(torch.tensor(LOG_STDS)[: len(log_std)])
    return policy


def rows_with_value(valued):
    return slice(None) if valued is None else valued


def make_batch(policy, key, n, seed=0, n_values=None):
    """Samples of an actor in float64, and what its networks say about them now."""
    generator, heads = np.random.default_rng(seed), policy.actors.by_key[key].heads
    mask = random_mask(policy.actors.by_key[key].action_space, n, generator)
    outputs, log_std = generator.normal(size=(n, heads.size)), policy.log_std(key).astype(float)
    actions = heads.sample(outputs, log_std, heads.noise(generator, (n,)), mask).astype(float)
    log_probs = heads.evaluate(outputs, log_std, actions, mask).log_probs
    valued = None if n_values in (None, n) else generator.permutation(n) < n_values
    rollout = [log_probs + generator.normal(0, 0.3, n), generator.normal(1, 2, n)]
    critic = [generator.normal(size=n), generator.normal(size=n)]
    values = None if n_values == 0 else (critic[0] + generator.normal(0, 0.5, n))[rows_with_value(valued)]
    return Samples(key, {}, mask, actions, *rollout, valued, *critic), outputs, values


def torch_decision(key, samples, outputs, log_std):
    """Log-probabilities and entropies of the two actors above, by torch's own distributions."""

    def logits(columns, mask):
        return outputs[:, columns].masked_fill(torch.tensor(mask == 0), -1e30)

    actions = torch.tensor(samples.actions)
    if key == PICK:
        choice = Categorical(logits=logits(slice(0, 4), samples.mask))
        return choice.log_prob(actions[:, 0]), choice.entropy()
    if key == PLACE:
        box = Normal(outputs, log_std.exp())
        return box.log_prob(actions).sum(1), box.entropy().sum(1)
    parts = [
        (Normal(outputs[:, 0:2], log_std.exp()), actions[:, 0:2]),
        (Categorical(logits=logits(slice(2, 5), samples.mask["way"])), actions[:, 2]),
        (Bernoulli(logits=outputs[:, 5:7]), actions[:, 3:5]),
    ]
    log_probs = [part.log_prob(action).reshape(len(outputs), -1).sum(1) for part, action in parts]
    return sum(log_probs), sum(part.entropy().reshape(len(outputs), -1).sum(1) for part, _ in parts)


def torch_loss(batches, log_stds, policy_loss, entropy_coef, value_loss_coef, value_clip_range, normalize):
    """The whole loss in a few lines; from tensors of outputs and values."""
    advantages = torch.cat([torch.tensor(samples.advantages) for samples, _, _ in batches])
    if normalize:
        advantages = (advantages - advantages.mean()) / advantages.std()
    log_probs, entropies = zip(
        *[torch_decision(s.step_key, s, outputs, log_stds.get(s.step_key)) for s, outputs, _ in batches], strict=True
    )
    old_log_probs = torch.cat([torch.tensor(samples.log_probs) for samples, _, _ in batches])
    loss = (
        policy_loss(torch.cat(log_probs), old_log_probs, advantages).mean() - entropy_coef * torch.cat(entropies).mean()
    )
    errors = [
        torch_squared_error(
            values,
            torch.tensor(samples.returns[rows_with_value(samples.valued)]),
            torch.tensor(samples.values[rows_with_value(samples.valued)]),
            value_clip_range,
        )
        for samples, _, values in batches
        if values is not None
    ]
    return loss + value_loss_coef * torch.cat(errors).mean() if errors else loss


LOSSES = {
    "ppo": (partial(clipped_surrogate, clip_range=0.2), partial(torch_surrogate, clip_range=0.2)),
    "a2c": (policy_gradient, lambda log_probs, _, advantages: -advantages * log_probs),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("value_clip_range", [None, 0.3])
@pytest.mark.parametrize(
    ("actors", "sizes"),
    [
        (flat_actors, {FLAT: (9, 9)}),
        (flat_actors, {FLAT: (9, 0)}),
        (two_actors, {PICK: (7, 7), PLACE: (5, 5)}),
        (two_actors, {PICK: (7, 4), PLACE: (5, 0)}),
    ],
    ids=["one", "no_critic", "two", "shared_critic"],
)
def test_the_loss_of_a_minibatch_is_that_of_torch(actors, sizes, name, normalize, value_clip_range):
    policy, (policy_loss, torch_policy_loss) = make_policy(actors()), LOSSES[name]
    batches = [make_batch(policy, key, n, seed, m) for seed, (key, (n, m)) in enumerate(sizes.items())]
    loss = ActorCriticLoss(policy, [batch[0] for batch in batches], policy_loss, 0.01, 0.5, value_clip_range, normalize)
    found = [loss(*batch) for batch in batches]

    tensors = [
        (samples, tensor(outputs), None if values is None else tensor(values)) for samples, outputs, values in batches
    ]
    log_stds = {key: tensor(policy.log_std(key)) for key in policy.log_stds}
    expected = torch_loss(tensors, log_stds, torch_policy_loss, 0.01, 0.5, value_clip_range, normalize)
    expected.backward()
    measured = loss.measured()
    total = measured["policy_loss"] - 0.01 * measured["entropy"] + 0.5 * measured.get("value_loss", 0.0)
    assert total == pytest.approx(expected.item(), rel=1e-6)
    for derivatives, (samples, outputs, values) in zip(found, tensors, strict=True):
        np.testing.assert_allclose(derivatives.outputs, outputs.grad, rtol=1e-5, atol=1e-8)
        if values is None:
            assert derivatives.values is None
        else:
            np.testing.assert_allclose(derivatives.values, values.grad, rtol=1e-5, atol=1e-8)
        if samples.step_key in log_stds:
            np.testing.assert_allclose(derivatives.log_std, log_stds[samples.step_key].grad, rtol=1e-5, atol=1e-8)
        else:
            assert derivatives.log_std is None


def with_advantages(advantages, key=FLAT, actors=flat_actors):
    policy = make_policy(actors())
    samples, outputs, values = make_batch(policy, key, len(advantages))
    return policy, Samples(**{**vars(samples), "advantages": np.array(advantages)}), outputs, values


def test_advantages_are_normalised_over_all_actors_together():
    policy, pick, outputs, values = with_advantages([1, 2], PICK, two_actors)
    _, place, *_ = with_advantages([6], PLACE, two_actors)
    seen = []

    def record(log_probs, old_log_probs, advantages):
        seen.append(advantages)
        return policy_gradient(log_probs, old_log_probs, advantages)

    loss = ActorCriticLoss(policy, [pick, place], record, 0.0, 0.5, normalize_advantages=True)
    loss(pick, outputs, values)
    loss(place, np.zeros((1, 1)), np.zeros(1))
    np.testing.assert_allclose(np.concatenate(seen), (np.array([1, 2, 6]) - 3) / np.std([1, 2, 6], ddof=1), rtol=1e-6)


@pytest.mark.parametrize("advantages", [[5.0], [0.0], [2.0, 2.0], [0.1, 0.1, 0.1]], ids=str)
def test_the_smallest_minibatches_can_be_normalised(advantages):
    policy, samples, outputs, values = with_advantages(advantages)
    loss = ActorCriticLoss(policy, [samples], policy_gradient, 0.01, 0.5, normalize_advantages=True)
    derivatives = loss(samples, outputs, values)
    assert np.isfinite(derivatives.outputs).all()
    assert all(np.isfinite(value) for value in loss.measured(0.2).values())


def test_a_minibatch_of_one_decision_is_left_alone():
    policy, samples, outputs, values = with_advantages([5.0])
    losses = [
        ActorCriticLoss(policy, [samples], policy_gradient, 0.0, 0.5, normalize_advantages=n) for n in (True, False)
    ]
    first, second = (loss(samples, outputs, values) for loss in losses)
    np.testing.assert_array_equal(first.outputs, second.outputs)


def test_without_a_policy_loss_only_the_critic_learns():
    policy, samples, outputs, values = with_advantages([1.0, -1.0, 3.0])
    loss = ActorCriticLoss(policy, [samples], None, 0.5, 0.5)
    derivatives = loss(samples, outputs, values)
    assert not derivatives.outputs.any()
    assert not derivatives.log_std.any()
    np.testing.assert_allclose(derivatives.values, 0.5 * 2 * (values - samples.returns) / 3, rtol=1e-6)
    assert loss.measured(0.2)["entropy"] > 0


def test_float32_samples_have_float32_derivatives():
    policy, samples, outputs, values = with_advantages([1.0, -1.0, 3.0])
    narrow = {
        name: value.astype(np.float32) if isinstance(value, np.ndarray) else value
        for name, value in vars(samples).items()
    }
    samples = Samples(**narrow)
    for value_clip_range in (None, 0.1):
        for normalize in (False, True):
            loss = ActorCriticLoss(policy, [samples], LOSSES["ppo"][0], 0.01, 0.5, value_clip_range, normalize)
            derivatives = loss(samples, outputs.astype(np.float32), values.astype(np.float32))
            kinds = [derivatives.outputs.dtype, derivatives.log_std.dtype, derivatives.values.dtype]
            assert kinds == [np.float32] * 3


def test_the_move_of_the_policy_is_measured():
    policy, samples, outputs, values = with_advantages([1.0, -1.0, 3.0, 2.0])
    log_std = policy.log_std(FLAT)
    now = policy.actors.by_key[FLAT].heads.evaluate(outputs, log_std, samples.actions, samples.mask).log_probs
    log_ratios = np.array([0.0, 0.1, -0.5, 0.3])
    samples = Samples(**{**vars(samples), "log_probs": now - log_ratios})
    loss = ActorCriticLoss(policy, [samples], LOSSES["ppo"][0], 0.0, 0.5)
    loss(samples, outputs, values)
    measured = loss.measured(0.2)
    assert measured["approx_kl"] == pytest.approx(np.mean(np.exp(log_ratios) - 1 - log_ratios))
    assert measured["clip_fraction"] == 0.5
    assert set(loss.measured()) == {"policy_loss", "value_loss", "entropy"}


@pytest.mark.parametrize(
    ("name", "broken"),
    [("policy_loss", {"advantages": np.full(2, np.nan)}), ("value_loss", {"returns": np.full(2, np.inf)})],
)
def test_a_loss_that_is_not_finite_is_named(name, broken):
    policy, samples, outputs, values = with_advantages([1.0, 2.0])
    samples = Samples(**{**vars(samples), **broken})
    loss = ActorCriticLoss(policy, [samples], policy_gradient, 0.0, 0.5)
    loss(samples, outputs, values)
    with pytest.raises(NonFiniteError, match=rf"the {name} is no longer finite.*smaller algorithm\.lr"):
        loss.measured(0.2)
