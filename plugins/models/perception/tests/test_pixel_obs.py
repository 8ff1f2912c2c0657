"""The network that reads images."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from maze_perception.config import PixelObsConfig
from maze_perception.pixels import PixelModel
from torch.func import functional_call, vmap
from torch.nn.functional import conv2d

from maze_core import Activation, ConfigError, UserError
from maze_core.rl import ObservationEncoder

HEADS = {"move": 3, "hand/0": 2}
STACK = (4, 84, 84, 1)
SMALL = {"n_channels": [3, 5], "kernel_sizes": [4, 3], "strides": [2, 2], "hidden_sizes": [6]}


def image_space(*shape):
    return spaces.Dict({"observation": spaces.Box(0.0, 1.0, shape)})


def make(shape, **options):
    torch.manual_seed(0)
    return PixelModel(PixelObsConfig(**options), image_space(*shape), HEADS)


def images(count, shape):
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("shape", [(84, 84, 4), (96, 96, 3), (4, 84, 84), (28, 28, 1), STACK, (2, 3, 40, 32)])
@pytest.mark.parametrize("count", [1, 5])
def test_the_default_reads_images_and_stacks_in_both_layouts(shape, count):
    outputs = make(shape)({"observation": images(count, shape)})
    assert {head: tuple(value.shape) for head, value in outputs.items()} == {"move": (count, 3), "hand/0": (count, 2)}


@pytest.mark.parametrize("count", [1, 5])
def test_where_the_channels_stand_does_not_matter(count):
    last, first = make((20, 24, 3), **SMALL), make((3, 20, 24), **SMALL)
    seen = images(count, (20, 24, 3))
    same = {"observation": seen.permute(0, 3, 1, 2)}
    torch.testing.assert_close(last({"observation": seen})["move"], first(same)["move"])


def test_the_images_of_a_stack_are_channels_side_by_side():
    stack, single = make((4, 20, 24, 3), **SMALL), make((12, 20, 24), **SMALL)
    seen = images(5, (4, 20, 24, 3))
    merged = torch.cat([seen[:, index].permute(0, 3, 1, 2) for index in range(4)], dim=1)
    torch.testing.assert_close(stack({"observation": seen})["move"], single({"observation": merged})["move"])


@pytest.mark.parametrize("activation", list(Activation))
@pytest.mark.parametrize("count", [1, 5])
def test_forward_is_convolutions_then_dense_layers(activation, count):
    model = make((3, 20, 24), activation=activation, **SMALL)
    function = {Activation.tanh: torch.tanh, Activation.relu: torch.relu}[activation]
    hidden = seen = images(count, (3, 20, 24))
    for index, stride in ((0, 2), (2, 2)):
        layer = model.convolutions[index]
        hidden = function(conv2d(hidden, layer.weight, layer.bias, stride))
    first, last = model.dense.linear_layers()
    expected = last(function(first(hidden.flatten(1))))
    torch.testing.assert_close(model({"observation": seen})["move"], expected[:, :3])


def test_gradients_reach_all_parameters():
    model = make((20, 24, 3), **SMALL)
    sum(value.square().sum() for value in model({"observation": images(5, (20, 24, 3))}).values()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def population(model, members, seen):
    def member(own, image):
        return functional_call(model, own, ({"observation": image[None]},))["move"][0]

    return vmap(member)(members, seen)


def test_a_population_is_batched_and_each_member_keeps_its_own_weights():
    model = make(STACK)
    members = {name: torch.randn(8, *value.shape) * 0.1 for name, value in model.named_parameters()}
    seen = images(8, STACK)
    together = population(model, members, seen)
    for index in range(8):
        own = {name: value[index] for name, value in members.items()}
        alone = functional_call(model, own, ({"observation": seen[index : index + 1]},))["move"][0]
        torch.testing.assert_close(alone, together[index])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_result_of_a_member_does_not_depend_on_the_others(count):
    model = make(STACK)
    members = {name: torch.randn(8, *value.shape) * 0.1 for name, value in model.named_parameters()}
    seen = images(8, STACK)
    few = population(model, {name: value[:count].clone() for name, value in members.items()}, seen[:count])
    assert torch.equal(few, population(model, members, seen)[:count])


def test_a_new_policy_is_nearly_indifferent():
    outputs = make((96, 96, 3))({"observation": images(5, (96, 96, 3))})
    assert all(value.abs().max() < 0.2 for value in outputs.values())


def test_the_weights_are_float32():
    assert {parameter.detach().numpy().dtype for parameter in make(STACK).parameters()} == {np.dtype(np.float32)}


def test_an_action_mask_is_no_image():
    space = spaces.Dict({"x": spaces.Box(0, 255, (28, 28, 3), np.uint8), "action_mask": spaces.MultiBinary(3)})
    model = PixelModel(PixelObsConfig(), ObservationEncoder(space).space, HEADS)
    assert model({"x": images(1, (28, 28, 3))})["move"].shape == (1, 3)


@pytest.mark.parametrize(
    "space",
    [
        image_space(4),
        image_space(20, 20),
        image_space(2, 2, 20, 20, 3),
        spaces.Dict({"a": spaces.Box(0, 1, (20, 20, 3)), "b": spaces.Box(0, 1, (2,))}),
        spaces.Dict({"inner": image_space(20, 20, 3)}),
    ],
    ids=["vector", "matrix", "five axes", "two", "inner"],
)
def test_what_is_no_image_is_refused_with_a_way_out(space):
    with pytest.raises(UserError, match=r"pixel_obs reads one image.*Use model=flatten_concat, or wrappers="):
        PixelModel(PixelObsConfig(), space, HEADS)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 40, 3), r"3x40 pixels are too small: kernel_sizes\[0\]=4 does not fit into the 3x40"),
        ((12, 12, 3), r"12x12 pixels are too small: kernel_sizes\[2\]=3 does not fit into the 1x1 .*Use smaller"),
    ],
)
def test_an_image_that_is_too_small_is_refused_with_the_layer_and_a_way_out(shape, words):
    with pytest.raises(UserError, match=words):
        make(shape)


@pytest.mark.parametrize("side", range(4, 40))
def test_an_image_is_refused_exactly_when_the_convolutions_cannot_read_it(side):
    try:
        model = make((side, side, 1))
    except UserError:
        assert side < 28
    else:
        assert side >= 28
        assert model({"observation": images(2, (side, side, 1))})["move"].shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"n_channels": []}, "n_channels"),
        ({"n_channels": [16, 0, 8]}, "n_channels"),
        ({"n_channels": [16]}, "kernel_sizes"),
        ({"kernel_sizes": [4, 3, 0]}, "kernel_sizes"),
        ({"strides": [4, 2]}, "strides"),
        ({"strides": [4, 2, 0]}, "strides"),
        ({"hidden_sizes": [0]}, "hidden_sizes"),
    ],
)
def test_options_that_make_no_network_are_refused(options, field):
    with pytest.raises(ConfigError, match=rf"^{field}=.* must be a list of "):
        PixelObsConfig(**options)
