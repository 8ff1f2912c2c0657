"""Options of advantage actor-critic."""

from dataclasses import dataclass
from enum import Enum

from maze_core import BoxDistribution, Schedule, require


class Optimizer(Enum):
    """What turns a gradient into an update."""

    rmsprop = "rmsprop"
    adam = "adam"


@dataclass(kw_only=True)
class A2CConfig:
    """Advantage actor-critic: the synchronous form of Mnih et al. 2016 (arXiv:1602.01783)."""

    n_envs: int = 16
    """Envs that are stepped together."""

    n_rollout_steps: int = 5
    """Env steps of each env between two updates."""

    optimizer: Optimizer = Optimizer.rmsprop
    """What turns a gradient into an update: rmsprop or adam."""

    lr: float = 7e-4
    """Step size of the optimizer."""

    lr_schedule: Schedule = Schedule.constant
    """constant, or linear to zero at the end of the budget."""

    gamma: float = 0.99
    """Discount per env step."""

    gae_lambda: float = 1.0
    """Weight of longer returns in the advantages: 0 is the error of one step, 1 the whole return."""

    normalize_advantages: bool = False
    """Whether the advantages of each update get mean 0 and standard deviation 1."""

    value_loss_coef: float = 0.5
    """Weight of the critic's mean squared error."""

    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""

    entropy_coef_schedule: Schedule = Schedule.constant
    """constant, or linear to zero at the end of the budget."""

    max_grad_norm: float | None = 0.5
    """Largest norm of the gradient over all weights; null for no limit."""

    critic_burn_in_epochs: int = 0
    """Epochs at the start in which only the critic learns (and, with critic=shared_embedding, what it shares)."""

    initial_log_std: float = 0.0
    """Logarithm of the standard deviation that Gaussian actions begin with."""

    box_distribution: BoxDistribution = BoxDistribution.gaussian
    """How outputs become Box actions: clipped to the bounds, or squashed into them by tanh."""

    epoch_length: int = 100
    """Updates per epoch."""

    def __post_init__(self) -> None:
        require(self, "n_envs", 1 <= self.n_envs <= 10**5, "a whole number from 1 to 100000")
        require(self, "n_rollout_steps", 1 <= self.n_rollout_steps <= 10**6, "a whole number from 1 to 1000000")
        require(self, "lr", 0 < self.lr <= 1e3, "a number > 0, at most 1e3")
        require(self, "gamma", 0 <= self.gamma <= 1, "a number from 0 to 1")
        require(self, "gae_lambda", 0 <= self.gae_lambda <= 1, "a number from 0 to 1")
        require(
            self,
            "normalize_advantages",
            not self.normalize_advantages or self.n_envs * self.n_rollout_steps > 1,
            "false where an update sees a single env step",
        )
        require(self, "value_loss_coef", 0 <= self.value_loss_coef <= 1e3, "a number from 0 to 1e3")
        require(self, "entropy_coef", 0 <= self.entropy_coef <= 1e3, "a number from 0 to 1e3")
        norm = self.max_grad_norm
        require(self, "max_grad_norm", norm is None or 0 < norm <= 1e6, "null or a number > 0, at most 1e6")
        require(self, "critic_burn_in_epochs", self.critic_burn_in_epochs >= 0, "a whole number >= 0")
        require(self, "initial_log_std", -20 <= self.initial_log_std <= 5, "a number from -20 to 5")
        require(self, "epoch_length", self.epoch_length >= 1, "a whole number >= 1")
