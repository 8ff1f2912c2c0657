"""The network that reads symbols of grid cells."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from maze_minigrid.config import GridCellsConfig
from maze_minigrid.models import GridCells, WindowedDense
from torch.nn.functional import conv2d

from maze_core import ConfigError, UserError

HEADS = {"action": 7}
LARGEST = 10


def cells_space(height=7, width=7):
    return spaces.Box(0, LARGEST, (height, width, 3), np.float32)


def space_with(**more):
    return spaces.Dict({"image": cells_space(), **more})


DIRECTION = {"direction": spaces.Box(0, 1, (4,), np.float32)}


def make(space=None, **options):
    torch.manual_seed(0)
    return GridCells(GridCellsConfig(**options), space or space_with(**DIRECTION), HEADS)


def symbols(count, shape=(7, 7)):
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, LARGEST + 1, (count, *shape, 3), generator=generator).float()


def test_a_convolution_is_that_of_torch():
    layer, seen = WindowedDense(3, 5, 2), symbols(4)
    weight = layer.dense.linear_layers()[0].weight.reshape(5, 2, 2, 3).permute(0, 3, 1, 2)
    expected = conv2d(seen.movedim(3, 1), weight).movedim(1, 3)
    torch.testing.assert_close(layer(seen), expected)


def test_each_value_of_a_symbol_is_a_plane_of_its_own():
    model, seen = (
        make(spaces.Dict({"image": cells_space(1, 1)}), n_channels=[1], kernel_size=1),
        torch.zeros(1, 1, 1, 3),
    )
    planes = []
    model.convolutions.register_forward_pre_hook(lambda _, inputs: planes.append(inputs[0]))
    seen[0, 0, 0] = torch.tensor([2, 5, 0])
    model({"image": seen})
    assert torch.nonzero(planes[0][0, 0, 0]).flatten().tolist() == [2, 11 + 5, 22 + 0]


def test_the_direction_matters():
    model, seen = make(), symbols(1)
    east, north = (model({"image": seen, "direction": row[None]})["action"] for row in torch.eye(4)[[0, 3]])
    assert not torch.equal(east, north)


def test_cells_can_be_all_that_is_observed():
    model = make(spaces.Dict({"observation": cells_space(9, 5)}))
    assert model({"observation": symbols(3, (9, 5))})["action"].shape == (3, 7)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict({"observation": spaces.Box(0, 1, (4,))}),
        spaces.Dict({"observation": spaces.Box(0, 255, (56, 56, 3))}),
        spaces.Dict({"observation": spaces.Box(-1, 1, (7, 7, 3))}),
        spaces.Dict({"observation": spaces.Box(0, 0.5, (7, 7, 3))}),
        spaces.Dict({"a": cells_space(), "b": cells_space()}),
        spaces.Dict({"a": spaces.Dict({"b": cells_space()})}),
    ],
    ids=["vector", "drawn", "negative", "parts", "two", "nested"],
)
def test_what_is_no_grid_of_symbols_is_refused_with_a_way_out(space):
    with pytest.raises(
        UserError, match=r"minigrid_cells reads one image.*Use model=flatten_concat, or model=pixel_obs"
    ):
        make(space)


def test_a_grid_that_is_too_small_is_refused_with_what_would_fit():
    with pytest.raises(UserError, match="2 convolutions with kernel_size=4 need more than 6 cells each way, and there"):
        make(spaces.Dict({"image": cells_space(6, 9)}), n_channels=[4, 4], kernel_size=4)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"n_channels": []}, "n_channels"),
        ({"n_channels": [4, 0]}, "n_channels"),
        ({"kernel_size": 0}, "kernel_size"),
        ({"hidden_sizes": [0]}, "hidden_sizes"),
    ],
)
def test_options_that_make_no_network_are_refused(options, field):
    with pytest.raises(ConfigError, match=rf"^{field}=.* must be a "):
        GridCellsConfig(**options)
