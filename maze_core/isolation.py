"""Keeps the process as it was while a plugin is imported and its hooks are called.

What a plugin changes of the process is undone and noted, and one that hangs is given up. Nothing is done about
environment variables, threads, files, and modules that it changes. A plugin that calls ``os._exit``, or crashes in C,
ends the process; that cannot be survived.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from maze_core.locks import GENERATORS

RETRY_S = 0.5
"""Seconds after which a plugin that swallowed `PluginTimeout` is interrupted again."""

MAX_TRIES = 5
"""Interruptions that a plugin may swallow before the program ends."""

MAX_WAITS = 30
"""How often a plugin that goes on importing gets its time once more."""

CANNOT_GO_ON = 2

_replaced: list[object] = []
"""Streams that plugins put in place of standard ones: to forget one would close what it wraps."""


class PluginTimeout(BaseException):
    """A plugin takes too long. It is no `Exception`, so that hardly any plugin catches it by accident."""


@dataclass(frozen=True)
class _Part:
    """A part of the process's state.

    Args:
        name: What a note calls it.
        read: Returns it; None where it does not exist yet.
        put_back: Makes it what it was. Given None, it undoes what may have been done to what is new.
    """

    name: str
    read: Callable[[], Any]
    put_back: Callable[[Any], None]


@contextlib.contextmanager
def isolated(name: str, notes: list[str], seconds: float) -> Iterator[None]:
    """Loads a plugin inside; afterwards the process is as before, and what was printed is on stderr.

    In the main thread a plugin that hangs in Python, sleeps or waits is interrupted, and so is one that swallows
    that; where it does so again and again, the program ends with a message. Code in C that does not return cannot be
    interrupted. In other threads there are no signals, so nothing ends a plugin that hangs, and all who need torch's
    generators wait with it; and no handler of a signal can change there.

    Args:
        name: What a message calls the plugin.
        notes: Gets a sentence on what the plugin changed.
        seconds: How long it may take without importing anything more: a large package on a slow disk takes
            its time, and does not hang.

    Raises:
        PluginTimeout: If it takes longer.
    """
    with GENERATORS, _stdout_is_stderr():
        before, changed = _state(), list[str]()
        try:
            with _limited(name, changed, seconds):
                yield
        finally:
            for part, value in before:
                _undo(part, value, changed, notes)
            if changed:
                notes.append(f"it changed {', '.join(changed)}; that was undone")


def _state() -> list[tuple[_Part, Any]]:
    found: list[tuple[_Part, Any]] = []
    for part in _parts():
        with contextlib.suppress(Exception):  # what cannot be read cannot be put back
            found.append((part, part.read()))
    return found


def _undo(part: _Part, value: Any, changed: list[str], notes: list[str]) -> None:
    try:
        same = part.read() == value
    except Exception:  # a plugin may put anything there
        same = False
    if same and value is not None:
        return
    try:
        part.put_back(value)
    except Exception:
        notes.append(f"it changed {part.name}, and that could not be undone")
        return
    if value is not None:
        changed.append(part.name)


def _parts() -> list[_Part]:
    parts = [
        _Part("the current directory", _folder, lambda folder: None if folder is None else os.chdir(folder)),
        _Part("the state of random", random.getstate, random.setstate),
        _Part("NumPy's random state", _numpy_state, _set_numpy_state),
        _Part("torch's random state", _torch_state, _set_torch_state),
        _Part("torch's default dtype", _torch_dtype, _set_torch_dtype),
        *(_list_part(name) for name in ("path", "argv")),
        *(_stream_part(name) for name in ("stdout", "stderr")),
    ]
    return [*parts, _Part("signal handlers", _handlers, _set_handlers)] if _in_main_thread() else parts


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  # light, and a string
    except OSError:  # it was removed
        return None


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not signal.getsignal(number) and handler is not None:  # None: not installed from Python
            signal.signal(number, handler)


def _loaded(module: str, needed: str) -> Any:
    """A module that is imported, as far as `needed`; else None."""
    found = sys.modules.get(module)
    return found if hasattr(found, needed) else None


def _numpy_state() -> bytes | None:
    generators = _loaded("numpy.random", "get_state")
    return None if generators is None else pickle.dumps(generators.get_state(legacy=False))


def _set_numpy_state(state: bytes | None) -> None:
    generators = _loaded("numpy.random", "get_state")
    if state is not None:
        generators.set_state(pickle.loads(state))  # of this process
    elif generators is not None:
        generators.seed()  # from the operating system, as when it was imported


def _torch_state() -> bytes | None:
    torch = _loaded("torch", "default_generator")
    return None if torch is None else torch.default_generator.get_state().numpy().tobytes()


def _set_torch_state(state: bytes | None) -> None:
    torch = _loaded("torch", "default_generator")
    if state is not None:
        torch.default_generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    elif torch is not None:
        torch.default_generator.seed()  # as when it was imported


def _torch_dtype() -> str:
    torch = _loaded("torch", "get_default_dtype")
    return "torch.float32" if torch is None else str(torch.get_default_dtype())


def _set_torch_dtype(name: str) -> None:
    torch = _loaded("torch", "get_default_dtype")
    torch.set_default_dtype(getattr(torch, name.removeprefix("torch.")))


def _list_part(name: str) -> _Part:
    """A list of `sys`: the same one with the same content."""

    def put_back(value: tuple[list[str], list[str]]) -> None:
        entries, content = value
        entries[:] = content
        setattr(sys, name, entries)

    return _Part(f"sys.{name}", lambda: (getattr(sys, name), list(getattr(sys, name))), put_back)


def _stream_part(name: str) -> _Part:
    def put_back(stream: object) -> None:
        _replaced.append(getattr(sys, name, None))
        setattr(sys, name, stream)

    return _Part(f"sys.{name}", lambda: getattr(sys, name), put_back)


@contextlib.contextmanager
def _stdout_is_stderr() -> Iterator[None]:
    """What is written to stdout goes to stderr, also by other programs and by code in C."""
    out, real = sys.stdout, sys.__stdout__
    _flush(out, real)
    copy = _point_to_stderr(real)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = out
        _flush(out, real)
        if copy is not None:
            os.dup2(copy, 1)
            os.close(copy)


def _flush(*streams: Any) -> None:
    for stream in streams:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # gone, closed, none
            stream.flush()


def _point_to_stderr(real: Any) -> int | None:
    """Makes the descriptor 1 write to stderr, and returns a copy of what it was; None if it is not stdout."""
    try:
        if real.fileno() != 1:
            return None
        copy = os.dup(1)
    except (OSError, ValueError, AttributeError):
        return None
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    return copy


class _Alarm:
    """Handler of the signal that says that a plugin took too long."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.armed, self.tries, self._seconds = name, True, 0, seconds
        self._waits, self._n_modules = 0, len(sys.modules)
        self._tracer = sys.gettrace()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Interrupts the plugin."""
        if not self.armed or self._goes_on_importing():
            return
        self.tries += 1
        if self.tries > MAX_TRIES:
            self._end()
        if self.tries > 1:
            self._interrupt_the_handler(frame)
        raise PluginTimeout

    def _goes_on_importing(self) -> bool:
        before, self._n_modules = self._n_modules, len(sys.modules)
        if self.tries or self._n_modules <= before or self._waits == MAX_WAITS:
            return False
        self._waits += 1
        signal.setitimer(signal.ITIMER_REAL, self._seconds, RETRY_S)
        return True

    def _interrupt_the_handler(self, frame: FrameType | None) -> None:
        """The plugin swallows what is raised, so it is raised again at the first line that handles it."""
        sys.settrace(self._raise)
        while frame is not None:
            frame.f_trace = self._raise
            frame = frame.f_back

    def _raise(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line" and self.armed:
            raise PluginTimeout
        return self._raise

    def _end(self) -> None:
        message = f"maze: plugin {self.name!r} does not end although it is interrupted. Next: MAZE_DISABLE_PLUGINS="
        os.write(2, f"{message}{self.name}\n".encode(errors="replace"))
        os._exit(CANNOT_GO_ON)

    def end(self) -> None:
        """From now on it interrupts nothing."""
        self.armed = False
        if self.tries > 1:
            sys.settrace(self._tracer)


@contextlib.contextmanager
def _limited(name: str, changed: list[str], seconds: float) -> Iterator[None]:
    """Interrupts what takes longer; afterwards the timer and its handler are those of before."""
    if not _in_main_thread() or not hasattr(signal, "setitimer") or signal.getsignal(signal.SIGALRM) is None:
        yield
        return
    alarm, started = _Alarm(name, seconds), time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    handler = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds, RETRY_S)
    try:
        try:
            yield
        finally:
            alarm.end()  # twice, since the alarm may go off right before
    finally:
        alarm.end()
        signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.signal(signal.SIGALRM, handler) is not alarm:
            changed.append("the handler of SIGALRM")
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 1e-3), interval)
