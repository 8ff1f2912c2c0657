"""Options of games of PettingZoo."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from maze_core import require

RANDOM = "random"
"""The opponent that chooses among the valid actions with equal probability."""


class Reward(Enum):
    """Whose reward is learned from: that of one agent, or the sum over all, who then act as a team."""

    agent = "agent"
    sum = "sum"


@dataclass(kw_only=True)
class PettingZooConfig:
    """A game of PettingZoo: one agent learns against the others, or all learn as a team."""

    name: str = "classic/tictactoe_v3"
    """Family and name of the game, such as classic/connect_four_v3."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the game, such as ``env.kwargs.num_actions=5`` for classic/rps_v2."""

    reward: Reward = Reward.agent
    """agent: one agent decides, and its reward counts; sum: all decide, and the sum of their rewards counts."""

    agent: str | None = None
    """Who learns with reward=agent; null is the first agent of the game."""

    opponent: str = RANDOM
    """Who plays the other agents with reward=agent: random, or the file of an exported policy."""

    opponent_sha256: str | None = None
    """SHA-256 of the opponent's file; it is filled in when a run starts, and another file is then refused."""

    max_env_steps: int | None = None
    """Env steps after which an episode is truncated; null leaves that to the game."""

    def __post_init__(self) -> None:
        require(self, "name", bool(self.name.strip()), "family and name of a game, such as classic/tictactoe_v3")
        alone = self.reward is Reward.agent
        require(self, "agent", alone or self.agent is None, "null with reward=sum, where all agents learn")
        require(self, "opponent", bool(self.opponent.strip()), "random, or the file of an exported policy")
        team = "random with reward=sum, where nobody is an opponent"
        require(self, "opponent", alone or self.opponent == RANDOM, team)
        n = self.max_env_steps
        require(self, "max_env_steps", n is None or 1 <= n <= 10**9, "null, or a whole number from 1 to 1000000000")
