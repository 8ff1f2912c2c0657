"""Env `faulty`: a random walk that goes wrong at one step of one episode, in whatever way is asked for."""

import ctypes
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class FaultyConfig:
    """A walk of 8 to 16 steps whose reward is minus the distance."""

    fault: str = ""
    """What goes wrong, a key of `FAULTS`; empty for nothing."""

    where: str = "step"
    """Where: constructor, reset or step."""

    once: str = ""
    """A file that is made just before; if it is there, nothing goes wrong. Empty: it always does."""

    spare: int = 0
    """Number of a process in which nothing goes wrong."""

    at: int = 3
    """In which step of an episode."""

    sleep_ms: float = 0.0
    """How long a step sleeps."""

    compute_ms: float = 0.0
    """How long a step computes."""

    odd_infos: bool = False
    """Whether its infos cannot be sent anywhere."""

    closed: str = ""
    """A folder where each env leaves a file when it is closed."""

    constructor_s: float = 0.0
    """How long its constructor takes."""

    drifts: bool = False
    """Whether it moves by chance that no seed determines."""


def hold_the_lock() -> None:
    ctypes.PyDLL(None).sleep(1000)  # a C call that does not let other threads run


def loop() -> None:
    while True:
        pass


def fill_the_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    bytearray(2**34)


def write_much() -> None:
    for _ in range(1000):
        os.write(1, b"x" * 10**6)


def raise_error() -> None:
    raise RuntimeError("told to")


FAULTS = {
    "raise": raise_error,
    "exit": lambda: sys.exit(3),
    "hard_exit": lambda: os._exit(7),
    "segfault": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "sleep": lambda: time.sleep(1000),
    "loop": loop,
    "hold_the_lock": hold_the_lock,
    "write_much": write_much,
    "fill_the_memory": fill_the_memory,
    "close_files": lambda: (os.closerange(3, 1000), time.sleep(1000)),
}


def go_wrong(config, where):
    if not config.fault or config.where != where or os.getpid() == config.spare:
        return
    if config.once:
        try:
            Path(config.once).touch(exist_ok=False)
        except FileExistsError:
            return
    FAULTS[config.fault]()


def make(config):
    import gymnasium
    import numpy as np

    class Walk(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        action_space = gymnasium.spaces.Discrete(3)

        def __init__(self):
            time.sleep(config.constructor_s)
            go_wrong(config, "constructor")

        def close(self):
            if config.closed:
                (Path(config.closed) / f"{os.getpid()}-{id(self)}").touch()

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.position, self.steps = self.np_random.normal(size=2).astype(np.float32), 0
            self.length = int(self.np_random.integers(8, 17))
            go_wrong(config, "reset")
            return self.position.copy(), {}

        def info(self):
            return {"odd": lambda: None} if config.odd_infos else {}

        def step(self, action):
            if self.steps == config.at:
                go_wrong(config, "step")
            time.sleep(config.sleep_ms / 1000)
            end = time.perf_counter() + config.compute_ms / 1000
            while time.perf_counter() < end:
                pass
            self.position += self.np_random.normal(size=2).astype(np.float32)
            self.position[0] += action - 1
            if config.drifts:
                self.position[1] += int.from_bytes(os.urandom(1)) / 256
            self.steps += 1
            return (
                self.position.copy(),
                -float(np.abs(self.position).sum()),
                self.steps == self.length,
                False,
                self.info(),
            )

    return Walk()


@hookimpl
def maze_envs():
    yield EnvSpec(name="faulty", summary="Goes wrong.", config=FaultyConfig, build=make)
