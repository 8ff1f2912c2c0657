"""Both ways to compute a policy give the same decisions."""

import logging

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from support.build import CPU, make_policy
from support.envs import PICK, PLACE, TwoStepEnv
from support.spaces import any_space, random_mask, sample_batch
from torch import nn

from maze_core.enums import Activation
from maze_core.rl import (
    FLAT,
    Actors,
    AutogradKernel,
    DenseKernel,
    InProcessVectorEnv,
    Policy,
    Turn,
    concat_leaves,
    make_kernel,
    run_episodes,
    set_vector,
)
from maze_core.rl.spaces import take_rows, unbatch

VECTOR = spaces.Box(-1, 1, (6,))
NUMBERS = spaces.Box(-np.inf, np.inf, (3,))
"""With this action space the actions are the outputs of the network."""
TWO_HEADS = spaces.Dict({"left": NUMBERS, "right": spaces.Tuple([spaces.Box(-np.inf, np.inf, (1, 2))])})
SIZES = [[], [7], [64, 64], [5, 3, 9]]


def spread(policy, seed=0):
    """Gives a policy weights that matter; new ones are almost zero in the last layer."""
    set_vector(policy, torch.from_numpy(members(policy, 1, seed)[0]))
    return policy


def members(policy, count, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(0, 0.5, (count, policy.n_parameters)).astype(np.float32)


def make_kernels(observation_space=VECTOR, action_space=NUMBERS, **options):
    policy = spread(make_policy(Actors(observation_space, action_space), **options))
    return DenseKernel(policy), AutogradKernel(policy, CPU)


def flat_turn(observation, rows=None):
    return Turn(FLAT, rows, observation)


def vectors(count, seed=1, order="C"):
    batch = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    return np.asarray(batch, order=order)


def assert_close(actual, expected):
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            assert_close(actual[key], value)
    elif isinstance(expected, tuple):
        for one, other in zip(actual, expected, strict=True):
            assert_close(one, other)
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=25)
@given(any_space(), st.sampled_from(SIZES), st.sampled_from(list(Activation)), st.integers(1, 5))
def test_dense_equals_autograd_for_every_observation_space(space, hidden_sizes, activation, count):
    dense, autograd = make_kernels(space, TWO_HEADS, hidden_sizes=hidden_sizes, activation=activation)
    turn = flat_turn(sample_batch(space, count, 3))
    assert_close(dense.act(turn), autograd.act(turn))


@settings(max_examples=25)
@given(any_space(), st.sampled_from(SIZES), st.integers(1, 5))
def test_dense_populations_equal_autograd_populations_for_every_observation_space(space, hidden_sizes, count):
    dense, autograd = make_kernels(space, TWO_HEADS, hidden_sizes=hidden_sizes)
    turn, parameters = flat_turn(sample_batch(space, count, 3)), members(dense.policy, count)
    assert_close(dense.population(parameters).act(turn), autograd.population(parameters).act(turn))


@settings(max_examples=25)
@given(any_space(), st.integers(0, 99))
def test_dense_equals_autograd_for_every_action_space_with_masks(action_space, seed):
    mask = random_mask(action_space, 4, np.random.default_rng(seed))
    dense, autograd = make_kernels(spaces.Dict({"x": VECTOR}), action_space)
    turn = flat_turn({"x": vectors(4), **({} if mask is None else {"action_mask": mask})})
    assert_close(dense.act(turn), autograd.act(turn))
    parameters = members(dense.policy, 4)
    assert_close(dense.population(parameters).act(turn), autograd.population(parameters).act(turn))


@pytest.fixture(params=["dense", "autograd"])
def kernel(request):
    dense, autograd = make_kernels(hidden_sizes=[64, 13])
    return dense if request.param == "dense" else autograd


def test_a_member_decides_as_a_policy_with_its_parameters(kernel):
    parameters, observation = members(kernel.policy, 5), vectors(5)
    together = kernel.population(parameters).act(flat_turn(observation))
    for index in range(5):
        set_vector(kernel.policy, torch.from_numpy(parameters[index]))
        assert_close(together[index], kernel.act(flat_turn(observation))[index])


@pytest.mark.parametrize("order", ["C", "F"])  # native vector envs return arrays of either
@pytest.mark.parametrize("hidden_sizes", SIZES, ids=str)
@pytest.mark.parametrize("form", [DenseKernel, lambda policy: AutogradKernel(policy, CPU)], ids=["dense", "autograd"])
def test_a_member_decides_the_same_bits_in_a_population_of_any_size(form, hidden_sizes, order):
    kernel = form(spread(make_policy(Actors(VECTOR, NUMBERS), hidden_sizes=hidden_sizes)))
    parameters, observation = members(kernel.policy, 33), vectors(33)
    expected = kernel.population(parameters).act(flat_turn(np.asarray(observation, order=order)))
    for size in range(1, 33):
        for first in (0, 33 - size):
            chosen = slice(first, first + size)
            own = np.asarray(observation[chosen], order=order)
            actions = kernel.population(parameters[chosen]).act(flat_turn(own))
            np.testing.assert_array_equal(actions, expected[chosen])


def test_a_member_decides_the_same_bits_whichever_rows_are_computed_with_it(kernel):
    parameters, observation = members(kernel.policy, 20), vectors(20)
    population = kernel.population(parameters)
    expected = population.act(flat_turn(observation))
    for rows in (np.arange(0, 20, 3), np.array([19, 4, 7]), np.array([5]), np.arange(20)):
        np.testing.assert_array_equal(population.act(flat_turn(observation[rows], rows)), expected[rows])
    np.testing.assert_array_equal(population.act(flat_turn(observation)), expected)


@pytest.mark.parametrize("form", ["dense", "autograd"])
def test_a_member_sees_the_new_observation_when_the_rows_stay_the_same(form):
    kernel = make_kernels()[form == "autograd"]
    population, rows = kernel.population(members(kernel.policy, 4)), np.array([0, 2])
    first = population.act(flat_turn(vectors(2, 1), rows)).copy()
    second = population.act(flat_turn(vectors(2, 2), rows))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(population.act(flat_turn(vectors(2, 1), rows)), first)


def test_a_change_of_parameters_in_place_changes_the_decisions(kernel):
    turn = flat_turn(vectors(4))
    before = kernel.act(turn).copy()
    spread(kernel.policy, seed=5)
    after = kernel.act(turn)
    assert not np.allclose(before, after)
    assert_close(after, AutogradKernel(kernel.policy, CPU).act(turn))


def test_loaded_weights_change_the_decisions_of_the_dense_kernel():
    dense, _ = make_kernels()
    other = spread(make_policy(Actors(VECTOR, NUMBERS)), seed=8)
    dense.policy.load_state_dict(other.state_dict())
    np.testing.assert_array_equal(dense.act(flat_turn(vectors(4))), DenseKernel(other).act(flat_turn(vectors(4))))


def test_a_population_does_not_change_the_policy(kernel):
    turn = flat_turn(vectors(4))
    before = kernel.act(turn).copy()
    kernel.population(members(kernel.policy, 4)).act(turn)
    np.testing.assert_array_equal(kernel.act(turn), before)


def test_acting_does_not_change_the_observation(kernel):
    observation = vectors(4)
    kernel.act(flat_turn(observation))
    kernel.population(members(kernel.policy, 4)).act(flat_turn(observation))
    np.testing.assert_array_equal(observation, vectors(4))


class Torchy(nn.Module):
    """Computes two heads from a nested observation; offers no dense layers."""

    def __init__(self, inputs, output_sizes):
        super().__init__()
        self.trunk = nn.Linear(inputs, 8)
        self.outputs = nn.ModuleDict({head.replace("/", "_"): nn.Linear(8, n) for head, n in output_sizes.items()})
        self.heads = list(output_sizes)

    def forward(self, observation):
        hidden = self.act(self.trunk(concat_leaves(observation)))
        return {head: self.outputs[head.replace("/", "_")](hidden) for head in self.heads}

    def act(self, hidden):
        return torch.relu(hidden)


class Unbatchable(Torchy):
    """Looks at its numbers while it computes, which `vmap` does not allow."""

    def act(self, hidden):
        return torch.relu(hidden) if float(hidden.detach().sum()) > 0 else torch.tanh(hidden)


def torch_kernel(model=Torchy):
    actors = Actors(spaces.Dict({"x": VECTOR, "n": spaces.Dict({"d": spaces.Discrete(3)})}), TWO_HEADS)
    kernel = make_kernel(Policy(actors, {FLAT: model(9, actors.by_key[FLAT].heads.output_sizes)}), CPU)
    return kernel, flat_turn({"x": vectors(6), "n": {"d": np.arange(6) % 3}})


def as_single_members(kernel, parameters, turn):
    rows = []
    for index in range(len(parameters)):
        set_vector(kernel.policy, torch.from_numpy(parameters[index]))
        rows.append(unbatch(kernel.act(Turn(FLAT, None, take_rows(turn.observation, np.array([index])))), 0))
    return rows


@pytest.mark.parametrize("model", [Torchy, Unbatchable])
def test_any_model_can_be_a_population(model):
    kernel, turn = torch_kernel(model)
    parameters = members(kernel.policy, 6)
    actions = kernel.population(parameters).act(turn)
    for index, expected in enumerate(as_single_members(kernel, parameters, turn)):
        assert_close(unbatch(actions, index), expected)


@pytest.mark.parametrize("model", [Torchy, Unbatchable])
def test_any_model_can_be_a_population_of_chosen_rows(model):
    kernel, turn = torch_kernel(model)
    population, rows = kernel.population(members(kernel.policy, 6)), np.array([4, 1])
    expected = take_rows(population.act(turn), rows)
    assert_close(population.act(flat_turn(take_rows(turn.observation, rows), rows)), expected)


def test_a_model_that_is_looped_over_is_told_once():
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("maze").addHandler(handler)
    try:
        kernel, turn = torch_kernel(Unbatchable)
        for seed in range(3):
            kernel.population(members(kernel.policy, 6, seed)).act(turn)
    finally:
        logging.getLogger("maze").removeHandler(handler)
    assert len(lines) == 1
    assert lines[0].startswith("model Unbatchable cannot be batched over a population, so it is looped over: ")


def test_a_model_that_can_be_batched_is_not_looped_over():
    kernel, turn = torch_kernel(Torchy)
    kernel.population(members(kernel.policy, 6)).act(turn)
    assert kernel.looped == set()


def test_models_of_dense_layers_get_the_dense_kernel_on_the_cpu():
    policy = make_policy(Actors(VECTOR, NUMBERS))
    assert make_kernel(policy, CPU).name == "dense"
    assert make_kernel(policy, torch.device("cuda")).name == "autograd"


def test_one_model_without_dense_layers_is_enough_for_autograd():
    actors = structured_actors()
    models = dict(make_policy(actors).models)
    models[PLACE] = Torchy(1, actors.by_key[PLACE].heads.output_sizes)
    assert make_kernel(Policy(actors, models), CPU).name == "autograd"


def structured_actors():
    env = TwoStepEnv()
    return Actors(env.observation_space, env.action_space)


def structured_kernels():
    policy = spread(make_policy(structured_actors()))
    return DenseKernel(policy), AutogradKernel(policy, CPU)


@pytest.mark.parametrize("options", [{}, {"uneven": True, "varied": True}])
def test_both_kernels_play_a_structured_env_with_masks_alike(options):
    results = []
    for kernel in structured_kernels():
        env = InProcessVectorEnv(lambda: TwoStepEnv(**options), 12)
        population = kernel.population(members(kernel.policy, 12))
        results.append(run_episodes(env, kernel.policy.actors, population.act, range(12)))
    np.testing.assert_allclose(results[0].returns, results[1].returns, atol=1e-4)
    np.testing.assert_array_equal(results[0].lengths, results[1].lengths)


@pytest.mark.parametrize("which", [0, 1], ids=["dense", "autograd"])
def test_each_actor_of_a_member_uses_that_members_network(which):
    kernel = structured_kernels()[which]
    parameters = members(kernel.policy, 3)
    place = np.float32([[0.5]])
    together = kernel.population(parameters).act(Turn(PLACE, np.array([2]), place))
    set_vector(kernel.policy, torch.from_numpy(parameters[2]))
    assert_close(together, kernel.act(Turn(PLACE, None, place)))


@pytest.mark.parametrize("which", [0, 1], ids=["dense", "autograd"])
def test_masks_of_an_actor_are_honoured(which):
    kernel = structured_kernels()[which]
    values = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    mask = random_mask(spaces.Discrete(4), 40, np.random.default_rng(1))
    turn = Turn(PICK, None, {"values": values, "action_mask": mask})
    assert mask[np.arange(40), kernel.act(turn)].all()
    assert mask[np.arange(40), kernel.population(members(kernel.policy, 40)).act(turn)].all()


def test_a_dense_layers_that_is_no_method_is_not_taken_for_ours():
    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense_layers = nn.Linear(6, 3)

        def forward(self, observation):
            return {"action": self.dense_layers(observation["observation"])}

    policy = Policy(Actors(VECTOR, NUMBERS), {FLAT: Theirs()})
    kernel = make_kernel(policy, CPU)
    assert kernel.name == "autograd"
    assert kernel.act(flat_turn(vectors(4))).shape == (4, 3)
