"""Films of episodes, and the files that are made of them."""

from __future__ import annotations

import importlib
import pickle
import sys
import weakref
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import error
from PIL import Image

from maze_core.animations import Film, frame_of, schedule, write_film
from maze_core.enums import RenderForm
from maze_core.errors import EnvFaultError, StorageError, UserError

GIF, WEBP, MP4, TERMINAL = RenderForm
PILLOW = pytest.mark.parametrize("form", [GIF, WEBP])
LEAVES_PIPES_OPEN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""imageio_ffmpeg does when it reads, and when ffmpeg ends first."""

EVERY = pytest.mark.parametrize("form", [GIF, WEBP, MP4])


def moving_square(number: int, height: int = 24, width: int = 32) -> np.ndarray:
    """A red square on white that is one pixel further right in each frame."""
    image = np.full((height, width, 3), 255, np.uint8)
    left = number % (width - 6)
    image[4:10, left : left + 6] = (213, 94, 0)
    return image


def make_film(n_frames: int = 5, fps: float = 10.0, **size: int) -> Film:
    return film_of([moving_square(number, **size) for number in range(n_frames)], fps)


def film_of(frames: list[Any], fps: float = 10.0) -> Film:
    film = Film(fps)
    for frame in frames:
        film.add(frame)
    return film


def written(film: Film, folder: Path, form: RenderForm) -> Path:
    path = folder / f"episode.{form.value}"
    write_film(film, path, form)
    assert [file.name for file in folder.iterdir()] == [path.name]
    return path


def read_back(path: Path) -> tuple[list[np.ndarray], list[float], dict[str, Any]]:
    """Images, their durations in milliseconds, and what else is said of them."""
    images, durations = [], []
    with Image.open(path) as file:
        for number in range(getattr(file, "n_frames", 1)):
            file.seek(number)
            images.append(np.asarray(file.convert("RGB")))
            durations.append(file.info.get("duration", 0))
        return images, durations, dict(file.info)


def refused(film: Film, folder: Path, form: RenderForm) -> str:
    with pytest.raises(UserError) as problem:
        write_film(film, folder / f"episode.{form.value}", form)
    assert list(folder.iterdir()) == []
    return str(problem.value)


# a film


def test_a_film_gives_back_the_frames_that_it_was_given() -> None:
    frames = [moving_square(0), "text\n", moving_square(1)[:, ::-1], moving_square(0, height=7)]
    film = film_of(frames)
    assert len(film) == 4
    for kept, frame in zip(film.frames(), frames, strict=True):
        np.testing.assert_array_equal(kept, frame)


def test_an_image_that_changes_after_it_was_added_does_not_change_in_the_film() -> None:
    image = moving_square(0)
    film = film_of([image])
    image[:] = 0
    np.testing.assert_array_equal(film[0], moving_square(0))


def test_a_film_is_small_and_repeated_images_cost_nothing() -> None:
    film = film_of([np.zeros((400, 600, 3), np.uint8)] * 200)
    assert len(pickle.dumps(film)) < 20_000


def test_a_film_is_the_same_in_another_process() -> None:
    film = pickle.loads(pickle.dumps(film_of([moving_square(0), moving_square(0), "text"], fps=7.5)))
    assert (film.fps, len(film), film[2]) == (7.5, 3, "text")
    np.testing.assert_array_equal(film[1], moving_square(0))


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_film_has_a_speed(fps: float) -> None:
    with pytest.raises(UserError, match=r"render_fps=.* is not allowed: it must be a number > 0"):
        Film(fps)


# time


def test_every_frame_is_shown_for_its_time_and_the_last_one_for_a_second() -> None:
    assert schedule(3, fps=10, units=100) == [(0, 10), (1, 10), (2, 100)]


def test_times_are_rounded_without_drift() -> None:
    durations = [duration for _, duration in schedule(301, fps=30, units=100)]
    assert sum(durations[:-1]) == 1000
    assert set(durations[:-1]) == {3, 4}


@pytest.mark.parametrize("fps", [60, 75, 100, 240, 1000])
@pytest.mark.parametrize("units", [100, 1000])
def test_of_a_fast_film_frames_are_left_out_but_time_and_last_frame_are_kept(fps: int, units: int) -> None:
    n_frames = 10 * fps + 1
    shown = schedule(n_frames, fps, units)
    assert min(duration for _, duration in shown) * 1000 / units >= 20
    assert sum(duration for _, duration in shown[:-1]) == pytest.approx(10 * units, abs=0.02 * units)
    assert (shown[0][0], shown[-1][0]) == (0, n_frames - 1)
    assert len(shown) < n_frames


def test_the_last_frame_of_a_slow_film_stays_as_long_as_the_others() -> None:
    assert schedule(2, fps=0.5, units=100) == [(0, 200), (1, 200)]


# files


@PILLOW
def test_a_file_has_all_frames_in_their_size_and_time(form: RenderForm, tmp_path: Path) -> None:
    images, durations, info = read_back(written(make_film(5, fps=10), tmp_path, form))
    assert [image.shape for image in images] == [(24, 32, 3)] * 5
    assert durations == [100, 100, 100, 100, 1000]
    assert info["loop"] == 0


@PILLOW
def test_images_of_few_colours_are_written_exactly(form: RenderForm, tmp_path: Path) -> None:
    images, _, _ = read_back(written(make_film(5), tmp_path, form))
    for number, image in enumerate(images):
        np.testing.assert_array_equal(image, moving_square(number))


@PILLOW
@pytest.mark.parametrize("fps", [60.0, 200.0, 29.97])
def test_a_file_takes_the_real_time_of_the_episode(fps: float, form: RenderForm, tmp_path: Path) -> None:
    _, durations, _ = read_back(written(make_film(121, fps), tmp_path, form))
    assert sum(durations[:-1]) == pytest.approx(120_000 / fps, abs=20)
    assert min(durations) >= 20


@PILLOW
def test_images_that_repeat_keep_the_time(form: RenderForm, tmp_path: Path) -> None:
    frames = [moving_square(number) for number in (0, 0, 0, 1, 2, 2)]
    images, durations, _ = read_back(written(film_of(frames), tmp_path, form))
    np.testing.assert_array_equal(images[-1], moving_square(2))
    assert sum(durations) == 5 * 100 + 1000


def test_an_image_that_stays_for_longer_than_a_gif_can_say_is_written_again(tmp_path: Path) -> None:
    frames = [moving_square(0)] * 16 + [moving_square(1)]
    images, durations, _ = read_back(written(film_of(frames, fps=1 / 60), tmp_path, GIF))
    assert durations == [600_000, 360_000, 60_000]
    np.testing.assert_array_equal(images[1], moving_square(0))


@PILLOW
def test_a_film_may_have_one_frame_of_one_pixel(form: RenderForm, tmp_path: Path) -> None:
    images, _, _ = read_back(written(film_of([np.full((1, 1, 3), 255, np.uint8)]), tmp_path, form))
    assert [image.tolist() for image in images] == [[[[255, 255, 255]]]]


def test_a_gif_of_many_colours_is_near_to_them_and_does_not_flicker(tmp_path: Path) -> None:
    across, down = np.meshgrid(np.arange(120), np.arange(100))
    background = np.stack([across * 2, down * 2, across + down], -1).astype(np.uint8)
    frames = []
    for number in range(30):
        frame = background.copy()
        frame[2 * number : 2 * number + 4] = (255, 0, 255) if number != 17 else (0, 255, 255)
        frames.append(frame)
    images, _, _ = read_back(written(film_of(frames), tmp_path, GIF))
    still = [image[70:] for image in images[:30]]
    for image, frame in zip(images, frames, strict=True):
        assert np.abs(image.astype(int) - frame).mean() < 8
        np.testing.assert_array_equal(image[70:], still[0])
    np.testing.assert_array_equal(images[17][35], np.full((120, 3), (0, 255, 255)))  # shown in one frame only


@PILLOW
def test_few_images_are_in_memory_at_once(form: RenderForm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Any]] = []
    most = 0

    def image(self: Film, index: int) -> Any:
        nonlocal most
        made = np.array(self[index])
        alive.append(weakref.ref(made))
        most = max(most, sum(reference() is not None for reference in alive))
        return made

    monkeypatch.setattr(Film, "image", image)
    written(make_film(200), tmp_path, form)
    assert len(alive) >= 200
    assert most <= 16


@LEAVES_PIPES_OPEN
@pytest.mark.parametrize(("height", "width"), [(24, 32), (23, 31), (16, 33), (1, 1)])
def test_an_mp4_has_all_frames_in_an_even_size(height: int, width: int, tmp_path: Path) -> None:
    ffmpeg = importlib.import_module("imageio_ffmpeg")
    film = film_of([np.full((height, width, 3), 20 * number, np.uint8) for number in range(8)], fps=20)
    reader = ffmpeg.read_frames(written(film, tmp_path, MP4))
    about, frames = next(reader), list(reader)
    even = (width + width % 2, height + height % 2)
    assert about["size"] == even
    assert about["pix_fmt"].startswith("yuv420p")
    assert (about["codec"], about["fps"]) == ("h264", 20)
    assert len(frames) == 8 + 20 - 1
    assert about["duration"] == pytest.approx(27 / 20, abs=0.02)


@LEAVES_PIPES_OPEN
def test_an_mp4_shows_what_was_filmed(tmp_path: Path) -> None:
    ffmpeg = importlib.import_module("imageio_ffmpeg")
    reader = ffmpeg.read_frames(written(make_film(8, height=63, width=79), tmp_path, MP4))
    next(reader)
    for number, data in zip(range(8), reader, strict=False):
        image = np.frombuffer(data, np.uint8).reshape(64, 80, 3)[:63, :79].astype(int)
        assert np.abs(image - moving_square(number, height=63, width=79)).mean() < 3
    reader.close()


@EVERY
def test_a_file_that_is_there_is_replaced(form: RenderForm, tmp_path: Path) -> None:
    (tmp_path / f"episode.{form.value}").write_bytes(b"old")
    assert written(make_film(), tmp_path, form).stat().st_size > 100


# errors


@EVERY
def test_a_film_without_frames_is_refused(form: RenderForm, tmp_path: Path) -> None:
    assert refused(Film(10), tmp_path, form) == (
        f"there is nothing to write to episode.{form.value}: the film has no frames."
    )


@EVERY
def test_text_is_refused_and_what_shows_it_is_named(form: RenderForm, tmp_path: Path) -> None:
    assert refused(film_of([moving_square(0), "SFFF"]), tmp_path, form) == (
        f"episode.{form.value} cannot be written: the env renders text, and such a file holds images. "
        "Use render=terminal, which shows text."
    )


@EVERY
def test_images_of_several_sizes_are_refused(form: RenderForm, tmp_path: Path) -> None:
    message = refused(film_of([moving_square(0), moving_square(0), moving_square(0, height=20)]), tmp_path, form)
    assert "its frames must have one size, and frame 2 is 32 x 20 after 32 x 24" in message
    assert "render=terminal" in message


@EVERY
def test_a_place_that_cannot_be_written_is_named(form: RenderForm, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing/film cannot be written: No such file or directory"):
        write_film(make_film(), tmp_path / "also" / "missing" / "film", form)


def test_without_ffmpeg_the_command_that_brings_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert refused(make_film(), tmp_path, MP4) == (
        'MP4 needs ffmpeg.\nNext: pip install "maze-core[mp4]", or choose gif or webp.'
    )


@LEAVES_PIPES_OPEN
@pytest.mark.parametrize("script", ["exit 1", "cat > /dev/null"])
def test_an_ffmpeg_that_fails_leaves_the_old_file(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ffmpeg = importlib.import_module("imageio_ffmpeg")
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    ffmpeg._io.get_first_available_h264_encoder()  # remembers what the true one can do
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "film.mp4").write_bytes(b"old")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    with pytest.raises(StorageError, match=r"film.mp4 cannot be written: "):
        write_film(make_film(400, height=200, width=200), folder / "film.mp4", MP4)
    assert [(file.name, file.read_bytes()) for file in folder.iterdir()] == [("film.mp4", b"old")]


# what an env shows


class Shown(gymnasium.Env[Any, Any]):
    """An env that renders what it is told, or raises it."""

    metadata = {"render_modes": ["rgb_array", "human"]}

    def __init__(self, shown: Any, render_mode: str | None = "rgb_array") -> None:
        self.shown, self.render_mode = shown, render_mode

    def render(self) -> Any:
        if isinstance(self.shown, BaseException):
            raise self.shown
        return self.shown


def test_an_image_or_text_is_what_an_env_shows() -> None:
    image = moving_square(0)
    assert frame_of(Shown(image), "shop") is image
    assert frame_of(Shown("SFFF", "ansi"), "lake") == "SFFF"


@pytest.mark.parametrize(
    ("shown", "mode", "words"),
    [
        (None, None, "env 'shop' with render_mode=None gives nothing when it is rendered"),
        (None, "human", "env 'shop' with render_mode='human' gives nothing when it is rendered"),
        ([moving_square(0)], "rgb_array_list", "with render_mode='rgb_array_list' gives several frames at once"),
        (NotImplementedError(), "rgb_array", "env 'shop' cannot be rendered: it has no render method"),
    ],
)
def test_an_env_that_was_made_to_show_nothing_is_refused(shown: Any, mode: str | None, words: str) -> None:
    with pytest.raises(UserError) as problem:
        frame_of(Shown(shown, mode), "shop")
    assert words in str(problem.value)
    assert 'render_mode="rgb_array"' in str(problem.value)


def test_a_missing_package_is_the_users_to_install() -> None:
    missing = error.DependencyNotInstalled('pygame is not installed, run `pip install "gymnasium[toy-text]"`')
    with pytest.raises(UserError, match="env 'lake' needs a package to be rendered: pygame is not installed, run"):
        frame_of(Shown(missing), "lake")


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (np.zeros((4, 4, 3)), "float64 [4, 4, 3]"),
        (np.zeros((4, 4, 4), np.uint8), "uint8 [4, 4, 4]"),
        (np.zeros((4, 4), np.uint8), "uint8 [4, 4]"),
        (np.zeros((0, 4, 3), np.uint8), "uint8 [0, 4, 3]"),
        (True, "bool"),
    ],
)
def test_what_is_neither_image_nor_text_is_a_fault_of_the_env(shown: Any, found: str) -> None:
    with pytest.raises(EnvFaultError) as problem:
        frame_of(Shown(shown), "shop")
    assert str(problem.value).startswith(
        f"env 'shop' with render_mode='rgb_array' rendered {found}; an image [H, W, 3]"
    )


def test_an_env_that_raises_is_named() -> None:
    with pytest.raises(
        EnvFaultError, match=r"env 'shop' with render_mode='rgb_array' raised ValueError .*: no display"
    ):
        frame_of(Shown(ValueError("no display")), "shop")


def test_what_maze_raises_passes() -> None:
    with pytest.raises(UserError, match=r"^mine$"):
        frame_of(Shown(UserError("mine")), "shop")


def test_the_terminal_is_no_format_of_a_file(tmp_path: Path) -> None:
    film = Film(10)
    film.add(np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(UserError, match=r"terminal is no format of a file\. Allowed: gif, webp, mp4"):
        write_film(film, tmp_path / "film", TERMINAL)
