"""A linear network, and an algorithm that is just good enough to learn the toys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from maze_core.enums import Activation
from maze_core.protocols import TrainingJob, Workspace
from maze_core.rl.blocks import Dense, DenseSpec, concat_leaves, output_gains, split_heads
from maze_core.rl.episodes import EpisodeBatch, run_episodes
from maze_core.rl.policy import get_vector, set_vector
from maze_core.rl.saved import saved_count, saved_number, saved_tensor
from maze_core.rl.spaces import flat_size
from maze_core.testing.toys import LinearConfig, SearchConfig


class Linear(nn.Module):
    """All observations side by side, and one dense layer."""

    def __init__(self, config: LinearConfig, observation_space: spaces.Dict, output_sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.output_sizes = dict(output_sizes)
        sizes = [flat_size(observation_space), sum(self.output_sizes.values())]
        self.dense = Dense(sizes, Activation.tanh, output_gains(output_sizes))

    def forward(self, observation: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Maps leaves [B, ...] to ``{head: [B, size]}``."""
        return split_heads(self.dense(concat_leaves(observation)), self.output_sizes)

    def dense_layers(self) -> DenseSpec:
        """Describes the model to the dense kernel."""
        return DenseSpec(self.dense.linear_layers(), self.dense.activation, self.output_sizes)


@dataclass(frozen=True)
class Trial:
    """Weights [D] that are judged by the episodes with these seeds."""

    weights: NDArray[np.float32]
    seeds: Sequence[int]


def judge(workspace: Workspace, trial: Trial) -> EpisodeBatch:
    """Runs the episodes of a trial."""
    set_vector(workspace.kernel.policy, torch.from_numpy(trial.weights))
    env = workspace.vector_env(len(trial.seeds), training=True)
    return run_episodes(env, workspace.actors, workspace.kernel.act, trial.seeds)


class SearchTrainer:
    """Random search: a step is kept if the mean return is higher with it, on the same episodes."""

    def __init__(self, config: SearchConfig, job: TrainingJob) -> None:
        self.config, self.job = config, job
        self.policy, self.epoch_length = job.kernel.policy, config.epoch_length
        self.weights = get_vector(self.policy).numpy()
        self.env_steps, self.updates, self.newest = 0, 0, 0.0
        self.episodes: list[EpisodeBatch] = []

    def step(self) -> dict[str, float]:
        """Compares one step with none."""
        noise = self.job.streams.generator("toy_noise", self.updates).standard_normal(len(self.weights), np.float32)
        first = self.updates * self.config.n_episodes
        seeds = self.job.streams.episode_seeds("toy_episodes", first, self.config.n_episodes)
        trials = [Trial(self.weights, seeds), Trial(self.weights + np.float32(0.3) * noise, seeds)]
        results = self.job.runner.map(judge, trials, training=True)
        means = [float(batch.returns.mean()) for batch in results]
        better = means[1] > means[0]
        self.weights, self.newest = trials[better].weights, max(means)
        set_vector(self.policy, torch.from_numpy(self.weights))
        self.updates += 1
        self.env_steps += sum(int(batch.lengths.sum()) for batch in results)
        self.episodes += results
        return {"mean_return": self.newest}

    def state_dict(self) -> dict[str, Any]:
        """Weights and counters."""
        weights = torch.from_numpy(self.weights)
        return {"weights": weights, "updates": self.updates, "env_steps": self.env_steps, "newest": self.newest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self.weights = saved_tensor(state, "weights", torch.from_numpy(self.weights)).numpy().copy()
        self.updates, self.env_steps = saved_count(state, "updates"), saved_count(state, "env_steps")
        self.newest = saved_number(state, "newest")
