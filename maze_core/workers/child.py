"""What a worker does: it answers one message after the other, until its parent is gone."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle
import numpy as np
import torch
from numpy.typing import NDArray

from maze_core.build import build_workspace
from maze_core.errors import EnvFaultError
from maze_core.rl.replay import repeat_episodes
from maze_core.rl.spaces import any_member, arrays_of, repeat, same_rows, with_arrays
from maze_core.rl.vector_env import CONSTRUCTED, InProcessVectorEnv
from maze_core.workers.channel import Channel, closed_after
from maze_core.workers.process import CALLS, CONSTRUCTS, IDLE, PROGRESS
from maze_core.workers.shared import Layout, shared_arrays
from maze_core.workspace import EnvWorkspace

LOG = logging.getLogger("maze")


def main(parent: int, connection: int, memory: int) -> None:
    """Runs a worker; does not return.

    Args:
        parent: Number of the parent process.
        connection: Descriptor of the socket to it.
        memory: Descriptor of the progress that it watches.
    """
    for file in (connection, memory):
        os.set_inheritable(file, False)
    (progress,) = shared_arrays(memory, PROGRESS)
    os.close(memory)
    if sys.platform != "linux":
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    channel = Channel(socket.socket(fileno=connection))
    notes = _Notes()
    LOG.addHandler(notes)
    LOG.propagate = False
    blueprint = cloudpickle.loads(channel.receive()[0])  # the socket has no name: only the parent writes to it
    worker, own, code = _Requests(_announcer(progress), blueprint), os.getpid(), 0
    try:
        while True:
            message, files = channel.receive()
            answer = _answer(worker, message, files, notes)
            if os.getpid() != own:
                os._exit(0)  # a process that an env forked, and let go on here
            progress[1] = IDLE
            if answer is not None:
                channel.send(answer)
    except (EOFError, OSError):  # the parent is gone, or wants nothing any more
        worker.close_all()
    except BaseException:
        traceback.print_exc()
        code = 1
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue


def _end_with(parent: int) -> None:
    """Where the kernel does not see to it that a worker dies with its parent."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _announcer(progress: NDArray[np.int64]) -> Callable[[int, int | None, int], None]:
    def announce(env: int, seed: int | None, step: int) -> None:
        progress[2:] = env, -1 if seed is None else seed, step
        progress[1] = CONSTRUCTS if step == CONSTRUCTED else CALLS
        progress[0] += 1

    return announce


def _answer(worker: _Requests, message: bytes | bytearray, files: Sequence[int], notes: _Notes) -> bytes | None:
    """Whether a request was fulfilled, its result or the error with its traceback, and notes; None if nobody waits."""
    try:
        name, *arguments = cloudpickle.loads(message)  # from the parent, as above
        result = getattr(worker, name)(*arguments, *files)
        try:
            return None if name == "close" else pickle.dumps((True, result, notes.taken()))
        except Exception as error:
            raise EnvFaultError(
                f"what an env told cannot be sent from its worker: {error}. Use numbers and text in its infos, or "
                "runner.n_workers=0."
            ) from error
    except (Exception, SystemExit) as error:
        text = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(error))  # our own bytes: whether the parent could read them
            assert isinstance(error, Exception)
        except Exception:
            error = EnvFaultError(f"{type(error).__name__}: {error}")
        return pickle.dumps((False, (error, text), notes.taken()))
    finally:
        closed_after(files)


class _Notes(logging.Handler):
    """Keeps what is logged, for the parent to tell."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append((record.levelno, record.getMessage()))

    def taken(self) -> list[tuple[int, str]]:
        kept, self._kept = self._kept, []
        return kept


class _Requests:
    """The requests that a worker fulfils; each method is one.

    Args:
        announce: Is told before each call of an env.
        blueprint: What to build.
    """

    def __init__(self, announce: Callable[[int, int | None, int], None], blueprint: Any) -> None:
        self._announce, self._blueprint = announce, blueprint
        self._workspace: EnvWorkspace | None = None
        self._slices: dict[int, _Slice] = {}

    def build(self) -> None:
        """Builds envs and policy."""
        registry, config = self._blueprint.load()
        config.runner.device = "cpu"  # others compute in the main process
        self._workspace = build_workspace(registry, config)
        self._workspace.factory.announce = self._announce

    def run(self, function: Callable[[Any, Any], Any], task: Any, weights: Any) -> Any:
        """Executes a task, after taking over the policy's weights."""
        assert self._workspace is not None
        self._workspace.load_weights({name: torch.from_numpy(array) for name, array in weights.items()})
        return function(self._workspace, task)

    def open(self, number: int, training: bool, first: int, count: int, total: int, layout: Layout, file: int) -> None:
        """Makes a part of a vector env, which from now on is known by a number."""
        assert self._workspace is not None
        if number in self._slices:
            self._slices.pop(number).env.close()
        env = self._workspace.factory.base(count, training, first, total)
        assert isinstance(env, InProcessVectorEnv)
        self._slices[number] = _Slice(env, slice(first, first + count), shared_arrays(file, layout))

    def step(self, number: int, buffer: int) -> Any:
        """Steps the envs of a part."""
        return self._slices[number].step(buffer)

    def reset(self, number: int, buffer: int, seeds: Any, options: dict[str, Any]) -> Any:
        """Resets some of them."""
        return self._slices[number].reset(buffer, seeds, options)

    def repeat(self, number: int, buffer: int, ages: Any, seeds: Any, actions: Any, rewards: Any) -> Any:
        """Repeats the episodes of a part that another process had; returns which are as they were, [n]."""
        return self._slices[number].repeat(buffer, ages, seeds, actions, rewards)

    def close(self, number: int) -> None:
        """Closes a part; nobody waits for it."""
        if number in self._slices:
            try:
                self._slices.pop(number).env.close()
            except Exception as error:
                LOG.warning("an env raised %s when it was closed: %s", type(error).__name__, error)

    def close_all(self) -> None:
        """Closes all envs, at the end."""
        for number in list(self._slices):
            self.close(number)
        if self._workspace is not None:
            with contextlib.suppress(Exception):
                self._workspace.close()


class _Slice:
    """Some of the envs of a vector env, [n], and the arrays of all of them, [B, ...].

    Args:
        env: Steps them.
        rows: Which of them they are.
        arrays: What the parent sees, in the order of `maze_core.workers.vector_env.WorkerVectorEnv`.
    """

    def __init__(self, env: InProcessVectorEnv, rows: slice, arrays: Sequence[NDArray[Any]]) -> None:
        self.env = env
        self._action_like = repeat(any_member(env.single_action_space), env.num_envs)
        own = [array[rows] for array in arrays]
        self._rewards, self._terminated, self._truncated = own[:3]
        n_actions = len(arrays_of(self._action_like))
        self._actions = with_arrays(self._action_like, iter(own[3 : 3 + n_actions]))
        rest = own[3 + n_actions :]
        self._observations = rest[: len(rest) // 2], rest[len(rest) // 2 :]

    def step(self, buffer: int) -> dict[str, Any]:
        if self.env.all_idle:  # perhaps never reset, and so nothing to observe
            self._rewards[:], self._terminated[:], self._truncated[:] = 0.0, False, False
            for shown, before in zip(self._observations[buffer], self._observations[1 - buffer], strict=True):
                shown[...] = before
            return {}
        observation, rewards, terminated, truncated, infos = self.env.step(self._actions)
        self._rewards[:], self._terminated[:], self._truncated[:] = rewards, terminated, truncated
        self._show(buffer, observation)
        return infos

    def reset(self, buffer: int, seeds: Any, options: dict[str, Any]) -> dict[str, Any]:
        observation, infos = self.env.reset(seed=seeds, options=options)
        self._show(buffer, observation)
        return infos

    def _show(self, buffer: int, observation: Any) -> None:
        for shown, leaf in zip(self._observations[buffer], arrays_of(observation), strict=True):
            shown[...] = leaf

    def repeat(self, buffer: int, ages: Any, seeds: Any, actions: Any, rewards: Any) -> NDArray[np.bool_]:
        batches = [
            with_arrays(self._action_like, iter([leaf[step] for leaf in actions])) for step in range(len(rewards))
        ]
        observation, same, got = repeat_episodes(self.env, ages, seeds, batches)
        for step, (now, before) in enumerate(zip(got, rewards, strict=True)):
            begun = ages >= len(rewards) - step
            same &= ~begun | same_rows(now, before)
        if same.any():
            for leaf, shown in zip(arrays_of(observation), self._observations[buffer], strict=True):
                same &= same_rows(leaf, shown)
        return same
