"""Signals that ask a run to end: it finishes what it is at, unless it is asked twice."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class StopRequest:
    """Remembers the signal that asked the run to end.

    Args:
        answer: What is told then.
    """

    def __init__(self, answer: str = "ending after this update") -> None:
        self.signal: int | None = None
        self._answer = f"maze: {answer}; the same again ends at once\n".encode()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes over the signals that ask a program to end, but for those that are ignored.

        A second one acts at once. Outside the main thread: nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

        def request(number: int, frame: FrameType | None) -> None:
            self.signal = number
            os.write(2, _new_line() + self._answer)
            for other, handler in before.items():
                signal.signal(other, handler)

        for number in before:
            signal.signal(number, request)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _new_line() -> bytes:
    """Goes behind the ^C of a terminal, and takes away what stands below it."""
    if not os.isatty(2):
        return b""
    return b"\n" if os.environ.get("TERM", "dumb") in ("dumb", "unknown") else b"\n\x1b[J"
