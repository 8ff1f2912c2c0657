"""Options of proximal policy optimisation."""

from dataclasses import dataclass

from maze_core import BoxDistribution, Schedule, require


@dataclass(kw_only=True)
class PPOConfig:
    """Proximal policy optimisation after Schulman et al. 2017 (arXiv:1707.06347)."""

    n_envs: int = 8
    """Envs that are stepped together."""

    n_rollout_steps: int = 256
    """Env steps of each env between two updates."""

    batch_size: int = 64
    """Env steps per minibatch, with all their sub-steps; a rollout is cut into parts of equal size, at most this."""

    n_optimization_epochs: int = 10
    """How often an update goes over its rollout."""

    lr: float = 3e-4
    """Step size of Adam."""

    lr_schedule: Schedule = Schedule.constant
    """constant, or linear to zero at the end of the budget."""

    gamma: float = 0.99
    """Discount per env step."""

    gae_lambda: float = 0.95
    """Weight of longer returns in the advantages: 0 is the error of one step, 1 the whole return."""

    clip_range: float = 0.2
    """How far the probability ratio may move from 1 before its gradient is cut."""

    clip_range_schedule: Schedule = Schedule.constant
    """constant, or linear to zero at the end of the budget."""

    value_clip_range: float | None = None
    """How far a value may move from the one of the rollout before its gradient is cut; null never cuts."""

    normalize_advantages: bool = True
    """Whether the advantages of each minibatch get mean 0 and standard deviation 1."""

    value_loss_coef: float = 0.5
    """Weight of the critic's mean squared error."""

    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""

    entropy_coef_schedule: Schedule = Schedule.constant
    """constant, or linear to zero at the end of the budget."""

    max_grad_norm: float | None = 0.5
    """Largest norm of the gradient over all weights; null for no limit."""

    target_kl: float | None = None
    """An update ends before the step at which the policy has moved farther than this; null never ends it."""

    critic_burn_in_epochs: int = 0
    """Epochs at the start in which only the critic learns (and, with critic=shared_embedding, what it shares)."""

    initial_log_std: float = 0.0
    """Logarithm of the standard deviation that Gaussian actions begin with."""

    box_distribution: BoxDistribution = BoxDistribution.gaussian
    """How outputs become Box actions: clipped to the bounds, or squashed into them by tanh."""

    epoch_length: int = 5
    """Updates per epoch."""

    def __post_init__(self) -> None:
        require(self, "n_envs", 1 <= self.n_envs <= 10**5, "a whole number from 1 to 100000")
        require(self, "n_rollout_steps", 1 <= self.n_rollout_steps <= 10**6, "a whole number from 1 to 1000000")
        rollout = self.n_envs * self.n_rollout_steps
        require(
            self,
            "batch_size",
            1 <= self.batch_size <= rollout,
            "a whole number from 1 to n_envs * n_rollout_steps, the size of the rollout",
        )
        require(
            self,
            "batch_size",
            not self.normalize_advantages or rollout // -(-rollout // self.batch_size) > 1,
            "so large that no minibatch holds a single env step, or normalize_advantages=false",
        )
        require(self, "n_optimization_epochs", self.n_optimization_epochs >= 1, "a whole number >= 1")
        require(self, "lr", 0 < self.lr <= 1e3, "a number > 0, at most 1e3")
        require(self, "gamma", 0 <= self.gamma <= 1, "a number from 0 to 1")
        require(self, "gae_lambda", 0 <= self.gae_lambda <= 1, "a number from 0 to 1")
        require(self, "clip_range", 0 < self.clip_range <= 1e3, "a number > 0, at most 1e3")
        clip = self.value_clip_range
        require(self, "value_clip_range", clip is None or 0 < clip <= 1e6, "null or a number > 0, at most 1e6")
        require(self, "value_loss_coef", 0 <= self.value_loss_coef <= 1e3, "a number from 0 to 1e3")
        require(self, "entropy_coef", 0 <= self.entropy_coef <= 1e3, "a number from 0 to 1e3")
        norm = self.max_grad_norm
        require(self, "max_grad_norm", norm is None or 0 < norm <= 1e6, "null or a number > 0, at most 1e6")
        kl = self.target_kl
        require(self, "target_kl", kl is None or 0 < kl <= 1e3, "null or a number > 0, at most 1e3")
        require(self, "critic_burn_in_epochs", self.critic_burn_in_epochs >= 0, "a whole number >= 0")
        require(self, "initial_log_std", -20 <= self.initial_log_std <= 5, "a number from -20 to 5")
        require(self, "epoch_length", self.epoch_length >= 1, "a whole number >= 1")
