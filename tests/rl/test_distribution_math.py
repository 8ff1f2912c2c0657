"""Distributions of actions against scipy, numerical integration, finite differences and their own samples."""

import itertools
from functools import reduce

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats
from support.spaces import allowed, any_space, random_mask

from maze_core.enums import BoxDistribution
from maze_core.rl import ActionHeads
from maze_core.rl.spaces import repeat, unbatch

GAUSSIAN, SQUASHED = BoxDistribution.gaussian, BoxDistribution.squashed_gaussian
NONE = np.zeros(0)
SEEDS = st.integers(0, 9999)
MIXED = spaces.Dict(
    {
        "box": spaces.Box(-2, 2, (2,)),
        "rest": spaces.Tuple([spaces.MultiDiscrete([2, 4, 1]), spaces.Box(0, 1, (1,)), spaces.MultiBinary(2)]),
    }
)

small_leaves = st.one_of(
    st.builds(spaces.Discrete, st.integers(1, 5), start=st.integers(-2, 2)),
    st.lists(st.integers(1, 3), min_size=1, max_size=3).map(spaces.MultiDiscrete),
    st.just(spaces.MultiDiscrete([[2, 2], [2, 2]])),
    st.integers(1, 3).map(spaces.MultiBinary),
)
finite_spaces = st.one_of(
    small_leaves,
    st.lists(small_leaves, min_size=1, max_size=2).map(spaces.Tuple),
    st.lists(small_leaves, min_size=1, max_size=2).map(lambda parts: spaces.Dict(dict(zip("ba", parts, strict=False)))),
)


def tables_of(space, logits, mask=None):
    """Log-probabilities of each independent choice of a finite space, from the logits of a single row."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        tables = []
        items = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, sub in items:
            size = ActionHeads(sub).size
            tables += tables_of(sub, logits[:size], None if mask is None else mask.get(str(key)))
            logits = logits[size:]
        return tables
    if isinstance(space, spaces.MultiBinary):
        return [special.log_softmax([0.0, logit]) for logit in logits]
    logits = logits if mask is None else np.where(mask[0], logits, -np.inf)
    sizes = [space.n] if isinstance(space, spaces.Discrete) else space.nvec.ravel()
    return [special.log_softmax(part) for part in np.split(logits, np.cumsum(sizes)[:-1])]


def all_actions(tables):
    """Every joint raw action, [n, K], and its log-probability, [n]."""
    actions = np.array(list(itertools.product(*(range(len(table)) for table in tables))))
    return actions, reduce(np.add.outer, tables).ravel()


def tiled(value, n):
    return None if value is None else repeat(unbatch(value, 0), n)


@given(finite_spaces, SEEDS, st.booleans())
def test_a_joint_action_is_as_probable_as_all_its_choices_among_what_is_allowed(space, seed, masked):
    generator, heads = np.random.default_rng(seed), ActionHeads(space)
    logits, mask = generator.normal(0, 2, heads.size), random_mask(space, 1, generator) if masked else None
    actions, expected = all_actions(tables_of(space, logits, mask))
    found = heads.evaluate(tiled(logits[None], len(actions)), NONE, actions, tiled(mask, len(actions)))
    np.testing.assert_allclose(found.log_probs, expected, rtol=1e-9, atol=1e-12)
    assert np.exp(found.log_probs).sum() == pytest.approx(1)
    np.testing.assert_allclose(found.entropies, stats.entropy(np.exp(expected)), atol=1e-12)


@given(finite_spaces, SEEDS, st.booleans())
def test_the_mode_is_the_most_probable_joint_action(space, seed, masked):
    generator, heads = np.random.default_rng(seed), ActionHeads(space)
    logits, mask = generator.normal(0, 2, heads.size), random_mask(space, 1, generator) if masked else None
    actions, log_probs = all_actions(tables_of(space, logits, mask))
    np.testing.assert_array_equal(heads.mode(logits[None], mask)[0], actions[log_probs.argmax()])


def test_a_forbidden_value_has_the_probability_zero():
    mask, outputs = np.array([[1, 0, 1]], np.int8), np.array([[0.0, 50.0, 1.0]])
    found = ActionHeads(spaces.Discrete(3)).evaluate(outputs, NONE, np.array([[1]]), mask)
    assert found.log_probs[0] == -np.inf
    assert found.entropies[0] == pytest.approx(stats.entropy(special.softmax([0.0, 1.0])))


@given(st.integers(1, 4), SEEDS)
def test_a_gaussian_is_that_of_scipy(n, seed):
    generator = np.random.default_rng(seed)
    mean, log_std, actions = generator.normal(size=(n, 4)), generator.normal(size=4), generator.normal(0, 3, (n, 4))
    found = ActionHeads(spaces.Box(-1, 1, (2, 2))).evaluate(mean, log_std, actions)
    expected = stats.norm(mean, np.exp(log_std))
    np.testing.assert_allclose(found.log_probs, expected.logpdf(actions).sum(axis=1))
    np.testing.assert_allclose(found.entropies, expected.entropy().sum(axis=1))


def test_the_log_probability_of_several_heads_is_their_sum():
    generator, heads = np.random.default_rng(0), ActionHeads(MIXED)
    outputs, log_std = generator.normal(size=(1, heads.size)), np.array([-0.5, 0.1, 0.7])
    actions = np.array([[0.3, -2.5, 1, 3, 0, 0.9, 1, 0]])
    boxes = [(0.3, outputs[0, 0], -0.5), (-2.5, outputs[0, 1], 0.1), (0.9, outputs[0, 9], 0.7)]
    choices = [(1, outputs[0, 2:4]), (3, outputs[0, 4:8]), (0, outputs[0, 8:9])]
    binary = stats.bernoulli(special.expit(outputs[0, 10:]))
    found = heads.evaluate(outputs, log_std, actions)
    assert found.log_probs[0] == pytest.approx(
        sum(stats.norm(mean, np.exp(scale)).logpdf(action) for action, mean, scale in boxes)
        + sum(special.log_softmax(logits)[choice] for choice, logits in choices)
        + binary.logpmf([1, 0]).sum()
    )
    assert found.entropies[0] == pytest.approx(
        sum(stats.norm(mean, np.exp(scale)).entropy() for _, mean, scale in boxes)
        + sum(stats.entropy(special.softmax(logits)) for _, logits in choices)
        + binary.entropy().sum()
    )


LOW, HIGH = -1.0, 3.0
ONE_BOX = spaces.Box(LOW, HIGH, (1,), np.float64)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.8, 0.4), (-1.2, 0.1), (2.0, 2.0)])
def test_the_density_of_squashed_actions_is_that_of_what_the_env_gets(mean, std):
    heads = ActionHeads(ONE_BOX, SQUASHED)

    def raw(action):
        return np.arctanh((action - LOW) / (HIGH - LOW) * 2 - 1)

    def density(action):
        log_std, actions = np.log([std]), np.array([[raw(action)]])
        np.testing.assert_allclose(heads.to_env(actions), [[action]])
        return float(np.exp(heads.evaluate(np.array([[mean]]), log_std, actions).log_probs[0]))

    for start, end in [(-0.9, 0.5), (0.5, 1.9), (1.9, 2.7)]:
        expected = stats.norm(mean, std).cdf(raw(end)) - stats.norm(mean, std).cdf(raw(start))
        assert integrate.quad(density, start, end, epsabs=1e-9)[0] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("log_std", "error"), [(-20, 1e-9), (-3, 1e-9), (-1, 1e-9), (0, 1e-6), (0.5, 1e-4), (1, 3e-3)])
@pytest.mark.parametrize("mean", [0.0, 0.7, -3.0, 10.0])
def test_the_entropy_of_squashed_actions_is_its_integral(mean, log_std, error):
    std = np.exp(log_std)

    def term(z):
        log_slope = np.log(4) - 2 * np.logaddexp(mean + std * z, -mean - std * z)
        return stats.norm.pdf(z) * log_slope

    expected = stats.norm(mean, std).entropy() + np.log((HIGH - LOW) / 2) + integrate.quad(term, -10, 10, limit=200)[0]
    outputs = np.array([[mean]])
    found = ActionHeads(ONE_BOX, SQUASHED).evaluate(outputs, np.array([log_std], float), outputs)
    assert found.entropies[0] == pytest.approx(expected, abs=error)


@st.composite
def decisions(draw, bounded=True, dtype=np.float64):
    """Heads, outputs, log_std, sampled actions and mask of a few rows, and a generator."""
    space, n = draw(any_space(bounded)), draw(st.integers(1, 3))
    heads = ActionHeads(space, draw(st.sampled_from([GAUSSIAN, SQUASHED])) if bounded else GAUSSIAN)
    generator = np.random.default_rng(draw(SEEDS))
    mask = random_mask(space, n, generator) if draw(st.booleans()) else None
    outputs = generator.normal(0, 1.5, (n, heads.size)).astype(dtype)
    log_std = generator.uniform(-1, 0.7, heads.n_log_stds).astype(dtype)
    actions = heads.sample(outputs, log_std, heads.noise(generator, (n,)), mask).astype(dtype)
    return space, heads, outputs, log_std, actions, mask, generator


@settings(max_examples=60)
@given(decisions(), st.booleans())
def test_gradients_are_those_of_finite_differences(case, one_for_all):
    _, heads, outputs, log_std, actions, mask, generator = case
    weights = generator.normal(size=len(outputs))
    entropy_weights = 0.7 if one_for_all else generator.normal(size=len(outputs))

    def objective(outputs, log_std):
        found = heads.evaluate(outputs, log_std, actions, mask)
        return weights * found.log_probs + entropy_weights * found.entropies

    def slopes(function, size):  # every row depends on its own outputs only
        return [(function(step) - function(-step)) / 2e-5 for step in np.eye(size) * 1e-5]

    d_outputs, d_log_std = heads.evaluate(outputs, log_std, actions, mask).gradient(weights, entropy_weights)
    expected = np.stack(slopes(lambda step: objective(outputs + step, log_std), heads.size), axis=1)
    np.testing.assert_allclose(d_outputs, expected, rtol=1e-6, atol=1e-7)
    if heads.n_log_stds == 0:
        assert d_log_std is None
    else:
        expected = [slope.sum() for slope in slopes(lambda step: objective(outputs, log_std + step), len(log_std))]
        np.testing.assert_allclose(d_log_std, expected, rtol=1e-6, atol=1e-7)


@given(decisions(dtype=np.float32), st.booleans())
def test_float32_stays_float32(case, one_for_all):
    _, heads, outputs, log_std, actions, mask, _ = case
    found = heads.evaluate(outputs, log_std, actions, mask)
    ones = np.ones(len(outputs), np.float32)
    gradients = found.gradient(ones, 0.5 if one_for_all else ones)
    kept = [found.log_probs, found.entropies, *(gradient for gradient in gradients if gradient is not None)]
    assert [array.dtype for array in kept] == [np.float32] * len(kept)


@given(decisions(dtype=np.float32))
def test_what_is_computed_in_float32_equals_float64(case):
    _, heads, outputs, log_std, actions, mask, _ = case
    found = heads.evaluate(outputs, log_std, actions, mask)
    exact = heads.evaluate(outputs.astype(float), log_std.astype(float), actions.astype(float), mask)
    np.testing.assert_allclose(found.log_probs, exact.log_probs, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.entropies, exact.entropies, rtol=1e-5, atol=1e-4)


@settings(max_examples=25)
@given(decisions(), SEEDS)
def test_the_entropy_is_the_mean_of_what_samples_say(case, seed):
    _, heads, outputs, log_std, _, mask, _ = case
    outputs, mask = np.repeat(outputs[:1], 4000, axis=0), tiled(mask, 4000)
    noise = heads.noise(np.random.default_rng(seed), (4000,))
    found = heads.evaluate(outputs, log_std, heads.sample(outputs, log_std, noise, mask), mask)
    error = found.log_probs.std() / np.sqrt(4000)
    assert abs(found.log_probs.mean() + found.entropies[0]) <= 5 * error + 1e-4


def draw(heads, logits, n, mask=None, log_std=NONE, seed=0):
    outputs = np.tile(np.asarray(logits, np.float32), (n, 1))
    return heads.sample(outputs, log_std, heads.noise(np.random.default_rng(seed), (n,)), tiled(mask, n))


SAMPLED = [
    (spaces.Discrete(4), None),
    (spaces.Discrete(4), [[1, 0, 1, 1]]),
    (spaces.MultiDiscrete([3, 3]), None),
    (spaces.MultiDiscrete([2, 4]), None),
    (spaces.MultiDiscrete([2, 4]), [[1, 1, 0, 1, 0, 1]]),
    (spaces.MultiBinary(3), None),
]


@pytest.mark.parametrize(("space", "mask"), SAMPLED, ids=str)
def test_values_are_sampled_as_often_as_they_are_probable(space, mask):
    heads, mask = ActionHeads(space), None if mask is None else np.array(mask, np.int8)
    logits = np.random.default_rng(1).normal(size=heads.size)
    actions, log_probs = all_actions(tables_of(space, logits, mask))
    drawn = draw(heads, logits, 30_000, mask)
    counts = (drawn[:, None, :] == actions).all(axis=2).sum(axis=0)
    possible = np.isfinite(log_probs)
    assert counts[~possible].sum() == 0
    assert stats.chisquare(counts[possible], 30_000 * np.exp(log_probs[possible])).pvalue > 1e-3


@pytest.mark.parametrize("logits", [[1e4, 0, -1e4], [3e38, 3e38, -3e38], [0, 0, -np.inf], [np.inf, 1e4, 0]], ids=str)
def test_what_a_mask_forbids_is_never_sampled(logits):
    mask = np.array([[0, 0, 1]], np.int8)
    assert (draw(ActionHeads(spaces.Discrete(3)), logits, 100_000, mask) == 2).all()
    logits, mask = [*logits, *logits[:2]], np.array([[0, 0, 1, 0, 1]], np.int8)
    assert (draw(ActionHeads(spaces.MultiDiscrete([3, 2])), logits, 100_000, mask) == [2, 1]).all()


def test_samples_of_a_gaussian_have_its_moments():
    drawn = draw(ActionHeads(spaces.Box(-1, 1, (2,))), [3.0, -0.5], 100_000, log_std=np.log([0.5, 2.0]))
    scaled = (drawn - [3.0, -0.5]) / [0.5, 2.0]
    assert all(stats.kstest(column, "norm").pvalue > 1e-3 for column in scaled.T)
    np.testing.assert_allclose(np.cov(scaled.T), np.eye(2), atol=0.02)


def test_noise_comes_in_blocks_of_float32_and_sampling_keeps_it():
    heads = ActionHeads(MIXED)
    noise = heads.noise(np.random.default_rng(0), (5, 3))
    before = noise.copy()
    assert (noise.shape, noise.dtype) == ((5, 3, 12), np.float32)
    heads.sample(np.zeros((3, heads.size), np.float32), np.zeros(3, np.float32), noise[0], None)
    np.testing.assert_array_equal(noise, before)


@pytest.mark.parametrize("distribution", [GAUSSIAN, SQUASHED])
@pytest.mark.parametrize("masked", [False, True])
def test_extreme_outputs_give_finite_numbers(distribution, masked):
    heads, generator = ActionHeads(MIXED, distribution), np.random.default_rng(0)
    outputs = generator.choice([-1e4, 0, 1e4], (200, heads.size)).astype(np.float32)
    mask = random_mask(MIXED, 200, generator) if masked else None
    log_std = np.array([-5, 0, 2], np.float32)
    actions = heads.sample(outputs, log_std, heads.noise(generator, (200,)), mask).astype(np.float32)
    for decided in (actions, heads.mode(outputs, mask)):
        found = heads.evaluate(outputs, log_std, decided, mask)
        numbers = [found.log_probs, found.entropies, *found.gradient(np.ones(200, np.float32), 0.1)]
        assert all(np.isfinite(part).all() for part in numbers)


def test_an_action_against_extreme_logits_has_a_finite_log_probability():
    outputs = np.array([[1e4, -1e4]], np.float32)
    for space, action, expected in [(spaces.Discrete(2), [[1]], -2e4), (spaces.MultiBinary(2), [[0, 1]], -2e4)]:
        assert ActionHeads(space).evaluate(outputs, NONE, np.array(action)).log_probs[0] == pytest.approx(expected)


@settings(max_examples=60)
@given(st.one_of(decisions(bounded=True, dtype=np.float32), decisions(bounded=False, dtype=np.float32)))
def test_every_sample_is_an_allowed_member_of_the_space(case):
    space, heads, outputs, _, actions, mask, _ = case
    decided = heads.to_env(actions)
    for row in range(len(outputs)):
        assert space.contains(unbatch(decided, row))
        assert allowed(space, None if mask is None else unbatch(mask, row), unbatch(decided, row))


def test_a_discrete_is_sampled_from_its_start_on():
    heads = ActionHeads(spaces.Discrete(3, start=-1))
    assert np.unique(heads.to_env(draw(heads, [0, 0, 0], 200))).tolist() == [-1, 0, 1]


def test_the_log_probability_of_a_clipped_action_is_that_of_what_was_drawn():
    heads, drawn = ActionHeads(spaces.Box(-1, 1, (1,))), np.array([[2.5], [1.0]])
    np.testing.assert_array_equal(heads.to_env(drawn), [[1], [1]])
    found = heads.evaluate(np.zeros((2, 1)), np.zeros(1), drawn)
    np.testing.assert_allclose(found.log_probs, stats.norm.logpdf([2.5, 1.0]))


@pytest.mark.parametrize(("low", "high", "dtype"), [(-128, 127, np.int8), (-100, 100, np.int8), (0, 255, np.uint8)])
def test_a_squashed_gaussian_reaches_all_of_an_integer_box(low, high, dtype):
    heads = ActionHeads(spaces.Box(low, high, (1,), dtype), SQUASHED)
    middle = np.rint((low + high) / 2)
    np.testing.assert_array_equal(heads.to_env(np.array([[-20], [0], [20]], np.float32)), [[low], [middle], [high]])


def test_a_squashed_gaussian_with_a_dimension_without_range_has_a_finite_density():
    space = spaces.Box(np.array([0, -1], np.float32), np.array([0, 1], np.float32))
    found = ActionHeads(space, SQUASHED).evaluate(np.zeros((1, 2)), np.zeros(2), np.zeros((1, 2)))
    assert np.isfinite([found.log_probs, found.entropies]).all()


@pytest.mark.parametrize(("space", "mask"), [*SAMPLED, (spaces.Discrete(3, start=7), None)], ids=str)
def test_random_actions_are_uniform_among_what_is_allowed(space, mask):
    heads, mask = ActionHeads(space), None if mask is None else np.array(mask, np.int8)
    actions, log_probs = all_actions(tables_of(space, np.zeros(heads.size), mask))
    members = heads.to_env(actions).reshape(len(actions), -1)
    drawn = heads.random(np.random.default_rng(0), 20_000, tiled(mask, 20_000)).reshape(20_000, 1, -1)
    counts = (drawn == members).all(axis=2).sum(axis=0)
    assert counts.sum() == 20_000
    assert counts[np.isneginf(log_probs)].sum() == 0
    assert stats.chisquare(counts[np.isfinite(log_probs)]).pvalue > 1e-3


def test_random_actions_are_uniform_in_a_box():
    drawn = ActionHeads(ONE_BOX).random(np.random.default_rng(0), 20_000)
    assert stats.kstest(drawn[:, 0], stats.uniform(LOW, HIGH - LOW).cdf).pvalue > 1e-3


def test_random_actions_are_uniform_in_an_integer_box():
    drawn = ActionHeads(spaces.Box(-1, 2, (1,), np.int64)).random(np.random.default_rng(0), 20_000)
    assert stats.chisquare(np.bincount(drawn[:, 0] + 1)).pvalue > 1e-3
