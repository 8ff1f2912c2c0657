"""Options of evolution strategies."""

from dataclasses import dataclass
from enum import Enum

from maze_core import BoxDistribution, require


class Optimizer(Enum):
    """What turns an estimated gradient into an update."""

    adam = "adam"
    sgd = "sgd"


@dataclass(kw_only=True)
class ESConfig:
    """Evolution strategies after Salimans et al. 2017 (arXiv:1703.03864)."""

    n_rollouts_per_update: int = 200
    """Episodes per update, one for each member of the population."""

    min_env_steps_per_update: int = 0
    """Fewest env steps per update; further populations of the same size are added until it is reached."""

    noise_stddev: float = 0.1
    """Standard deviation of the noise that makes members out of the mean."""

    antithetic: bool = True
    """Whether members come in pairs, mean + noise and mean - noise, on the same episode seeds."""

    optimizer: Optimizer = Optimizer.adam
    """What turns the estimated gradient into an update: adam or sgd."""

    lr: float = 0.1
    """Step size of the optimizer."""

    l2_penalty: float = 0.005
    """Weight decay: this times the weights is subtracted from the gradient."""

    box_distribution: BoxDistribution = BoxDistribution.gaussian
    """How outputs become Box actions: clipped to the bounds, or squashed into them by tanh."""

    epoch_length: int = 1
    """Updates per epoch."""

    def __post_init__(self) -> None:
        n = self.n_rollouts_per_update
        require(
            self,
            "n_rollouts_per_update",
            2 <= n <= 10**6 and n % (1 + self.antithetic) == 0,
            "a whole number from 2 to 1000000, even with antithetic pairs",
        )
        require(self, "min_env_steps_per_update", self.min_env_steps_per_update >= 0, "a whole number >= 0")
        require(self, "noise_stddev", 1e-6 <= self.noise_stddev <= 1e3, "a number from 1e-6 to 1e3")
        require(self, "lr", 0 < self.lr <= 1e3, "a number > 0, at most 1e3")
        require(self, "l2_penalty", 0 <= self.l2_penalty <= 1e3, "a number from 0 to 1e3")
        require(self, "epoch_length", self.epoch_length >= 1, "a whole number >= 1")
