"""What is told when a signal asks a run to end, on terminals and elsewhere."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
from support.terminal import Screen

from maze_core.live_block import LiveBlock
from maze_core.runs.stop_request import StopRequest

ANSWER = "maze: ending after this update; the same again ends at once"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written to the standard error stream past Python."""
    texts: list[str] = []
    monkeypatch.setattr(os, "write", lambda number, data: texts.append(data.decode()) or len(data))
    return texts


@pytest.mark.parametrize(
    ("is_terminal", "term", "text"),
    [
        (False, "xterm", f"{ANSWER}\n"),
        (True, "dumb", f"\n{ANSWER}\n"),
        (True, "xterm", f"\n\x1b[J{ANSWER}\n"),
    ],
    ids=["a file", "a dumb terminal", "a terminal"],
)
def test_the_answer_stands_on_a_line_of_its_own(
    is_terminal: bool, term: str, text: str, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "isatty", lambda number: is_terminal)
    monkeypatch.setenv("TERM", term)
    stop = StopRequest()
    with stop.listening():
        signal.raise_signal(signal.SIGINT)
    assert stop.signal == signal.SIGINT
    assert written == [text]


def test_it_leaves_nothing_of_a_live_view(written: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class File:
        """A terminal."""

        def __init__(self) -> None:
            self.screen = Screen()

        def write(self, text: str) -> int:
            self.screen.feed(text)
            return len(text)

        def flush(self) -> None:
            """Nothing is kept back."""

        def fileno(self) -> int:
            raise OSError

    monkeypatch.setattr(os, "isatty", lambda number: True)
    monkeypatch.setenv("TERM", "xterm")
    file: Any = File()
    with redirect_stdout(file), redirect_stderr(file):
        block = LiveBlock(file, lambda columns: ["a first line that is longer than the answer " * 2, "a second one"])
        block.start()
        with StopRequest().listening():
            signal.raise_signal(signal.SIGINT)
        file.write("^C" + written[0])
        block.draw()
        assert file.screen.lines[:3] == ["^C", ANSWER, ""]
        assert file.screen.lines[4:] == ["a second one"]
        block.stop()
        assert sys.stdout is file
