"""Locks that processes share with what they fork, as little as that may be."""

from __future__ import annotations

import os
import threading


class ForkLock:
    """A lock that a thread may take again, and that is free in a process that was forked while another thread had it.

    With `threading.RLock` that process would wait for a thread that it does not have.
    """

    def __init__(self) -> None:
        self._new()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _new(self) -> None:
        self._lock, self._holder, self._depth = threading.RLock(), 0, 0

    def _renew(self) -> None:
        if self._holder != threading.get_ident():
            self._new()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._holder = threading.get_ident()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._holder = 0
        self._lock.release()


GENERATORS = ForkLock()
"""Held while torch's generators are lent, and while a plugin is loaded: what a thread that borrows them does would seem
to be the plugin's doing, and be undone. What other code draws from global generators meanwhile still does.
"""
