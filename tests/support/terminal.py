"""A small terminal: what a person sees after some text was written to it."""

from __future__ import annotations

import os
import re
import threading
from types import TracebackType
from typing import TextIO

TOKEN = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|[^\x1b]")


class Screen:
    """Obeys the few codes that a live view uses; any other is an error.

    Args:
        columns: Of the terminal.
        rows: Of the terminal; what scrolls out of it is kept.
    """

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self._lines: list[list[str]] = [[]]
        self._row = self._column = 0
        self.wraps = True

    def feed(self, text: str) -> None:
        for match in TOKEN.finditer(text):
            private, numbers, letter = match.groups()
            if letter is None:
                self._put(match.group())
            elif private:
                assert numbers in ("7", "2026"), match.group()
                self.wraps = letter == "h" if numbers == "7" else self.wraps
            elif letter == "A":
                assert int(numbers) < self.rows, "it would go out of the terminal"
                self._row -= int(numbers)
            elif letter == "J":
                assert numbers == ""
                del self._lines[self._row + 1 :], self._lines[self._row][self._column :]
            else:
                assert letter == "m", match.group()

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row, self._column = self._row + 1, 0
            if self._row == len(self._lines):
                self._lines.append([])
        else:
            if self._column == self.columns:
                if not self.wraps:
                    return
                self._put("\n")
            line = self._lines[self._row]
            line += " " * (self._column + 1 - len(line))
            line[self._column] = character
            self._column += 1

    @property
    def lines(self) -> list[str]:
        """All that was ever seen and not taken away, without empty lines at the end."""
        return "\n".join("".join(line).rstrip() for line in self._lines).rstrip("\n").split("\n")


class Terminal:
    """A terminal of this machine, whose text is collected: ``with Terminal() as terminal``.

    Attributes:
        file: What a program writes to.
    """

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.file: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self._received: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # nobody has it open any more
                return
            if not data:
                return
            self._received.append(data)

    def __enter__(self) -> Terminal:
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        self._reader.join()
        os.close(self._master)

    @property
    def text(self) -> str:
        """All that was written, when the program is done with it."""
        return b"".join(self._received).decode().replace("\r\n", "\n")
