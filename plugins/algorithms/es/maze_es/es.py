"""Evolution strategies: antithetic pairs, centred ranks, Adam or SGD.

Salimans et al. 2017, "Evolution Strategies as a Scalable Alternative to Reinforcement Learning"
(arXiv:1703.03864). Read top to bottom: state, noise, `ask`, `tell`, then the trainer that runs the
population in lock-step, all members of it in one vector env and one batched forward pass.

Shapes: P members, D parameters.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maze_core import TrainingJob, UserError, Workspace
from maze_core.rl import EpisodeBatch, Streams, get_vector, run_episodes, saved_count, saved_tensor, set_vector
from maze_es.config import ESConfig, Optimizer

Float32 = NDArray[np.float32]
ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class ESState:
    """Everything that the next generation depends on.

    Args:
        mean: Parameters of the policy, [D].
        first_moment: Adam's running mean of gradients, [D].
        second_moment: Adam's running mean of squared gradients, [D].
        generation: Number of updates so far.
    """

    mean: Float32
    first_moment: Float32
    second_moment: Float32
    generation: int = 0

    @staticmethod
    def start(mean: Float32) -> ESState:
        """The state before the first generation."""
        return ESState(mean, np.zeros_like(mean), np.zeros_like(mean))


def noise(streams: Streams, generation: int, first: int, count: int, size: int) -> Float32:
    """Standard normal noise [count, size]; row i depends on (seed, generation, first + i) only."""
    rows = np.empty((count, size), np.float32)
    for row in range(count):
        streams.generator("es_noise", generation, first + row).standard_normal(out=rows[row], dtype=np.float32)
    return rows


def ask(state: ESState, config: ESConfig, streams: Streams, batch: int = 0) -> Float32:
    """The parameters of a population.

    Args:
        state: Where the search is.
        config: Options.
        streams: Random streams of the run.
        batch: Number of the population within the generation.

    Returns:
        Members [P, D]. With antithetic pairs the first half is mean + noise, the second mean - noise.
    """
    count = config.n_rollouts_per_update // (1 + config.antithetic)
    steps = noise(streams, state.generation, batch * count, count, len(state.mean)) * np.float32(config.noise_stddev)
    return state.mean + (np.concatenate((steps, -steps)) if config.antithetic else steps)


def episode_seeds(config: ESConfig, streams: Streams, generation: int, batch: int = 0) -> list[int]:
    """Seeds of the population's episodes, [P]; both members of a pair get the same."""
    count = config.n_rollouts_per_update // (1 + config.antithetic)
    seeds: list[int] = streams.generator("es_episodes", generation, batch).integers(2**31, size=count).tolist()
    return seeds * (1 + config.antithetic)


def centred_ranks(fitness: NDArray[np.float64]) -> Float32:
    """Ranks scaled to [-0.5, 0.5]; equal fitness gets the mean of its ranks. [P] -> [P]."""
    values, inverse, counts = np.unique(fitness, return_inverse=True, return_counts=True)
    if len(values) == 1:
        return np.zeros(len(fitness), np.float32)
    ranks = np.cumsum(counts) - (counts + 1) / 2
    return (ranks[inverse] / (len(fitness) - 1) - 0.5).astype(np.float32)


def gradient(mean: Float32, members: Float32, fitness: NDArray[np.float64], noise_stddev: float) -> Float32:
    """Estimated gradient of the expected fitness with respect to the mean (eq. 1 of the paper), [D]."""
    weights = centred_ranks(fitness) / np.float32(len(members) * noise_stddev**2)
    return weights @ (members - mean)


def tell(state: ESState, config: ESConfig, members: Float32, fitness: NDArray[np.float64]) -> tuple[ESState, Float32]:
    """One update of the mean.

    Args:
        state: Where the search is.
        config: Options.
        members: Parameters of the members, [P, D].
        fitness: Episode return of each, [P].

    Returns:
        The next state, and the ascent direction that it followed, [D].
    """
    ascent = gradient(state.mean, members, fitness, config.noise_stddev)
    ascent -= np.float32(config.l2_penalty) * state.mean
    generation = state.generation + 1
    if config.optimizer is Optimizer.sgd:
        return replace(state, mean=state.mean + np.float32(config.lr) * ascent, generation=generation), ascent
    beta1, beta2 = ADAM_BETAS
    first: Float32 = beta1 * state.first_moment + (1 - beta1) * ascent
    second: Float32 = beta2 * state.second_moment + (1 - beta2) * ascent**2
    scale = np.sqrt(second / np.float32(1 - beta2**generation)) + np.float32(ADAM_EPSILON)
    step = np.float32(config.lr / (1 - beta1**generation)) * first / scale
    return ESState((state.mean + step).astype(np.float32, copy=False), first, second, generation), ascent


@dataclass(frozen=True)
class Origin:
    """Which members of a population some are: with the mean, all that their parameters depend on.

    Args:
        config: Options.
        streams: Random streams of the run.
        generation: Number of the generation.
        batch: Number of the population within it.
        first: Number of the first of them.
        last: Number behind the last.
    """

    config: ESConfig
    streams: Streams
    generation: int
    batch: int
    first: int
    last: int

    def parameters(self, mean: Float32) -> Float32:
        """The rows ``[first:last]`` of what `ask` returns, [n, D], of noise for these rows alone."""
        count = self.config.n_rollouts_per_update // (1 + self.config.antithetic)
        plus = self._steps(self.first, min(self.last, count), count, len(mean))
        minus = self._steps(max(self.first - count, 0), self.last - count, count, len(mean))
        return mean + np.concatenate((plus, -minus))

    def _steps(self, first: int, last: int, count: int, size: int) -> Float32:
        rows = noise(self.streams, self.generation, self.batch * count + first, max(last - first, 0), size)
        return rows * np.float32(self.config.noise_stddev)


@dataclass(frozen=True)
class Members:
    """A slice of the population to be evaluated.

    Sent to a worker, it is its origin and its seeds: the worker has the mean, and makes the parameters itself. They
    would be by far the most of what an update sends.

    Args:
        parameters: [n, D].
        seeds: Seed of each member's episode, [n].
        origin: Which they are; None for parameters that are always sent.
    """

    parameters: Float32 | None
    seeds: Sequence[int]
    origin: Origin | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What is sent."""
        return vars(self) if self.origin is None else {**vars(self), "parameters": None}

    def made(self, mean: Float32) -> Float32:
        """Their parameters, [n, D].

        Args:
            mean: That of the generation, [D].
        """
        if self.parameters is not None:
            return self.parameters
        assert self.origin is not None
        return self.origin.parameters(mean)


def evaluate_members(workspace: Workspace, members: Members) -> EpisodeBatch:
    """Runs one episode with each member, all at once; member i acts in env i. The policy is that of the mean."""
    policy, n = workspace.kernel.policy, len(members.seeds)
    recorder = policy.recorder(n)
    population = workspace.kernel.population(members.made(get_vector(policy).numpy()))
    env = workspace.vector_env(n, training=True)
    batch = run_episodes(
        env, workspace.actors, population.act, members.seeds, None if recorder is None else recorder.observe
    )
    return batch if recorder is None else replace(batch, observed=recorder.by_env())


class ESTrainer:
    """Runs generations: ask, evaluate, tell.

    Args:
        config: Options.
        job: What to work with; the search starts from the policy's present weights.
    """

    def __init__(self, config: ESConfig, job: TrainingJob) -> None:
        self.config, self.job = config, job
        self.policy = job.kernel.policy
        self.epoch_length = config.epoch_length
        if self.policy.n_parameters == 0:
            raise UserError("algorithm es needs a model with weights, and this one has none.")
        self.state = ESState.start(get_vector(self.policy).numpy())
        self.env_steps = 0
        self.episodes: list[EpisodeBatch] = []
        self.seconds = {"episodes": 0.0, "update": 0.0}

    @property
    def updates(self) -> int:
        """Updates so far."""
        return self.state.generation

    def step(self) -> dict[str, float]:
        """One generation: evaluates a population and moves the policy to the new mean."""
        start = time.perf_counter()
        members, results = self._evaluate_population()
        evaluated = time.perf_counter()
        self.policy.learn_statistics(results)
        before = self.state.mean
        self.state, ascent = tell(self.state, self.config, members, results.returns)
        set_vector(self.policy, torch.from_numpy(self.state.mean))
        self.env_steps += int(results.lengths.sum())
        self.episodes.append(results)
        self.seconds["episodes"] += evaluated - start
        self.seconds["update"] += time.perf_counter() - evaluated
        return {
            "gradient_norm": float(np.linalg.norm(ascent)),
            "update_norm": float(np.linalg.norm(self.state.mean - before)),
            "parameter_norm": float(np.linalg.norm(self.state.mean)),
        }

    def _evaluate_population(self) -> tuple[Float32, EpisodeBatch]:
        members: list[Float32] = []
        results: list[EpisodeBatch] = []
        steps, whole = 0, Origin(self.config, self.job.streams, self.state.generation, 0, 0, 0)
        set_vector(self.policy, torch.from_numpy(self.state.mean))  # workers take the mean from it
        while not members or steps < self.config.min_env_steps_per_update:
            population = len(members)
            members.append(ask(self.state, self.config, self.job.streams, population))
            seeds = episode_seeds(self.config, self.job.streams, self.state.generation, population)
            ends = np.linspace(0, len(seeds), min(self.job.runner.n_slots(training=True), len(seeds)) + 1).astype(int)
            slices = [
                Members(members[-1][a:b], seeds[a:b], replace(whole, batch=population, first=a, last=b))
                for a, b in itertools.pairwise(ends.tolist())
            ]
            results += self.job.runner.map(evaluate_members, slices, training=True)
            steps += sum(int(batch.lengths.sum()) for batch in results[-len(slices) :])
        return np.concatenate(members), EpisodeBatch.joined(results)

    def state_dict(self) -> dict[str, Any]:
        """Mean, moments and counters."""
        tensors = {
            name: torch.from_numpy(getattr(self.state, name)) for name in ("mean", "first_moment", "second_moment")
        }
        return {**tensors, "generation": self.state.generation, "env_steps": self.env_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned.

        Raises:
            ValueError: If it is that of another network.
        """
        like = torch.from_numpy(self.state.mean)
        names = ("mean", "first_moment", "second_moment")
        arrays = {name: saved_tensor(state, name, like).numpy().copy() for name in names}
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name} is not finite")
        self.state = ESState(**arrays, generation=saved_count(state, "generation"))
        self.env_steps = saved_count(state, "env_steps")
        set_vector(self.policy, torch.from_numpy(self.state.mean))
