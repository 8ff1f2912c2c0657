"""Advantage actor-critic: one gradient step after every few env steps.

The synchronous form of Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning"
(arXiv:1602.01783): all envs step together, and each rollout is learned from once, as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from maze_a2c.config import A2CConfig, Optimizer
from maze_core import TrainingJob
from maze_core.rl import (
    ActorCriticLoss,
    Adam,
    Collector,
    EpisodeBatch,
    Estimates,
    Experience,
    RMSProp,
    check_horizon,
    policy_gradient,
    saved_horizon,
    scheduled,
)

OPTIMIZERS = {Optimizer.rmsprop: RMSProp, Optimizer.adam: Adam}


class A2CTrainer:
    """Collects, learns, and counts.

    Args:
        config: Options.
        job: What to work with; training starts from the present weights.

    Raises:
        UserError: If a schedule has no end.
    """

    def __init__(self, config: A2CConfig, job: TrainingJob) -> None:
        self.config, self.job = config, job
        self.policy, self.kernel = job.kernel.policy, job.kernel
        self.epoch_length, self.updates = config.epoch_length, 0
        self.episodes: list[EpisodeBatch] = []
        self.horizon = job.horizon(config.epoch_length, config.n_envs * config.n_rollout_steps)
        check_horizon((config.lr_schedule, config.entropy_coef_schedule), self.horizon)
        self.optimizer = OPTIMIZERS[config.optimizer](self.kernel.parameters)
        self.collector = Collector(job.make_vector_env(config.n_envs), self.kernel, job.streams)
        self.seconds, self.histograms = {**self.collector.seconds, "update": 0.0}, Estimates()

    @property
    def env_steps(self) -> int:
        """Env steps so far."""
        return self.collector.env_steps

    def step(self) -> dict[str, float]:
        """One update: a rollout, and what is learned from it."""
        config = self.config
        rollout = self.collector.collect(config.n_rollout_steps)
        self.episodes.append(rollout.episodes)
        start = time.perf_counter()
        experience = rollout.experience(self.kernel, config.gamma, config.gae_lambda, log_probs=False)
        self.histograms.keep(experience)
        metrics = self._learn(experience)
        self.updates += 1
        self.seconds.update(self.collector.seconds, update=self.seconds["update"] + time.perf_counter() - start)
        return metrics

    def _learn(self, experience: Experience) -> dict[str, float]:
        """One gradient step on the whole rollout."""
        config, update = self.config, self.updates
        lr = scheduled(config.lr, config.lr_schedule, update, self.horizon)
        entropy_coef = scheduled(config.entropy_coef, config.entropy_coef_schedule, update, self.horizon)
        only_critic = update < config.critic_burn_in_epochs * config.epoch_length
        samples = experience.samples()
        loss = ActorCriticLoss(
            self.policy, samples, None if only_critic else policy_gradient, entropy_coef, config.value_loss_coef,
            normalize_advantages=config.normalize_advantages,
        )  # fmt: skip
        with self.kernel.learning(self.job.streams, update):
            self.kernel.gradients(samples, loss)
        metrics = dict(loss.measured())
        norm = self.optimizer.step(lr, config.max_grad_norm)
        if self.kernel.critic is not None:
            metrics["explained_variance"] = experience.explained_variance()
        return {**metrics, "gradient_norm": norm, "lr": lr, "entropy_coef": entropy_coef}

    def state_dict(self) -> dict[str, Any]:
        """Weights, the optimiser's state, counters, and what the newest rollout was worth."""
        return {
            **self.optimizer.state_dict(), "updates": self.updates, "horizon": self.horizon,
            "collector": self.collector.state_dict(), "histograms": self.histograms.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned; raises ValueError if it is that of another run."""
        self.optimizer.load_state_dict(state)
        self.updates, self.horizon = int(state["updates"]), saved_horizon(state, self.horizon)
        self.collector.load_state_dict(state["collector"])
        self.histograms.load_state_dict(state["histograms"])
