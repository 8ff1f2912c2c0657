"""A few lines at the bottom of a terminal that stay in place while other text scrolls above them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Any

REFRESH_S, SETTLE_S = 1.0, 0.1
"""Seconds from one drawing to the next, and from other text to the next drawing."""

BEGIN, END = "\x1b[?2026h\x1b[?7l", "\x1b[?7h\x1b[?2026l"
"""Shown as a whole where a terminal can do that, with long lines cut; and back."""

ERASE = "\r\x1b[J"
ROWS_LEFT = 4
"""Rows of the terminal that are left to other text."""

Lines = Callable[[int], Sequence[str]]
"""From the number of columns to lines, which may have colour codes; longer ones are cut."""


class LiveBlock:
    """Draws lines at the bottom of a terminal, again and again, and takes them away when other text is written.

    Between two drawings the cursor stands on an empty line above them: so what others write, a signal's
    message for instance, comes above too, and a terminal that changes its width has nothing to repair. The
    cursor is never hidden, and nothing is to be restored if the process is killed. A thread draws once a
    second, so that time goes on while an update takes long. `sys.stdout` and `sys.stderr` are replaced
    meanwhile, by what takes the lines away first.

    Args:
        file: The terminal.
        lines: What is drawn.
    """

    def __init__(self, file: IO[str], lines: Lines) -> None:
        self._file, self._lines = file, lines
        self._lock = threading.RLock()
        self._drawn = self._open = False
        self._not_before = 0.0
        self._streams: dict[str, _Above] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="maze-live-block", daemon=True)

    def start(self) -> None:
        """Draws from now on."""
        for name in ("stdout", "stderr"):
            self._streams[name] = _Above(self, getattr(sys, name))
            setattr(sys, name, self._streams[name])
        self.draw()
        self._thread.start()

    def draw(self) -> None:
        """Draws now, unless somebody's line is not finished, or the process is in the background of a shell."""
        with self._lock:
            if self._open or self._stopped.is_set() or not in_foreground(self._file):
                return
            columns, rows = terminal_size(self._file)
            lines = list(self._lines(columns))[: max(1, rows - ROWS_LEFT)]
            if not lines:
                return
            below = "".join(f"\n{line}" for line in lines)
            self._file.write(f"{BEGIN}{ERASE}{below}\x1b[{len(lines)}A\r{END}")
            self._file.flush()
            self._drawn = True

    def erase(self) -> None:
        """Makes room for other text."""
        with self._lock:
            if self._drawn:
                self._file.write(ERASE)
                self._file.flush()
            elif self._open:
                self._file.write("\n")
            self._drawn = self._open = False
            self._not_before = time.monotonic() + SETTLE_S

    def write_above(self, stream: IO[str], text: str) -> int:
        """Writes somebody's text above the lines; they come back when its last line is complete."""
        with self._lock:
            if not self._open:
                self.erase()
            self._open = not text.endswith("\n") if text else self._open
            self._not_before = time.monotonic() + SETTLE_S
            written = stream.write(text)
            stream.flush()
            return written

    def stop(self) -> None:
        """Takes the lines away for good."""
        self._stopped.set()
        for name, stream in self._streams.items():
            if getattr(sys, name) is stream:
                setattr(sys, name, stream.target)
        if self._thread.is_alive():
            self._thread.join()
        self.erase()

    def _refresh(self) -> None:
        while not self._stopped.wait(REFRESH_S):
            try:
                if time.monotonic() >= self._not_before:
                    self.draw()
            except (OSError, ValueError):  # the terminal is gone
                return


class _Above:
    """Stands for a stream of text while a block is shown; what is forked off writes as always."""

    def __init__(self, block: LiveBlock, target: Any) -> None:
        self._block, self.target, self._process = block, target, os.getpid()

    def write(self, text: str) -> int:
        """Writes above the block."""
        if os.getpid() != self._process:
            return int(self.target.write(text))
        return self._block.write_above(self.target, text)

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self.target, name)


def terminal_size(file: IO[str]) -> tuple[int, int]:
    """Columns and rows of a terminal now; 80 and 24 if it does not know."""
    try:
        columns, rows = os.get_terminal_size(file.fileno())
    except (OSError, ValueError):
        return 80, 24
    return columns or 80, rows or 24


def in_foreground(file: IO[str]) -> bool:
    """Whether a terminal is this process's to write on; True where nobody else could have it."""
    try:
        return os.tcgetpgrp(file.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True
