"""From pieces of which size is cut: the event, and its figure."""

from __future__ import annotations

import numpy as np
import pytest
from maze_cutting_2d.config import FlatCuttingConfig
from maze_cutting_2d.figures import PAPER, PIECE, RAW, SIZE, piece_shares
from maze_cutting_2d.world import CuttingWorld
from PIL import ImageColor


def columns_with(image: np.ndarray, color: str) -> np.ndarray:
    """Columns below the title in which something has this colour."""
    return np.flatnonzero((image[100:330] == ImageColor.getrgb(color)).all(axis=2).any(axis=0))


def test_the_area_of_each_piece_that_is_cut_is_told_as_a_share_of_a_raw_one() -> None:
    world = CuttingWorld(FlatCuttingConfig(raw_piece_size=[10, 4], orders=[[5, 2]], max_steps=2))
    world.reset(np.random.default_rng(0))
    world.step(0, 0, 0)
    half = world.inventory.index((5, 4))
    world.step(half, 0, 0)
    events = world.told()["episode_events"].values
    assert events["CuttingEvents/piece_share/histogram"].tolist() == [1.0, 0.5]
    assert events["CuttingEvents/piece_share/mean_episode_mean"] == 0.75


def test_raw_pieces_have_a_bar_of_their_own_at_the_right() -> None:
    image = piece_shares(np.array([0.1, 1.0]))
    assert (image.shape, image.dtype) == ((SIZE[1], SIZE[0], 3), np.uint8)
    assert 0 < columns_with(image, PIECE).max() < 200 < 500 < columns_with(image, RAW).min()


@pytest.mark.parametrize("values", [[], [1.0], [0.001], [0.999]])
def test_whatever_was_cut_can_be_drawn(values: list[float]) -> None:
    image = piece_shares(np.array(values))
    assert (image[0] == ImageColor.getrgb(PAPER)).all()
