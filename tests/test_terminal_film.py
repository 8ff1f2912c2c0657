"""Films in a terminal: what is drawn, and that the terminal is afterwards as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from maze_core import terminal_film
from maze_core.animations import Film
from maze_core.console import CLEAR_LINE, ENTER_SCREEN, HOME, LEAVE_SCREEN, Output
from maze_core.errors import UserError
from maze_core.terminal_film import HALF_BLOCK, frame_lines, play

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)
CODE = re.compile(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m")


def filled(color: tuple[int, int, int], height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def cells(line: str) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The colours of each character of a line of half blocks: upper half, lower half."""
    assert line.endswith("\x1b[0m")
    found, colors = [], ((), ())
    for part in re.split(f"({HALF_BLOCK})", line.removesuffix("\x1b[0m")):
        if part == HALF_BLOCK:
            found.append(colors)
        elif part:
            match = CODE.fullmatch(part)
            assert match, part
            numbers = tuple(map(int, match.groups()))
            colors = numbers[:3], numbers[3:]
    return found


def pixels(lines: list[str]) -> np.ndarray:
    """The image [H, W, 3] that lines of half blocks show."""
    return np.array([row for line in lines for row in zip(*cells(line), strict=True)])


# images


def test_a_character_shows_two_pixels_one_above_the_other() -> None:
    image = np.array([[RED, WHITE], [BLACK, WHITE]], np.uint8)
    (line,) = frame_lines(image, 2, 1)
    assert cells(line) == [(RED, BLACK), (WHITE, WHITE)]


def test_a_colour_is_told_only_when_it_changes() -> None:
    (line,) = frame_lines(filled(RED, 2, 50), 50, 1)
    assert line == f"\x1b[38;2;255;0;0;48;2;255;0;0m{HALF_BLOCK * 50}\x1b[0m"


@pytest.mark.parametrize(
    ("height", "width", "columns", "rows", "expected"),
    [
        (400, 600, 80, 24, (24, 72)),
        (400, 600, 60, 40, (20, 60)),
        (400, 600, 1, 1, (1, 1)),
        (100, 1, 80, 24, (24, 1)),
        (8, 8, 100, 50, (48, 96)),
        (84, 84, 100, 50, (42, 84)),
        (8, 8, 17, 50, (8, 16)),
    ],
)
@pytest.mark.parametrize("in_color", [True, False])
def test_an_image_fits_and_keeps_its_proportions(
    height: int, width: int, columns: int, rows: int, expected: tuple[int, int], in_color: bool
) -> None:
    image = filled(WHITE, height, width)
    image[:, 0], image[:, -1] = BLACK, BLACK  # spaces at the end of a plain line are left out
    lines = frame_lines(image, columns, rows, in_color)
    assert len(lines) == expected[0]
    assert {len(cells(line)) if in_color else max(1, len(line)) for line in lines} == {expected[1]}


def test_an_image_of_one_colour_keeps_it() -> None:
    assert (pixels(frame_lines(filled((12, 200, 99), 37, 53), 10, 10)) == (12, 200, 99)).all()


@pytest.mark.parametrize(("line", "ground"), [(BLACK, WHITE), (WHITE, BLACK)])
@pytest.mark.parametrize("at", range(190, 210))
def test_a_line_of_one_pixel_is_seen_wherever_it_is(
    at: int, line: tuple[int, int, int], ground: tuple[int, int, int]
) -> None:
    image = filled(ground, 400, 600)
    image[at] = line
    contrast = np.abs(pixels(frame_lines(image, 80, 24)).astype(int) - ground[0]).max(-1)
    assert contrast.max(0).min() > 100
    assert (contrast > 0).any(1).sum() == 1
    assert "".join(frame_lines(image, 80, 24, in_color=False)).strip(" ") != ""


def test_plain_characters_are_denser_where_the_image_is_less_like_most_of_it() -> None:
    image = filled(WHITE, 8, 8)
    image[2:4, 2:4], image[6:8, 6:8] = BLACK, (160, 160, 160)
    assert frame_lines(image, 8, 4, in_color=False) == ["", "  @@", "", "      =="]
    assert frame_lines(255 - image, 8, 4, in_color=False) == ["", "  @@", "", "      =="]


# text


def test_text_is_shown_as_it_is_with_its_colours() -> None:
    assert frame_lines("  (Up)\nS\x1b[41mF\x1b[0mFF\n", 80, 24) == ["  (Up)", "S\x1b[41mF\x1b[0mFF\x1b[0m"]


def test_text_has_no_colours_where_nobody_looks_live() -> None:
    assert frame_lines("S\x1b[41mF\x1b[0mFF\n", 80, 24, in_color=False) == ["SFFF"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Ja", "a"),
        ("\x1b[10;10Ha", "a"),
        ("\x1b[?1049ha", "a"),
        ("\x1b]0;title\x07a", "a"),
        ("\x1b]52;c;aGk=\x1b\\a", "a"),
        ("\x1bPq\x1b\\a", "a"),
        ("\x1bca", "a"),
        ("\x9b2Ja", "a"),
        ("\x1b\x1b[2J[2Ja", "[2Ja"),
        ("\x1b[\x1b[2Jmb", "mb"),
        ("a\x07\x08\x00\x7f\x85b", "ab"),
        ("a\rb", "ab"),
        ("a\u202eb", "ab"),
        ("a\tb", "a       b"),
        ("\x1b[31", "31"),
        ("", ""),
    ],
)
def test_nothing_in_a_text_moves_the_cursor(text: str, shown: str) -> None:
    assert frame_lines(text, 80, 24) == [shown]


def test_lines_may_end_as_on_windows_and_too_many_are_cut() -> None:
    assert frame_lines("a\r\nb\r\nc\r\n", 80, 2) == ["a", "b"]


# playing


class FakeTime:
    """A clock that only sleeping and drawing move; drawing takes `draw_s`."""

    def __init__(self, draw_s: float = 0.0) -> None:
        self.now, self.draw_s, self.slept, self.on_sleep = 0.0, draw_s, 0.0, lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.on_sleep()
        self.now += seconds + self.draw_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    clock = FakeTime()
    monkeypatch.setattr(terminal_film, "time", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[[], Output]:
    """Makes an output that takes itself for a terminal of 20 columns and 6 rows."""
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "20", "LINES": "6"}.items():
        monkeypatch.setenv(name, value)
    return Output


def counting_film(n_frames: int, fps: float = 10.0) -> Film:
    film = Film(fps)
    for number in range(n_frames):
        film.add(f"<{number}>")
    return film


def drawn(text: str) -> list[str]:
    """What was drawn on the screen of a film, picture by picture."""
    played = text.removeprefix(ENTER_SCREEN).partition(LEAVE_SCREEN)[0]
    return [picture.replace(CLEAR_LINE, "").removesuffix("\x1b[J") for picture in played.split(HOME)[1:]]


def test_a_film_is_played_in_place_at_its_speed_and_its_end_stays(
    terminal: Callable[[], Output], clock: FakeTime, capsys: Any
) -> None:
    play(counting_film(3), terminal(), "episode 7")
    text = capsys.readouterr().out
    assert text.startswith(ENTER_SCREEN)
    assert drawn(text) == [f"<{number}>\nepisode 7, frame {number + 1} of 3" for number in range(3)]
    assert text.endswith(f"{LEAVE_SCREEN}<2>\nepisode 7, frame 3 of 3\n")
    assert clock.now == pytest.approx(2 / 10 + 1)


def test_where_drawing_is_slow_frames_are_left_out_but_not_the_last(
    terminal: Callable[[], Output], clock: FakeTime, capsys: Any
) -> None:
    clock.draw_s = 0.25
    play(counting_film(12), terminal(), "slow")
    numbers = [int(picture[1 : picture.index(">")]) for picture in drawn(capsys.readouterr().out)]
    assert numbers[0] == 0
    assert numbers[-1] == 11
    assert len(numbers) < 8
    assert clock.now < 3.5


def test_an_interrupt_gives_the_terminal_back(terminal: Callable[[], Output], clock: FakeTime, capsys: Any) -> None:
    def interrupt() -> None:
        if clock.now > 0.15:
            raise KeyboardInterrupt

    clock.on_sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        play(counting_film(9), terminal(), "episode 1")
    assert capsys.readouterr().out.endswith(LEAVE_SCREEN)


def test_an_error_gives_the_terminal_back(terminal: Callable[[], Output], clock: FakeTime, capsys: Any) -> None:
    film = counting_film(2)
    film.add(np.zeros((0, 4, 3), np.uint8))  # cannot be drawn
    with pytest.raises(ZeroDivisionError):
        play(film, terminal(), "episode 1")
    assert capsys.readouterr().out.endswith(LEAVE_SCREEN)


def test_a_terminal_may_change_its_size(
    terminal: Callable[[], Output], clock: FakeTime, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter([(20, 6), (10, 4), (40, 12), (40, 12)])
    monkeypatch.setattr(Output, "size", property(lambda self: next(sizes)))
    film = Film(10)
    for _ in range(3):
        film.add(filled(RED, 100, 100))
    play(film, terminal(), "x")
    heights = [picture.count("\n") for picture in drawn(capsys.readouterr().out)]
    assert heights == [5, 3, 11]


def test_without_colours_a_film_is_played_in_characters(
    terminal: Callable[[], Output], clock: FakeTime, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    image = filled(WHITE, 8, 8)
    image[2:4, 2:4] = BLACK
    film = Film(10)
    film.add(image)
    play(film, terminal(), "episode 1")
    (picture,) = drawn(capsys.readouterr().out)
    assert picture == "\n  @@\n\n\nepisode 1, frame 1 of 1"


@pytest.mark.parametrize("dumb", [True, False])
def test_elsewhere_the_first_and_the_last_frame_are_printed(
    dumb: bool, request: pytest.FixtureRequest, clock: FakeTime, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dumb:
        request.getfixturevalue("terminal")
        monkeypatch.setenv("TERM", "dumb")
    else:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    play(counting_film(5), Output(), "episode 7")
    assert capsys.readouterr().out == "<0>\nepisode 7, frame 1 of 5\n<4>\nepisode 7, frame 5 of 5\n"
    assert clock.now == 0


def test_a_film_of_one_frame_is_printed_once(clock: FakeTime, capsys: Any) -> None:
    play(counting_film(1), Output(), "episode 7")
    assert capsys.readouterr().out == "<0>\nepisode 7, frame 1 of 1\n"


def test_a_film_without_frames_is_refused() -> None:
    with pytest.raises(UserError, match="there is nothing to show of episode 7: the film has no frames"):
        play(Film(10), Output(), "episode 7")
