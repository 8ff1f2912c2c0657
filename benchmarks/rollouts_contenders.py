"""Who runs a policy in the rollouts benchmark, and in which form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAIN = "saved"
"""Key of what `maze rollout` does by itself, which the bar is about."""


@dataclass(frozen=True, kw_only=True)
class Ours:
    """A form of `maze rollout`.

    Args:
        key: Its name, for `--skip`.
        title: Its name in the tables.
        groups: Options that it selects.
        fields: Values that it sets.
        save: Whether it writes files.
        times: How many times as many episodes as the others it runs, because they are short.
        n_cores: How many cores it may use.
    """

    key: str
    title: str
    groups: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    save: bool = True
    times: int = 1
    n_cores: int = 1


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """`evaluate_policy` with some vector env.

    Args:
        key: Its name, for `--skip`.
        title: Its name in the tables.
        arguments: Of `peers/sb3_rollouts.py`.
        n_cores: How many cores its processes may use together.
    """

    key: str
    title: str
    arguments: tuple[str, ...]
    n_cores: int = 1


OURS = (
    Ours(key=MAIN, title="Maze"),
    Ours(key="unsaved", title="Maze, save=False", save=False),
    Ours(key="trajectories", title="Maze, trajectories=true", fields={"trajectories": True}),
    Ours(key="random", title="Maze, policy=random", groups={"policy": "random"}, times=20),
)
DUMMY = tuple(
    Theirs(key=f"dummy-{n}", title=f"SB3, DummyVecEnv, {n} env{'s' * (n > 1)}", arguments=("--n-envs", str(n)))
    for n in (128, 64, 16, 8, 1)
)
BARE = Theirs(
    key="bare-128",
    title="SB3, DummyVecEnv, 128 envs, no Monitor",
    arguments=("--n-envs", "128", "--without-monitor"),
)
SUBPROC = Theirs(
    key="subproc-8",
    title="SB3, SubprocVecEnv, 8 envs, two cores",
    arguments=("--n-envs", "8", "--processes"),
    n_cores=2,
)
THEIRS = (BARE, *DUMMY, SUBPROC)
"""The fastest first, so that no time passes between Maze and them."""
CONTENDERS = (*OURS, *THEIRS)
N_ENVS_OF_PROCESSES = (16, 64, 100)
"""With how many envs stable-baselines3 runs where whole processes are timed; 100 is one for each episode."""
