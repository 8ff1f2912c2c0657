"""Proximal policy optimisation: several passes over each rollout, with clipped steps.

Schulman et al. 2017, "Proximal Policy Optimization Algorithms" (arXiv:1707.06347), with details of
Huang et al. 2022, "The 37 Implementation Details of PPO". Read `PPOTrainer.step`, then `_learn`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from maze_core import TrainingJob
from maze_core.rl import (
    ActorCriticLoss,
    Adam,
    Collector,
    EpisodeBatch,
    Estimates,
    Experience,
    check_horizon,
    clipped_surrogate,
    saved_horizon,
    scheduled,
)
from maze_ppo.config import PPOConfig


class PPOTrainer:
    """Collects, learns, and counts.

    Args:
        config: Options.
        job: What to work with; training starts from the present weights.

    Raises:
        UserError: If a schedule has no end.
    """

    def __init__(self, config: PPOConfig, job: TrainingJob) -> None:
        self.config, self.job = config, job
        self.policy, self.kernel = job.kernel.policy, job.kernel
        self.epoch_length, self.updates = config.epoch_length, 0
        self.episodes: list[EpisodeBatch] = []
        self.horizon = job.horizon(config.epoch_length, config.n_envs * config.n_rollout_steps)
        check_horizon((config.lr_schedule, config.clip_range_schedule, config.entropy_coef_schedule), self.horizon)
        self.optimizer = Adam(self.kernel.parameters)
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
        experience = rollout.experience(self.kernel, config.gamma, config.gae_lambda)
        self.histograms.keep(experience)
        metrics = self._learn(experience)
        self.updates += 1
        self.seconds.update(self.collector.seconds, update=self.seconds["update"] + time.perf_counter() - start)
        return metrics

    def _learn(self, experience: Experience) -> dict[str, float]:
        """Gradient steps over random minibatches, several times over the whole rollout."""
        config, update = self.config, self.updates
        lr = scheduled(config.lr, config.lr_schedule, update, self.horizon)
        clip_range = scheduled(config.clip_range, config.clip_range_schedule, update, self.horizon)
        entropy_coef = scheduled(config.entropy_coef, config.entropy_coef_schedule, update, self.horizon)
        only_critic = update < config.critic_burn_in_epochs * config.epoch_length
        policy_loss = None if only_critic else partial(clipped_surrogate, clip_range=clip_range)
        generator = self.job.streams.generator("minibatches", update)
        measured: list[Mapping[str, float]] = []
        norms: list[float] = []
        with self.kernel.learning(self.job.streams, update):
            for samples in self._minibatches(experience, generator):
                loss = ActorCriticLoss(
                    self.policy, samples, policy_loss, entropy_coef, config.value_loss_coef, config.value_clip_range,
                    config.normalize_advantages,
                )  # fmt: skip
                self.kernel.gradients(samples, loss)
                measured.append(loss.measured(clip_range))
                if config.target_kl is not None and measured[-1]["approx_kl"] > config.target_kl:
                    break
                norms.append(self.optimizer.step(lr, config.max_grad_norm))
        means = {name: float(np.mean([one[name] for one in measured])) for name in measured[0]}
        if self.kernel.critic is not None:
            means["explained_variance"] = experience.explained_variance()
        return {**means, "gradient_norm": float(np.mean(norms)) if norms else 0.0, "n_gradient_steps": len(norms),
                "lr": lr, "clip_range": clip_range, "entropy_coef": entropy_coef}  # fmt: skip

    def _minibatches(self, experience: Experience, generator: np.random.Generator) -> Any:
        for _ in range(self.config.n_optimization_epochs):
            yield from experience.minibatches(generator, self.config.batch_size)

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
