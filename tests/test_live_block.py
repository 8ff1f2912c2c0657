"""Lines that stay at the bottom of a terminal: what a person sees, whatever else is written."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from support.terminal import Screen

from maze_core import live_block
from maze_core.live_block import LiveBlock


class File(io.StringIO):
    """A terminal that shows what is written to it."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen

    def write(self, text: str) -> int:
        self.screen.feed(text)
        return len(text)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[LiveBlock, File]]]:
    """Makes a block that is drawn when it is told so, on a screen of this size, and starts it."""
    monkeypatch.setattr(live_block, "REFRESH_S", 1000.0)
    blocks: list[LiveBlock] = []

    def make_block(*lines: str, columns: int = 40, rows: int = 24) -> tuple[LiveBlock, File]:
        file = File(Screen(columns, rows))
        monkeypatch.setattr(live_block, "terminal_size", lambda file: (columns, rows))
        monkeypatch.setattr(sys, "stdout", file)
        monkeypatch.setattr(sys, "stderr", file)
        block = LiveBlock(file, lambda columns: lines)
        blocks.append(block)
        block.start()
        return block, file

    yield make_block
    for block in blocks:
        block.stop()


Make = Callable[..., tuple[LiveBlock, File]]


def test_it_stands_below_an_empty_line(make: Make) -> None:
    _, file = make("one", "two")
    assert file.screen.lines == ["", "one", "two"]


def test_drawing_it_again_changes_nothing(make: Make) -> None:
    block, file = make("one", "two")
    for _ in range(3):
        block.draw()
    assert file.screen.lines == ["", "one", "two"]


def test_other_text_scrolls_above_it(make: Make) -> None:
    block, file = make("one")
    for number in range(50):
        block.erase()
        file.write(f"table {number}\n")
        block.draw()
    assert file.screen.lines == [*(f"table {number}" for number in range(50)), "", "one"]


def test_what_anybody_prints_comes_above_it(make: Make) -> None:
    block, file = make("one", "two")
    print("of an env:", 3)
    print("a warning\nof two lines", file=sys.stderr)
    block.draw()
    assert file.screen.lines == ["of an env: 3", "a warning", "of two lines", "", "one", "two"]


def test_it_waits_for_the_end_of_a_line(make: Make) -> None:
    block, file = make("one")
    print("half a line", end="")
    block.draw()
    assert file.screen.lines == ["half a line"]
    print(", and the rest")
    block.draw()
    assert file.screen.lines == ["half a line, and the rest", "", "one"]


def test_a_line_that_nobody_ends_does_not_swallow_what_comes_next(make: Make) -> None:
    block, file = make("one")
    print("half a line", end="")
    block.erase()
    file.write("table\n")
    block.draw()
    assert file.screen.lines == ["half a line", "table", "", "one"]


def test_what_is_written_past_it_leaves_nothing_of_it(make: Make) -> None:
    """As a signal's message or the code of an env in C is."""
    block, file = make("one", "two")
    file.write("from C\n")
    block.draw()
    assert file.screen.lines == ["from C", "", "one", "two"]


def test_it_is_lower_than_the_terminal(make: Make) -> None:
    block, file = make(*"abcdefgh", rows=7)
    block.draw()
    assert file.screen.lines == ["", "a", "b", "c"]


def test_a_line_that_is_too_long_is_cut_and_not_wrapped(make: Make) -> None:
    block, file = make("x" * 50, "two", columns=20)
    block.draw()
    assert file.screen.lines == ["", "x" * 20, "two"]
    assert file.screen.wraps


def test_afterwards_nothing_of_it_is_left(make: Make) -> None:
    block, file = make("one")
    block.stop()
    assert file.screen.lines == [""]
    assert sys.stdout is file
    assert sys.stderr is file
    assert "maze-live-block" not in {thread.name for thread in threading.enumerate()}


def test_once_stopped_it_does_not_come_back(make: Make) -> None:
    block, file = make("one")
    block.stop()
    block.draw()
    assert file.screen.lines == [""]


def test_it_is_drawn_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = threading.Semaphore(0)
    monkeypatch.setattr(live_block, "REFRESH_S", 0.001)
    block = LiveBlock(File(Screen()), lambda columns: [drawn.release() or "one"])  # type: ignore[func-returns-value]
    block.start()
    assert all(drawn.acquire(timeout=20) for _ in range(3))
    block.stop()


def test_in_the_background_of_a_shell_it_is_not_drawn(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    block, file = make("one")
    block.erase()
    monkeypatch.setattr(live_block, "in_foreground", lambda file: False)
    block.draw()
    assert file.screen.lines == [""]


def test_a_process_that_was_forked_off_prints_as_always(make: Make) -> None:
    """It has no thread that draws, and must not wait for its lock."""
    block, _ = make("one")
    with block._lock:
        process = os.fork()
        if process == 0:
            os._exit(0 if sys.stdout.write("x\n") == 2 and not block._open else 1)
    assert os.waitpid(process, 0)[1] == 0


def test_the_stream_that_it_stands_for_is_still_known(make: Make) -> None:
    _, file = make("one")
    assert sys.stdout is not file
    assert sys.stdout.isatty() is file.isatty()
