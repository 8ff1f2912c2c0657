"""What a worker does with messages, wherever it is: it builds a workspace, runs tasks and steps envs in it."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import platform
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle
import numpy as np
import torch
from numpy.typing import NDArray

from maze_core.blueprint import Blueprint
from maze_core.build import build_workspace
from maze_core.errors import EnvFaultError
from maze_core.rl.replay import repeat_episodes
from maze_core.rl.spaces import any_member, arrays_of, repeat, same_rows, with_arrays
from maze_core.rl.vector_env import CONSTRUCTED, InProcessVectorEnv
from maze_core.workers.host import CALLS, CONSTRUCTS, IDLE
from maze_core.workers.shared import Layout, shared_arrays
from maze_core.workspace import EnvWorkspace

LOG = logging.getLogger("maze")


class Responder:
    """Answers messages of a pool, one after the other, and keeps what it says of its progress up to date.

    Args:
        hello: The blueprint, pickled by the process whose pool it is.
        progress: A `maze_core.workers.host.Progress` as an array, [5].
        folder: Where the content of the blueprint's folder lies here; None for there.
    """

    def __init__(self, hello: bytes | bytearray, progress: NDArray[np.int64], folder: str | None = None) -> None:
        self._notes, self._progress, self._own = _Notes(), progress, os.getpid()
        LOG.addHandler(self._notes)
        LOG.propagate = False
        blueprint: Blueprint = cloudpickle.loads(hello)  # from the process that started this one for itself
        self._requests = Requests(_announcer(progress), blueprint if folder is None else blueprint.moved(folder))

    def answer(self, message: bytes | bytearray, files: Sequence[int] = (), common: Any = None) -> bytes | None:
        """Whether a request was fulfilled, its result or the error with its traceback, and notes; None if nobody waits.

        Args:
            message: A pickled tuple, the name of the request and its arguments, from the process whose pool it is.
            files: Descriptors that follow them.
            common: What follows these, pickled; None for nothing.
        """
        try:
            name, *arguments = cloudpickle.loads(message)  # from the same process, and so is what is common
            shared = [] if common is None else [pickle.loads(common)]
            result = getattr(self._requests, name)(*arguments, *files, *shared)
            try:
                return None if name == "close" else pickle.dumps((True, result, self._notes.taken()))
            except Exception as error:
                raise EnvFaultError(
                    f"what an env told cannot be sent from its worker: {error}. Use numbers and text in its infos, or "
                    "runner.n_workers=0."
                ) from error
        except (Exception, SystemExit) as error:
            text = traceback.format_exc()
            try:
                pickle.loads(pickle.dumps(error))  # our own bytes: whether the other end could read them
                assert isinstance(error, Exception)
            except Exception:
                error = EnvFaultError(f"{type(error).__name__}: {error}")
            return pickle.dumps((False, (error, text), self._notes.taken()))
        finally:
            if os.getpid() == self._own:  # not in a process that an env forked
                self._progress[1] = IDLE

    def close(self) -> None:
        """Closes all envs."""
        self._requests.close_all()


def _announcer(progress: NDArray[np.int64]) -> Callable[[int, int | None, int], None]:
    def announce(env: int, seed: int | None, step: int) -> None:
        progress[2:] = env, -1 if seed is None else seed, step
        progress[1] = CONSTRUCTS if step == CONSTRUCTED else CALLS
        progress[0] += 1

    return announce


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


class Requests:
    """The requests that a worker fulfils; each method is one.

    Args:
        announce: Is told before each call of an env.
        blueprint: What to build.
    """

    def __init__(self, announce: Callable[[int, int | None, int], None], blueprint: Blueprint) -> None:
        self._announce, self._blueprint = announce, blueprint
        self._workspace: EnvWorkspace | None = None
        self._slices: dict[int, _Slice] = {}

    def build(self) -> None:
        """Builds envs and policy."""
        differences = self._blueprint.check()
        if differences:
            LOG.warning(
                "a worker on %s has %s: the last bits of results may differ.", platform.node(), ", ".join(differences)
            )
        registry, config = self._blueprint.load()
        config.runner.device = "cpu"  # others compute in the main process
        self._workspace = build_workspace(registry, config)
        self._workspace.factory.announce = self._announce

    def run(self, function: Callable[[Any, Any], Any], task: Any, weights: Any) -> Any:
        """Executes a task, after taking over the policy's weights."""
        assert self._workspace is not None
        self._workspace.load_weights({name: torch.from_numpy(array) for name, array in weights.items()})
        return function(self._workspace, task)

    def open(
        self, number: int, training: bool, first: int, count: int, total: int,
        held: Layout | Sequence[NDArray[Any]], file: int | None = None,
    ) -> None:  # fmt: skip
        """Makes a part of a vector env, which from now on is known by a number.

        Args:
            number: Its number.
            training: Whether its envs are wrapped for training.
            first: Number of the first of its envs.
            count: How many envs it has.
            total: How many the whole has.
            held: Layout of the arrays in shared memory, or the rows of this part, in the order of
                `maze_core.workers.vector_env.WorkerVectorEnv`.
            file: Descriptor of that memory.
        """
        assert self._workspace is not None
        if number in self._slices:
            self._slices.pop(number).env.close()
        env = self._workspace.factory.base(count, training, first, total)
        assert isinstance(env, InProcessVectorEnv)
        if file is None:
            own = [np.array(array) for array in held]
        else:
            own = [array[first : first + count] for array in shared_arrays(file, held)]  # type: ignore[arg-type]
        self._slices[number] = _Slice(env, own, tells=file is None)

    def step(self, number: int, buffer: int, *actions: Any) -> Any:
        """Steps the envs of a part, with the actions that are given or lie in shared memory."""
        return self._slices[number].step(buffer, actions)

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
    """Some of the envs of a vector env, [n].

    Args:
        env: Steps them.
        arrays: What the pool's process sees of them, [n, ...], in the order of
            `maze_core.workers.vector_env.WorkerVectorEnv`; or, if that is to be told, a copy.
        tells: Whether it is.
    """

    def __init__(self, env: InProcessVectorEnv, arrays: Sequence[NDArray[Any]], tells: bool) -> None:
        self.env, self._tells = env, tells
        self._action_like = repeat(any_member(env.single_action_space), env.num_envs)
        self._outcome = arrays[:3]
        n_actions = len(arrays_of(self._action_like))
        self._actions = with_arrays(self._action_like, iter(arrays[3 : 3 + n_actions]))
        rest = arrays[3 + n_actions :]
        self._observations = rest[: len(rest) // 2], rest[len(rest) // 2 :]

    def step(self, buffer: int, actions: Sequence[NDArray[Any]]) -> tuple[dict[str, Any], Any]:
        for own, given in zip(arrays_of(self._actions), actions, strict=bool(actions)):
            own[...] = given
        if self.env.all_idle:  # perhaps never reset, and so nothing to observe
            for shown in self._outcome:
                shown[:] = 0
            for shown, before in zip(self._observations[buffer], self._observations[1 - buffer], strict=True):
                shown[...] = before
            return {}, self._told(buffer)
        observation, *outcome, infos = self.env.step(self._actions)
        for shown, value in zip(self._outcome, outcome, strict=True):
            shown[:] = value
        return infos, self._shown(buffer, observation)

    def reset(self, buffer: int, seeds: Any, options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        observation, infos = self.env.reset(seed=seeds, options=options)
        return infos, self._shown(buffer, observation)

    def _shown(self, buffer: int, observation: Any) -> Any:
        for shown, leaf in zip(self._observations[buffer], arrays_of(observation), strict=True):
            shown[...] = leaf
        return self._told(buffer)

    def _told(self, buffer: int) -> Any:
        """Rewards, flags and observations, where they do not lie in shared memory."""
        return [*self._outcome, *self._observations[buffer]] if self._tells else None

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
