"""Figures of events: what an env draws of an evaluation, and what a mistake in it costs."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maze_core.builtins.config import TensorBoardConfig
from maze_core.builtins.tensorboard_callback import TensorBoardCallback
from maze_core.errors import PluginError
from maze_core.protocols import EpochReport, RunInfo
from maze_core.stats import Event, EventGroup, EventRecorder, Histogram, StageStatistics
from maze_core.stats import events as events_module
from maze_core.stats.figures import as_png, drawn

PATH = "SalesEvents/sold/histogram"


@pytest.fixture(autouse=True)
def _declared() -> Iterator[None]:
    """What is declared here is forgotten afterwards."""
    before = dict(events_module._FIGURES)
    yield
    events_module._FIGURES.clear()
    events_module._FIGURES.update(before)


def noise(values: np.ndarray) -> np.ndarray:
    """An image that says how many values there were: its height."""
    return np.random.default_rng(0).integers(256, size=(len(values), 5, 3)).astype(np.uint8)


def declare(figure: Any, num_envs: int | None = None) -> EventGroup:
    group = EventGroup("SalesEvents", sold=Event("sum", "histogram", figure=figure), other=Event("histogram"))
    EventRecorder(group, num_envs=num_envs)
    return group


def read(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("num_envs", [None, 3])
def test_a_figure_is_known_when_an_env_declared_it(num_envs: int | None) -> None:
    assert drawn(PATH, np.arange(4)) is None
    declare(noise, num_envs)
    png = drawn(PATH, np.arange(4))
    assert png is not None
    np.testing.assert_array_equal(read(png), noise(np.arange(4)))
    assert drawn("SalesEvents/other/histogram", np.arange(4)) is None


def test_each_part_of_a_split_event_has_its_figure() -> None:
    declare(noise)
    png = drawn("SalesEvents/sold:weekend/histogram", np.arange(2))
    assert png is not None
    assert read(png).shape == (2, 5, 3)


def test_the_env_that_was_made_last_decides() -> None:
    declare(noise)
    declare(None)
    assert drawn(PATH, np.arange(4)) is None


def test_a_figure_may_be_named_and_is_imported_when_it_is_drawn() -> None:
    declare("maze_cutting_2d.figures:piece_shares")
    png = drawn(PATH, np.array([0.5, 1.0]))
    assert png is not None
    assert read(png).shape == (400, 640, 3)


def test_a_figure_of_matplotlib_is_taken() -> None:
    def draw(values: np.ndarray) -> Figure:
        figure = Figure(figsize=(2, 1), dpi=50)
        figure.subplots().hist(values)
        return figure

    declare(draw)
    png = drawn(PATH, np.arange(4))
    assert png is not None
    assert read(png).shape[:2] == (50, 100)


def test_an_event_without_a_histogram_has_no_figure() -> None:
    with pytest.raises(PluginError, match="needs the reduction 'histogram'"):
        Event("sum", figure=noise)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((2, 2, 3)), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 0, 3), np.uint8),
     np.zeros((5000, 1, 3), np.uint8), None, "a.png"],
    ids=["float", "grey", "rgba", "empty", "huge", "None", "text"],
)  # fmt: skip
def test_what_is_no_picture_is_refused(picture: Any) -> None:
    with pytest.raises(ValueError, match=r"return an image \[H, W, 3\] of uint8"):
        as_png(picture)


Told = Callable[..., EventAccumulator]


@pytest.fixture
def tell(tmp_path: Path) -> Told:
    """Tells TensorBoard of epochs with these stages, and reads what it has then."""

    def told(*stages: str, values: np.ndarray) -> EventAccumulator:
        callback = TensorBoardCallback(TensorBoardConfig())
        callback.on_run_start(RunInfo(tmp_path, "", "maze train", [], None))
        for epoch, stage in enumerate(stages):
            statistics = StageStatistics(stage, {}, {PATH: Histogram(values)})
            callback.on_epoch_end(EpochReport(epoch, epoch, epoch, {}, [statistics]))
        callback.close()
        return EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()

    return told


def test_tensorboard_shows_it_for_each_evaluation_and_not_for_training(tell: Told) -> None:
    declare(noise)
    reader = tell("train", "eval", "eval", "final_eval", values=np.arange(7))
    tags = ["eval_SalesEvents/sold/figure", "final_eval_SalesEvents/sold/figure"]
    assert reader.Tags()["images"] == tags
    assert [(image.step, image.width, image.height) for image in reader.Images(tags[0])] == [(2, 5, 7), (3, 5, 7)]


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (lambda values: 1 / 0, "SalesEvents/sold: ZeroDivisionError"),
        (lambda values: values, "SalesEvents/sold: ValueError: it returned a ndarray float64 [7]"),
        ("no_such_module:draw", "SalesEvents/sold: ModuleNotFoundError"),
        ("maze_core.errors:no_such_function", "SalesEvents/sold: AttributeError"),
    ],
    ids=["raises", "no picture", "no module", "no function"],
)
def test_a_figure_that_fails_costs_one_warning(
    figure: Any, words: str, tell: Told, caplog: pytest.LogCaptureFixture
) -> None:
    declare(figure)
    with caplog.at_level(logging.WARNING, "maze"):
        reader = tell("eval", "eval", "final_eval", values=np.arange(7))
    assert reader.Tags()["images"] == []
    assert reader.Tags()["histograms"] == ["eval_" + PATH, "final_eval_" + PATH]
    (message,) = caplog.messages
    assert message.startswith(f"there is no figure of {words}")
