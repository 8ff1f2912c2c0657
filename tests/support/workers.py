"""Runs with workers, and the check that none is left."""

from __future__ import annotations

import gc
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maze_core.api import RunContext
from maze_core.workers.forked import start_process
from maze_core.workers.process import ONE_THREAD

FAULTY = Path(__file__).parents[1] / "data" / "faulty"
"""A folder for ``--plugin``; see the docstring of its maze_plugins.py."""

ENV_FIELDS = (
    "fault", "where", "once", "at", "spare", "sleep_ms", "compute_ms", "drifts", "odd_infos", "closed", "constructor_s",
)  # fmt: skip
SIZES = {
    "es": {"algorithm.n_rollouts_per_update": 12, "runner.n_epochs": 2},
    "ppo": {"algorithm.n_envs": 8, "algorithm.n_rollout_steps": 16, "algorithm.epoch_length": 1, "runner.n_epochs": 2},
    "a2c": {"algorithm.n_envs": 8, "algorithm.epoch_length": 4, "runner.n_epochs": 2},
}
"""Overrides of a run of some ten milliseconds, by algorithm."""


def weights_hash(context: RunContext) -> str:
    """A number for all weights of a policy, bit for bit."""
    tensors = context.policy.state_dict()
    content = b"".join(name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(tensors.items()))
    return hashlib.sha256(content).hexdigest()


def faulty(
    algorithm: str, n_workers: int = 0, run_dir: Path = Path("run"), *, place: str = "local", **options: Any
) -> RunContext:
    """A run on env `faulty`.

    Args:
        algorithm: es, ppo or a2c.
        n_workers: How many.
        run_dir: Its directory.
        place: The runner.
        options: Of the env, or else of the runner.
    """
    env = {name: value for name, value in options.items() if name in ENV_FIELDS}
    env |= {"spare": os.getpid() if n_workers else 0}
    runner = {f"runner.{name}": value for name, value in options.items() if name not in ENV_FIELDS}
    overrides = {
        **SIZES[algorithm], "runner.n_workers": n_workers, "runner.evaluation.n_episodes": 3,
        "model.hidden_sizes": [4], "run_dir": str(run_dir), **runner,
    }  # fmt: skip
    return RunContext(env={"faulty": env}, algorithm=algorithm, runner=place, callbacks=[], overrides=overrides, seed=3,
                      plugins=[str(FAULTY)], silent=True)  # fmt: skip


def trained(algorithm: str, **options: Any) -> str:
    """Trains as `faulty` says; returns `weights_hash` at the end."""
    with faulty(algorithm, **options) as context:
        context.train()
        return weights_hash(context)


def workers_of(parent: int | None = None) -> list[int]:
    """Numbers of the worker processes that a process has started, or all in which this test had a part."""
    found, parents = [], {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        name, (state, before) = stat[stat.index("(") + 1 : stat.rindex(")")], stat.rpartition(")")[2].split()[:2]
        parents[int(entry.name)] = int(before)
        if name == "maze-worker" and state != "Z" and (parent is not None or str(Path.cwd()) == _folder(entry)):
            found.append(int(entry.name))
    return [pid for pid in found if parent in (None, parents.get(parents[pid]))]


def _folder(process: Path) -> str:
    try:
        return str((process / "cwd").readlink())
    except OSError:
        return ""


def _open_memory_and_sockets() -> list[str]:
    names = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if "memfd:maze" in target or target.startswith("socket:"):
            names.append(target)
    return sorted(names)


@pytest.fixture
def no_worker_is_left() -> Iterator[None]:
    """After a test there are no more processes, sockets and shared memory than before, when workers can be forked."""
    start_process("", modules=(), name="first", environment=dict.fromkeys(ONE_THREAD, "1")).wait()
    before = _open_memory_and_sockets()
    shared = set(Path("/dev/shm").iterdir())
    yield
    deadline = time.monotonic() + 5
    while workers_of(os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers_of(os.getpid()) == []
    gc.collect()  # what an exception that was caught refers to
    left = _open_memory_and_sockets()
    assert left == before, (left, before)
    assert set(Path("/dev/shm").iterdir()) == shared


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until something is so.

    Raises:
        AssertionError: If it is not after so many seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never was so"
        time.sleep(0.02)
