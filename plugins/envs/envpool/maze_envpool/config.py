"""Options of EnvPool's environments."""

from dataclasses import dataclass, field
from typing import Any

from maze_core import require


@dataclass(kw_only=True)
class EnvPoolConfig:
    """An environment that EnvPool computes in C++, many copies at once."""

    name: str = "LunarLander-v3"
    """EnvPool's id of the environment."""

    n_threads: int = 1
    """Threads that step the copies of a vector env; more are worth it for slow envs on free cores."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """Further options of this environment, such as ``env.kwargs.max_episode_steps=500``."""

    def __post_init__(self) -> None:
        require(self, "name", bool(self.name.strip()), "the id of an env of EnvPool, such as LunarLander-v3")
        require(self, "n_threads", 1 <= self.n_threads <= 1024, "a whole number from 1 to 1024")
