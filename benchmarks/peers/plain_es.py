"""A plain evolution strategy on CartPole-v1: one member after the other, NumPy and a Python env.

What one writes without a toolkit: for each member of the population one episode, one observation and
one small matrix product at a time. Needs `numpy` and `gymnasium` only. Prints one JSON line.
"""

import argparse
import json
import time
from dataclasses import dataclass, fields
from itertools import pairwise

import gymnasium
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Layers = list[tuple[Floats, Floats]]

LAYER_SIZES = (4, 64, 64, 2)
SOLVED_RETURN = 475.0
N_EVALUATION_EPISODES = 20
EVALUATION_SEED = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Hyper-parameters of the strategy."""

    n_pairs: int = 100
    """Antithetic pairs per generation; the population is twice as large."""
    noise_stddev: float = 0.1
    """Standard deviation of the perturbations, > 0."""
    lr: float = 0.05
    """Step size of Adam, > 0."""
    l2_penalty: float = 0.005
    """Weight decay: this times the centre is subtracted from the gradient, >= 0."""


class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) on one flat array.

    Args:
        n_parameters: Length of the array, D.
        lr: Step size.
    """

    def __init__(self, n_parameters: int, lr: float) -> None:
        self._lr = lr
        self._first = np.zeros(n_parameters)
        self._second = np.zeros(n_parameters)
        self._n_steps = 0

    def step(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the change of the parameters that ascends `gradient`, both [D]."""
        self._n_steps += 1
        self._first = 0.9 * self._first + 0.1 * gradient
        self._second = 0.999 * self._second + 0.001 * gradient**2
        first = self._first / (1.0 - 0.9**self._n_steps)
        second = self._second / (1.0 - 0.999**self._n_steps)
        return self._lr * first / (np.sqrt(second) + 1e-8)


def initial_parameters(rng: np.random.Generator) -> Floats:
    """Draw weights uniformly within 1 / sqrt(fan-in); biases are zero. Returns one flat array, [D]."""
    parts = []
    for n_in, n_out in pairwise(LAYER_SIZES):
        bound = n_in**-0.5
        parts += [rng.uniform(-bound, bound, n_in * n_out), np.zeros(n_out)]
    return np.concatenate(parts).astype(np.float32)


def unpack(parameters: Floats) -> Layers:
    """Cut one flat parameter array, [D], into a weight and a bias per layer (views, no copies)."""
    layers, start = [], 0
    for n_in, n_out in pairwise(LAYER_SIZES):
        middle = start + n_in * n_out
        weight = parameters[start:middle].reshape(n_in, n_out)
        start = middle + n_out
        layers.append((weight, parameters[middle:start]))
    return layers


def run_episode(env: gymnasium.Env, layers: Layers, seed: int) -> tuple[float, int]:
    """Run one greedy episode and return its return and its length in env steps."""
    (w1, b1), (w2, b2), (w3, b3) = layers
    observation, _ = env.reset(seed=seed)
    episode_return, n_steps, episode_end = 0.0, 0, False
    while not episode_end:
        hidden = np.tanh(np.tanh(observation @ w1 + b1) @ w2 + b2)
        logits = hidden @ w3 + b3
        observation, reward, terminated, truncated, _ = env.step(int(logits[1] > logits[0]))
        episode_return += float(reward)
        n_steps += 1
        episode_end = terminated or truncated
    return episode_return, n_steps


def centred_ranks(fitness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map fitnesses, [P], to ranks in [-0.5, 0.5]; equal ones share their mean rank."""
    _, inverse, counts = np.unique(fitness, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts + 1) / 2
    return mean_ranks[inverse] / (len(fitness) - 1) - 0.5


def evaluate_centre(env: gymnasium.Env, centre: Floats) -> float:
    """Return the mean return of the unperturbed parameters over 20 greedy episodes."""
    layers = unpack(centre)
    seeds = range(EVALUATION_SEED, EVALUATION_SEED + N_EVALUATION_EPISODES)
    return float(np.mean([run_episode(env, layers, seed)[0] for seed in seeds]))


def run_generation(
    env: gymnasium.Env, centre: Floats, adam: Adam, settings: Settings, rng: np.random.Generator
) -> tuple[Floats, int]:
    """Run one generation: perturb, measure, update.

    Args:
        env: The env that every member is run in, one after the other.
        centre: Parameters that the population is drawn around, [D].
        adam: Optimiser of the centre.
        settings: Hyper-parameters.
        rng: Source of the noise and of the episode seeds; both members of a pair get the same seed.

    Returns:
        The new centre, [D], and the number of env steps taken.
    """
    noise = rng.standard_normal((settings.n_pairs, len(centre)), dtype=np.float32)
    seeds = rng.integers(EVALUATION_SEED, size=settings.n_pairs)
    fitness, n_steps = np.zeros((settings.n_pairs, 2)), 0
    for pair in range(settings.n_pairs):
        offset = settings.noise_stddev * noise[pair]
        for side, member in enumerate((centre + offset, centre - offset)):
            fitness[pair, side], length = run_episode(env, unpack(member), int(seeds[pair]))
            n_steps += length
    ranks = centred_ranks(fitness.ravel()).reshape(fitness.shape)
    gradient = (ranks[:, 0] - ranks[:, 1]) @ noise / (2 * settings.n_pairs * settings.noise_stddev)
    gradient = gradient - settings.l2_penalty * centre
    return centre + adam.step(gradient).astype(np.float32), n_steps


def train(settings: Settings, seed: int, time_limit_s: float) -> dict[str, float | bool]:
    """Train until the centre solves CartPole-v1 or the time is up.

    Args:
        settings: Hyper-parameters.
        seed: Seed of the initial parameters, the noise and the episodes.
        time_limit_s: Seconds of training after which the run gives up; evaluation is not counted.

    Returns:
        The figures of the run; times in seconds.
    """
    env = gymnasium.make("CartPole-v1", disable_env_checker=True)
    rng = np.random.default_rng(seed)
    centre = initial_parameters(rng)
    adam = Adam(len(centre), settings.lr)
    env_steps, generations, train_s, solved = 0, 0, 0.0, False
    while not solved and train_s < time_limit_s:
        start = time.perf_counter()
        centre, n_steps = run_generation(env, centre, adam, settings, rng)
        train_s += time.perf_counter() - start
        env_steps, generations = env_steps + n_steps, generations + 1
        solved = evaluate_centre(env, centre) >= SOLVED_RETURN
    return {
        "env_steps": env_steps,
        "evaluations": generations * 2 * settings.n_pairs,
        "train_s": train_s,
        "solved": solved,
        "generations": generations,
    }


def main() -> None:
    """Read the arguments, train, print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--time-limit", type=float, default=120.0, metavar="SECONDS")
    for field in fields(Settings):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=type(field.default), default=field.default)
    arguments = vars(parser.parse_args())
    seed, time_limit_s = arguments.pop("seed"), arguments.pop("time_limit")
    print(json.dumps(train(Settings(**arguments), seed, time_limit_s)))


if __name__ == "__main__":
    main()
