"""Building blocks of reinforcement learning: pure functions and small classes, no plugin, no config."""

from maze_core.rl.actors import FLAT, Actor, Actors, StructuredEnv, Turn
from maze_core.rl.blocks import Dense, DenseModel, DenseSpec, concat_leaves, split_heads
from maze_core.rl.distributions import ActionHeads
from maze_core.rl.episodes import EpisodeBatch, run_episodes
from maze_core.rl.kernels import AutogradKernel, DenseKernel, Kernel, Population, make_kernel
from maze_core.rl.normalization import Moments, ObservationNormalization
from maze_core.rl.policy import Policy, RandomPolicy, get_vector, set_vector
from maze_core.rl.spaces import ObservationEncoder, flat_size
from maze_core.rl.streams import Streams
from maze_core.rl.vector_env import InProcessVectorEnv, reset_envs

__all__ = [
    "FLAT", "ActionHeads", "Actor", "Actors", "AutogradKernel", "Dense",
    "DenseKernel", "DenseModel", "DenseSpec", "EpisodeBatch", "InProcessVectorEnv", "Kernel",
    "Moments", "ObservationNormalization",
    "ObservationEncoder", "Policy", "Population", "RandomPolicy", "Streams", "StructuredEnv", "Turn", "concat_leaves",
    "flat_size", "get_vector", "make_kernel", "reset_envs", "run_episodes", "set_vector", "split_heads",
]  # fmt: skip
