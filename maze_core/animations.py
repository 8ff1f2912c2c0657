"""Films of episodes: frames as an env renders them, and GIF, WebP and MP4 files of them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import gymnasium
import numpy as np
from gymnasium import error as gymnasium_error
from numpy.typing import NDArray
from PIL import Image
from PIL.GifImagePlugin import getdata, getheader

from maze_core.enums import RenderForm
from maze_core.errors import EnvFaultError, MazeError, UserError
from maze_core.runs.files import write_file

Frame = NDArray[np.uint8] | str
"""An image [H, W, 3], or text with line ends and perhaps colour codes."""

LAST_FRAME_S = 1.0
"""How long the last frame stays, so that the end of an episode can be seen."""

SHORTEST_FRAME_S = 0.02
"""Browsers show frames that are shorter for 0.1 s; frames are left out instead."""

GIF_UNITS, WEBP_UNITS = 100, 1000
"""In what parts of a second these formats count time."""

MAX_GIF_DELAY = 2**16 - 1

SAMPLED_FRAMES, SAMPLED_PIXELS = 16, 2**22
MANY_COLORS = 2**16
EXACT_COLORS, TYPICAL_COLORS = 96, 192
COLOR_CUBE = [(r, g, b) for r in range(0, 256, 85) for g in range(0, 256, 85) for b in range(0, 256, 85)]
"""Colours for what no sampled frame shows, 64."""

MP4_QUALITY = 8
"""Of 10; lines and letters stay sharp."""

Color = tuple[int, int, int]


class Film:
    """The frames of one episode, kept small: each is an image [H, W, 3] uint8, or text.

    Args:
        fps: Frames per second, > 0.

    Raises:
        UserError: If there can be no such speed.
    """

    def __init__(self, fps: float) -> None:
        if not 0 < fps < math.inf:
            raise UserError(f"render_fps={fps} is not allowed: it must be a number > 0.")
        self.fps = float(fps)
        self._frames: list[tuple[tuple[int, ...], bytes] | str] = []

    def add(self, frame: Frame) -> None:
        """Appends a frame; the image may change afterwards."""
        if isinstance(frame, str):
            self._frames.append(frame)
            return
        stored = frame.shape, zlib.compress(np.ascontiguousarray(frame).data, 1)
        repeated = bool(self._frames) and self._frames[-1] == stored
        self._frames.append(self._frames[-1] if repeated else stored)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Frame:
        frame = self._frames[index]
        if isinstance(frame, str):
            return frame
        shape, compressed = frame
        return np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(shape)

    def frames(self) -> Iterator[Frame]:
        """All frames; images are made one by one, and are read-only."""
        return (self[index] for index in range(len(self)))

    def image(self, index: int) -> NDArray[np.uint8]:
        """A frame of a film of images."""
        frame = self[index]
        assert not isinstance(frame, str)
        return frame

    def sizes(self) -> list[tuple[int, ...] | None]:
        """The shape of each frame, None for text."""
        return [None if isinstance(frame, str) else frame[0] for frame in self._frames]


def frame_of(env: gymnasium.Env[Any, Any], name: str) -> Frame:
    """What an env shows now; an image is valid until the env is stepped.

    Args:
        env: The env, after a reset.
        name: What an error calls it.

    Raises:
        UserError: If it was made so that it cannot show anything here.
        EnvFaultError: If it raises, or returns neither image nor text.
    """
    frame = _rendered(env, name)
    mode = f"env {name!r} with render_mode={env.render_mode!r}"
    if isinstance(frame, str):
        return frame
    if frame is None or isinstance(frame, (list, tuple)):
        found = "nothing" if frame is None else "several frames at once"
        raise UserError(f'{mode} gives {found} when it is rendered. Make it with render_mode="rgb_array".')
    if not _is_image(frame):
        found = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise EnvFaultError(
            f"{mode} rendered {found}; an image [H, W, 3] of uint8 is needed, "
            'as render_mode="rgb_array" should give, or text.'
        )
    return frame  # type: ignore[no-any-return]


def _is_image(frame: Any) -> bool:
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3:
        return False
    return frame.shape[2] == 3 and frame.size > 0


def _rendered(env: gymnasium.Env[Any, Any], name: str) -> Any:
    try:
        return env.render()
    except MazeError:
        raise
    except NotImplementedError:
        raise UserError(
            f'env {name!r} cannot be rendered: it has no render method. One for render_mode="rgb_array" is needed.'
        ) from None
    except gymnasium_error.DependencyNotInstalled as error:
        raise UserError(f"env {name!r} needs a package to be rendered: {' '.join(str(error).split())}.") from error
    except (Exception, SystemExit) as error:
        raise EnvFaultError(
            f"env {name!r} with render_mode={env.render_mode!r} raised {type(error).__name__} "
            f'when it was rendered: {error}. An image, as render_mode="rgb_array" gives, or text is needed.'
        ) from error


def write_film(film: Film, path: Path, form: RenderForm) -> None:
    """Writes a film of images; a file there is replaced, in one step.

    Args:
        film: The film.
        path: Where; its folder is made if only that is missing.
        form: The format of the file.

    Raises:
        UserError: If the form is no format of a file, the film has no frames, text, or images of several sizes, or a
            package is missing.
        StorageError: If it cannot be written.
    """
    require_format(form)
    _refuse_unwritable(film, path)
    if form is RenderForm.gif:
        write_file(path, lambda file: _write_gif(film, file))
    elif form is RenderForm.webp:
        write_file(path, lambda file: _write_webp(film, file))
    else:
        ffmpeg = _ffmpeg()
        write_file(path, lambda file: _write_mp4(ffmpeg, film, file.name))


def require_format(form: RenderForm) -> None:
    """Checks that files of a format can be written.

    Raises:
        UserError: If it is no such format, or a package is missing.
    """
    if form is RenderForm.terminal:
        raise UserError(f"{form.value} is no format of a file. Allowed: gif, webp, mp4.")
    if form is RenderForm.mp4:
        _ffmpeg()


def _refuse_unwritable(film: Film, path: Path) -> None:
    sizes = film.sizes()
    if not sizes:
        raise UserError(f"there is nothing to write to {path.name}: the film has no frames.")
    if None in sizes:
        raise UserError(
            f"{path.name} cannot be written: the env renders text, and such a file holds images. "
            "Use render=terminal, which shows text."
        )
    if len(set(sizes)) > 1:
        number, other = next((number, size) for number, size in enumerate(sizes) if size != sizes[0])
        raise UserError(
            f"{path.name} cannot be written: its frames must have one size, and frame {number} is "
            f"{_size_text(other)} after {_size_text(sizes[0])}. Use render=terminal, which shows them all."
        )


def _size_text(size: tuple[int, ...] | None) -> str:
    assert size is not None
    return f"{size[1]} x {size[0]}"


def schedule(n_frames: int, fps: float, units: int) -> list[tuple[int, int]]:
    """Which frames are shown, and for how long, so that a film takes its real time whatever its speed.

    Args:
        n_frames: How many there are, >= 1.
        fps: Frames per second.
        units: Units of time per second.

    Returns:
        Number and duration in units of each frame that is shown; the last frame is always among them.
    """
    shortest = round(SHORTEST_FRAME_S * units)
    shown = [(0, 0)]  # number and start
    for number in range(1, n_frames):
        start = round(number * units / fps)
        if start - shown[-1][1] >= shortest:
            shown.append((number, start))
    shown[-1] = n_frames - 1, shown[-1][1]
    starts = [start for _, start in shown]
    ends = [*starts[1:], starts[-1] + round(units * max(LAST_FRAME_S, 1 / fps))]
    return [(number, end - start) for (number, start), end in zip(shown, ends, strict=True)]


def _write_gif(film: Film, file: IO[bytes]) -> None:
    """Frame by frame: of each only the rectangle that changed. `Image.save` would keep all frames in memory."""
    matched, colors = _palette(film)
    shown = _distinct(film)
    image, delay = next(shown)
    before = _in_colors(image, matched, colors)
    file.writelines(getheader(before, info={"loop": 0})[0])
    file.writelines(getdata(before, duration=delay * 1000 // GIF_UNITS))
    for image, delay in shown:
        frame = _in_colors(image, matched, colors)
        left, top, right, bottom = _changed(np.asarray(before), np.asarray(frame))
        part = frame.crop((left, top, right, bottom))
        file.writelines(getdata(part, (left, top), duration=delay * 1000 // GIF_UNITS))
        before = frame
    file.write(b";")


def _distinct(film: Film) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Images and their durations in units of a GIF; what stays the same is one image."""
    (first, delay), *rest = schedule(len(film), film.fps, GIF_UNITS)
    image = film.image(first)
    for number, more in rest:
        following = film.image(number)
        if delay + more <= MAX_GIF_DELAY and np.array_equal(image, following):
            delay += more
            continue
        yield image, min(delay, MAX_GIF_DELAY)
        image, delay = following, more
    yield image, min(delay, MAX_GIF_DELAY)


def _changed(before: NDArray[np.uint8], frame: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels [H, W] that differ; one pixel if none does."""
    rows, columns = np.nonzero(before != frame)
    if not len(rows):
        return 0, 0, 1, 1
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _palette(film: Film) -> tuple[Image.Image, list[Color]]:
    """One palette for all frames, so that nothing flickers: frequent colours as they are, then typical ones.

    Pillow finds the entry for a pixel by the lower corner of a cube with sides of 4, so it is given a
    palette of such corners; then a frequent colour stands for itself and not for a neighbour.

    Returns:
        An image with the palette of corners, and the colours that they stand for.
    """
    numbers = np.unique(np.linspace(0, len(film) - 1, SAMPLED_FRAMES).round().astype(int)).tolist()
    height, width, _ = film.image(0).shape
    stride = math.ceil(math.sqrt(len(numbers) * height * width / SAMPLED_PIXELS))
    sheet = Image.fromarray(np.concatenate([film.image(number)[::stride, ::stride] for number in numbers]))
    counted: Any = sorted(sheet.getcolors(MANY_COLORS) or [], reverse=True)
    entries: dict[tuple[int, ...], Color] = {}
    for _, color in counted:
        entries.setdefault(_corner(color), color)
    entries = dict(list(entries.items())[:EXACT_COLORS])
    typical = sheet.quantize(TYPICAL_COLORS - len(entries), Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    flat = typical.getpalette() or []
    for color in [*zip(flat[::3], flat[1::3], flat[2::3], strict=True), *COLOR_CUBE]:
        entries.setdefault(_corner(color), color)
    matched = Image.new("P", (1, 1))
    matched.putpalette([part for corner in entries for part in corner])
    return matched, list(entries.values())


def _corner(color: Color) -> tuple[int, ...]:
    return tuple(part // 4 * 4 for part in color)


def _in_colors(image: NDArray[np.uint8], matched: Image.Image, colors: list[Color]) -> Image.Image:
    frame = Image.fromarray(image).quantize(palette=matched, dither=Image.Dither.NONE)
    frame.putpalette([part for color in colors for part in color])
    return frame


class _Reel(Image.Image):
    """The shown frames of a film as one image with many, which Pillow asks for one by one.

    A list of images for `append_images`, or a generator, would be held in memory as a whole.
    """

    def __init__(self, film: Film, numbers: list[int]) -> None:
        super().__init__()
        self._film, self._numbers, self.n_frames = film, numbers, len(numbers)
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Becomes this frame."""
        image = Image.fromarray(self._film.image(self._numbers[frame]))
        self.im, self._mode, self._size, self._at = image.im, image.mode, image.size, frame

    def tell(self) -> int:
        """Which frame it is."""
        return self._at


def _write_webp(film: Film, file: IO[bytes]) -> None:
    """Each frame without loss or with little of it, whatever is smaller."""
    shown = schedule(len(film), film.fps, WEBP_UNITS)
    reel = _Reel(film, [number for number, _ in shown])
    durations = [duration for _, duration in shown]
    reel.save(file, "WEBP", save_all=True, duration=durations, loop=0, quality=80, method=2, allow_mixed=True)


def _ffmpeg() -> Any:
    """The module that brings ffmpeg.

    Raises:
        UserError: If it, or ffmpeg itself, is missing.
    """
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise UserError('MP4 needs ffmpeg.\nNext: pip install "maze-core[mp4]", or choose gif or webp.') from None
    return imageio_ffmpeg


def _write_mp4(ffmpeg: Any, film: Film, path: str) -> None:
    """H.264 in a form that every player knows, which wants even sizes."""
    height, width, _ = film.image(0).shape
    even = ((0, height % 2), (0, width % 2), (0, 0))
    numbers = [*range(len(film)), *[len(film) - 1] * max(0, round(LAST_FRAME_S * film.fps) - 1)]
    sink = ffmpeg.write_frames(
        path, (width + width % 2, height + height % 2), fps=film.fps, quality=MP4_QUALITY, macro_block_size=1,
        ffmpeg_log_level="error", output_params=["-movflags", "+faststart", "-f", "mp4"],
    )  # fmt: skip
    sink.send(None)
    try:
        for number in numbers:
            sink.send(np.ascontiguousarray(np.pad(film.image(number), even, "edge")))
    except OSError:
        raise OSError("ffmpeg ended early") from None
    finally:
        sink.close()
    if ffmpeg.count_frames_and_secs(path)[0] != len(numbers):  # its exit status is not told
        raise OSError("ffmpeg did not write all frames")
