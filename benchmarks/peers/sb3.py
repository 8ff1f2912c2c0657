"""stable-baselines3's PPO and A2C, with hyper-parameters that Maze's names are translated from.

Reads one job, a JSON object, from the argument or from stdin (see `Job`); prints one JSON line. Time is
that of learning: imports, a short warm-up and evaluations are outside.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

EVALUATION_SEED = 1_000_000
PACKAGES = ("stable-baselines3", "torch", "gymnasium", "numpy")
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
SAME = ("gamma", "gae_lambda", "max_grad_norm", "batch_size", "target_kl")
"""Fields of one name on both sides."""
RENAMED = {
    "n_rollout_steps": "n_steps",
    "n_optimization_epochs": "n_epochs",
    "value_clip_range": "clip_range_vf",
    "value_loss_coef": "vf_coef",
    "entropy_coef": "ent_coef",
    "normalize_advantages": "normalize_advantage",
}
SCHEDULED = {"lr": "learning_rate", "clip_range": "clip_range"}
"""Fields that have a second one with the suffix `_schedule`: constant, or linear to zero."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to train, and what to measure.

    Args:
        algorithm: `ppo` or `a2c`.
        env: Gymnasium id.
        total_env_steps: Budget, over all envs.
        seed: Seed of the run.
        algorithm_config: Hyper-parameters by Maze's names.
        hidden_sizes: Of the policy's and of the critic's network.
        activation: Between their layers, `tanh` or `relu`.
        normalize: Arguments of running normalisation: `observations` and `rewards` (whether), `gamma`,
            `clip_observations`, `clip_rewards`.
        n_eval_episodes: Deterministic episodes of the final policy.
        processes: Whether each env is stepped in a process of its own, instead of one after the other.
        solve: None, or when to look whether the env is solved: `every_env_steps`, `n_episodes`, `mean_return`.
    """

    algorithm: str
    env: str
    total_env_steps: int
    seed: int
    algorithm_config: dict[str, Any]
    hidden_sizes: list[int] = field(default_factory=lambda: [64, 64])
    activation: str = "tanh"
    normalize: dict[str, Any] | None = None
    n_eval_episodes: int = 100
    processes: bool = False
    solve: dict[str, Any] | None = None


def linear(start: float) -> Callable[[float], float]:
    """Return a schedule from `start` to zero; the budget may be exceeded by a part of a rollout."""
    return lambda progress_remaining: start * max(progress_remaining, 0.0)


def arguments_of(job: Job) -> dict[str, Any]:
    """Translate hyper-parameters to constructor arguments.

    Raises:
        ValueError: If one has no counterpart.
    """
    config = dict(job.algorithm_config)
    del config["n_envs"]
    arguments = {name: config.pop(name) for name in SAME if name in config}
    arguments |= {theirs: config.pop(ours) for ours, theirs in RENAMED.items() if ours in config}
    for ours, theirs in SCHEDULED.items():
        if ours in config:
            value, schedule = config.pop(ours), config.pop(f"{ours}_schedule", "constant")
            arguments[theirs] = {"constant": value, "linear": linear(value)}[schedule]
    if job.algorithm == "a2c":
        arguments["use_rms_prop"] = {"rmsprop": True, "adam": False}[config.pop("optimizer", "rmsprop")]
    network = {"net_arch": list(job.hidden_sizes), "activation_fn": ACTIVATIONS[job.activation]}
    network["log_std_init"] = config.pop("initial_log_std", 0.0)
    if config:
        raise ValueError(f"no counterpart in stable-baselines3: {config}")
    return arguments | {"policy_kwargs": network}


def make_env(name: str) -> gymnasium.Env:
    """Build one env as Maze does: nothing rendered, nothing checked at each step."""
    return gymnasium.make(name, render_mode=None, disable_env_checker=True)


def make_vector_env(job: Job) -> VecEnv:
    """Build the training envs; `Monitor` sees the rewards before they are normalised."""
    n_envs = job.algorithm_config["n_envs"]
    make = SubprocVecEnv if job.processes else DummyVecEnv
    envs = make([lambda: Monitor(make_env(job.env)) for _ in range(n_envs)])
    if job.normalize is None:
        return envs
    return VecNormalize(
        envs,
        norm_obs=job.normalize["observations"],
        norm_reward=job.normalize["rewards"],
        gamma=job.normalize["gamma"],
        clip_obs=job.normalize["clip_observations"],
        clip_reward=job.normalize["clip_rewards"],
    )


def make_model(job: Job) -> BaseAlgorithm:
    """Build the algorithm with its envs, seeded."""
    algorithm = {"ppo": PPO, "a2c": A2C}[job.algorithm]
    return algorithm("MlpPolicy", make_vector_env(job), seed=job.seed, device="cpu", **arguments_of(job))


def evaluate(model: BaseAlgorithm, env_name: str, n_episodes: int) -> list[float]:
    """Return the returns of deterministic episodes, one after the other, so that short ones are not preferred."""
    env, normalizer = make_env(env_name), model.get_vec_normalize_env()
    returns = []
    for seed in range(EVALUATION_SEED, EVALUATION_SEED + n_episodes):
        observation, _ = env.reset(seed=seed)
        episode_return, episode_end = 0.0, False
        while not episode_end:
            if normalizer is not None:
                observation = normalizer.normalize_obs(observation)
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            episode_return += float(reward)
            episode_end = terminated or truncated
        returns.append(episode_return)
    env.close()
    return returns


class UntilSolved(BaseCallback):
    """Evaluates between updates, and ends the run when the mean return is high enough.

    Args:
        job: Its `solve` says when to look and what is enough.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        assert job.solve is not None
        self._env, self._solve = job.env, job.solve
        self._next_look = job.solve["every_env_steps"]
        self.solved, self.evaluation_s = False, 0.0

    def _on_rollout_start(self) -> None:
        """Look, if it is time to."""
        if self.num_timesteps < self._next_look:
            return
        self._next_look += self._solve["every_env_steps"]
        start = time.perf_counter()
        returns = evaluate(self.model, self._env, self._solve["n_episodes"])
        self.solved = float(np.mean(returns)) >= self._solve["mean_return"]
        self.evaluation_s += time.perf_counter() - start

    def _on_step(self) -> bool:
        """Return whether to go on."""
        return not self.solved


def warm_up(job: Job) -> None:
    """Train for one small rollout, so that what happens once per process is not part of the time."""
    few = {"n_rollout_steps": 8, "batch_size": 8 * job.algorithm_config["n_envs"], "n_optimization_epochs": 1}
    config = job.algorithm_config | {name: value for name, value in few.items() if name in job.algorithm_config}
    model = make_model(replace(job, algorithm_config=config))
    model.learn(1)
    model.get_env().close()


def train(job: Job) -> dict[str, Any]:
    """Run the job and return its figures; times in seconds."""
    warm_up(job)
    model = make_model(job)
    until_solved = UntilSolved(job) if job.solve is not None else None
    start, cpu_start = time.perf_counter(), time.process_time()
    model.learn(job.total_env_steps, callback=until_solved)
    train_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    last = [episode["r"] for episode in model.ep_info_buffer or ()]
    figures: dict[str, Any] = {
        "env_steps": model.num_timesteps,
        "train_s": train_s - (until_solved.evaluation_s if until_solved is not None else 0.0),
        "cpu_s": cpu_s,
        "eval_returns": evaluate(model, job.env, job.n_eval_episodes),
        "last_training_return": float(np.mean(last)) if last else None,
    }
    if until_solved is not None:
        figures["solved"] = until_solved.solved
    return figures


def main() -> None:
    """Read the job, train, print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", nargs="?", help="the job as JSON; read from stdin if not given")
    text = parser.parse_args().job or sys.stdin.read()
    torch.set_num_threads(1)
    figures = train(Job(**json.loads(text)))
    figures["peak_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    figures["versions"] = {name: version(name) for name in PACKAGES}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
