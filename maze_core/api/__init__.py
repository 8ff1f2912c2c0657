"""Training and running policies from Python; the command line is a thin layer over this."""

from maze_core.api.context import RunContext
from maze_core.api.exports import export
from maze_core.api.rollouts import RolloutResult, rollout

__all__ = ["RolloutResult", "RunContext", "export", "rollout"]
