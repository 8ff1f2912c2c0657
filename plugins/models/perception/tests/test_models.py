"""Networks that read whole observations."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from maze_perception.config import FlattenConcatConfig, VectorObsConfig
from maze_perception.models import flatten_concat, vector_obs

from maze_core import ConfigError, UserError
from maze_core.enums import Activation
from maze_core.rl import DenseModel, concat_leaves
from maze_core.rl.spaces import ObservationEncoder

VECTOR = spaces.Dict({"observation": spaces.Box(-1, 1, (5,))})
NESTED = spaces.Dict({"image": spaces.Box(0, 1, (2, 3)), "more": spaces.Dict({"n": spaces.Box(0, 1, (4,))})})
HEADS = {"move": 3, "hand/0": 2}

MODELS = {
    "flatten_concat": (flatten_concat, FlattenConcatConfig, NESTED),
    "vector_obs": (vector_obs, VectorObsConfig, VECTOR),
}


def batch(space, count):
    generator = torch.Generator().manual_seed(count)

    def fill(part):
        if isinstance(part, spaces.Dict):
            return {key: fill(sub) for key, sub in part.items()}
        return torch.randn((count, *part.shape), generator=generator)

    return fill(space)


@pytest.fixture(params=list(MODELS))
def make(request):
    build, config, space = MODELS[request.param]

    def make_model(**options):
        torch.manual_seed(0)
        return build(config(**options), space, HEADS), space

    return make_model


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("hidden_sizes", [[], [8], [8, 4]])
def test_each_head_gets_its_numbers_for_each_row(make, count, hidden_sizes):
    model, space = make(hidden_sizes=hidden_sizes)
    outputs = model(batch(space, count))
    assert {head: tuple(value.shape) for head, value in outputs.items()} == {"move": (count, 3), "hand/0": (count, 2)}


def test_rows_do_not_influence_each_other(make):
    model, space = make()
    observation = batch(space, 7)
    alone = model(first_row(observation))
    torch.testing.assert_close(alone["move"], model(observation)["move"][:1])


def first_row(observation):
    return {k: first_row(v) if isinstance(v, dict) else v[:1] for k, v in observation.items()}


@pytest.mark.parametrize("activation", list(Activation))
def test_gradients_reach_all_parameters(make, activation):
    model, space = make(activation=activation)
    sum(value.square().sum() for value in model(batch(space, 7)).values()).backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("hidden_sizes", [[], [8], [8, 4]])
def test_the_description_for_the_dense_kernel_computes_what_forward_computes(make, activation, hidden_sizes):
    model, space = make(activation=activation, hidden_sizes=hidden_sizes)
    observation = batch(space, 7)
    assert isinstance(model, DenseModel)
    spec = model.dense_layers()
    function = {Activation.tanh: torch.tanh, Activation.relu: torch.relu}[spec.activation]
    hidden = concat_leaves(observation)
    for layer in spec.layers[:-1]:
        hidden = function(layer(hidden))
    parts = torch.split(spec.layers[-1](hidden), list(spec.output_sizes.values()), dim=1)
    for head, part in zip(spec.output_sizes, parts, strict=True):
        assert torch.equal(part, model(observation)[head])


def test_the_description_holds_all_parameters_of_the_model(make):
    model, _ = make()
    described = {id(parameter) for layer in model.dense_layers().layers for parameter in layer.parameters()}
    assert described == {id(parameter) for parameter in model.parameters()}


def test_without_hidden_layers_the_model_is_linear(make):
    model, space = make(hidden_sizes=[])
    one, zero = batch(space, 1), scaled(batch(space, 1), 0.0)
    slope = model(one)["move"] - model(zero)["move"]
    torch.testing.assert_close(model(scaled(one, 3.0))["move"], model(zero)["move"] + 3 * slope)


def scaled(observation, factor):
    return {k: scaled(v, factor) if isinstance(v, dict) else factor * v for k, v in observation.items()}


def test_a_new_policy_is_nearly_indifferent(make):
    model, space = make()
    assert all(value.abs().max() < 0.2 for value in model(batch(space, 7)).values())


def test_flatten_concat_reads_every_encoded_space():
    encoder = ObservationEncoder(spaces.Tuple([spaces.Discrete(3), spaces.MultiBinary((2, 2)), spaces.Box(0, 1, (2,))]))
    model = flatten_concat(FlattenConcatConfig(hidden_sizes=[]), encoder.space, {"action": 1})
    assert model.dense_layers().layers[0].in_features == 3 + 4 + 2


@pytest.mark.parametrize(
    "space",
    [
        NESTED,
        spaces.Dict({"a": spaces.Box(0, 1, (2,)), "b": spaces.Box(0, 1, (2,))}),
        spaces.Dict({"image": spaces.Box(0, 1, (2, 3))}),
        spaces.Dict({"nested": VECTOR}),
        spaces.Dict({"scalar": spaces.Box(0, 1, ())}),
    ],
    ids=["nested", "two", "matrix", "inner", "scalar"],
)
def test_vector_obs_refuses_what_is_not_one_vector_and_names_the_way_out(space):
    with pytest.raises(UserError, match=r"vector_obs reads one vector.*Use model=flatten_concat\."):
        vector_obs(VectorObsConfig(), space, HEADS)


def test_vector_obs_does_not_mind_the_mask_that_is_no_input():
    space = spaces.Dict({"x": spaces.Box(0, 1, (2,)), "action_mask": spaces.MultiBinary(3)})
    model = vector_obs(VectorObsConfig(), ObservationEncoder(space).space, {"action": 3})
    assert model({"x": torch.zeros(1, 2)})["action"].shape == (1, 3)


@pytest.mark.parametrize("config", [FlattenConcatConfig, VectorObsConfig])
@pytest.mark.parametrize("hidden_sizes", [[0], [64, -1]])
def test_a_layer_has_at_least_one_unit(config, hidden_sizes):
    with pytest.raises(ConfigError, match=r"^hidden_sizes=.* must be a list of whole numbers >= 1"):
        config(hidden_sizes=hidden_sizes)


def test_the_weights_are_float32(make):
    model, _ = make()
    assert {parameter.detach().numpy().dtype for parameter in model.parameters()} == {np.dtype(np.float32)}
