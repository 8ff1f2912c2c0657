"""Options of Gymnasium environments."""

from dataclasses import dataclass, field
from typing import Any

from maze_core import require


@dataclass(kw_only=True)
class GymEnvConfig:
    """Any environment registered with Gymnasium."""

    name: str = "CartPole-v1"
    """Gymnasium id of the environment."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `gymnasium.make`, such as ``env.kwargs.continuous=true`` for LunarLander-v3."""

    rebuild_each_episode: bool | None = None
    """Whether the env is constructed anew for every episode, which then depends on its seed and
    actions only; null does so for the envs that are known to need it, such as BipedalWalker-v3."""

    def __post_init__(self) -> None:
        require(self, "name", bool(self.name.strip()), "the id of a Gymnasium env, such as CartPole-v1")
