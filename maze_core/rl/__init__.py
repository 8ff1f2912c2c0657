"""Building blocks of reinforcement learning: pure functions and small classes, no plugin, no config."""

from maze_core.rl.acting import KernelPolicy
from maze_core.rl.actors import FLAT, Actor, Actors, StructuredEnv, Turn
from maze_core.rl.autograd_kernel import AutogradKernel
from maze_core.rl.blocks import (
    Attention,
    Dense,
    DenseModel,
    DenseSpec,
    FlattenedModel,
    PaddedModel,
    SetScoring,
    concat_leaves,
    filled_elements,
    masked_mean,
    output_gains,
    split_heads,
    without_last_zeros,
)
from maze_core.rl.collector import Collector
from maze_core.rl.critics import VALUE, Critic
from maze_core.rl.dense_kernel import DenseKernel
from maze_core.rl.episodes import EpisodeBatch, run_episodes
from maze_core.rl.estimates import Estimates
from maze_core.rl.heads import ActionHeads
from maze_core.rl.kernel_choice import make_kernel
from maze_core.rl.kernels import Derivatives, Kernel, Population, Samples
from maze_core.rl.losses import ActorCriticLoss, clipped_surrogate, policy_gradient, squared_error
from maze_core.rl.normalization import Moments, ObservationNormalization
from maze_core.rl.optimization import Adam, RMSProp, check_horizon, scheduled
from maze_core.rl.parameters import FlatParameters
from maze_core.rl.policy import Policy, RandomPolicy, get_vector, set_vector
from maze_core.rl.rollouts import Experience, Rollout, explained_variance, generalized_advantages
from maze_core.rl.saved import saved_array, saved_count, saved_horizon, saved_number, saved_tensor
from maze_core.rl.spaces import ObservationEncoder, flat_size
from maze_core.rl.streams import Streams
from maze_core.rl.vector_env import InProcessVectorEnv, reset_envs

__all__ = [
    "ActionHeads", "Actor", "ActorCriticLoss", "Actors", "Adam", "Attention", "AutogradKernel", "Collector", "Critic",
    "Dense", "DenseKernel", "DenseModel", "DenseSpec", "Derivatives", "EpisodeBatch", "Estimates", "Experience",
    "FLAT", "FlatParameters", "FlattenedModel", "InProcessVectorEnv", "Kernel", "KernelPolicy", "Moments",
    "ObservationEncoder", "ObservationNormalization", "PaddedModel", "Policy", "Population", "RMSProp", "RandomPolicy",
    "Rollout", "Samples", "SetScoring", "Streams", "StructuredEnv", "Turn", "VALUE", "check_horizon",
    "clipped_surrogate", "concat_leaves", "explained_variance", "filled_elements", "flat_size",
    "generalized_advantages", "get_vector", "make_kernel", "masked_mean", "output_gains", "policy_gradient",
    "reset_envs", "run_episodes", "saved_array", "saved_count", "saved_horizon", "saved_number", "saved_tensor",
    "scheduled", "set_vector", "split_heads", "squared_error", "without_last_zeros",
]  # fmt: skip
