"""Options of sweeps with Optuna."""

from dataclasses import dataclass
from enum import Enum

from maze_core import SweeperConfig, require


class Sampler(Enum):
    """What proposes values: a model of good and bad ones (TPE), or chance."""

    tpe = "tpe"
    random = "random"


class Pruner(Enum):
    """Which trials are ended early: those below the median of the others, the worse part of each rung, or none."""

    median = "median"
    successive_halving = "successive_halving"
    none = "none"


@dataclass(kw_only=True)
class OptunaConfig(SweeperConfig):
    """Asks Optuna which values to try."""

    sampler: Sampler = Sampler.tpe
    """What proposes values: tpe learns from the trials so far, random does not."""

    n_startup_trials: int = 10
    """Trials before the sampler learns and the pruner ends any."""

    pruner: Pruner = Pruner.median
    """What ends trials early: median, successive_halving or none."""

    n_warmup_epochs: int = 5
    """Epochs of a trial in which it is not ended early."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "n_startup_trials", self.n_startup_trials >= 0, "a whole number >= 0")
        require(self, "n_warmup_epochs", self.n_warmup_epochs >= 0, "a whole number >= 0")
