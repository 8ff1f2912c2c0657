"""stable-baselines3's `evaluate_policy` with its vector envs, and the training of the policy that acts in them.

`train FILE` reads a job of `sb3.py` from stdin and saves the policy that solved it; `evaluate FILE` runs the
policy in episodes. Both print one JSON line. Time is that of `evaluate_policy` alone: imports, the loading of the
policy and the making of envs are outside.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import torch
from sb3 import Job, UntilSolved, make_env, make_model
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv


def train(file: str, job: Job) -> dict[str, Any]:
    """Train until solved, save the policy and return the figures."""
    model, until_solved = make_model(job), UntilSolved(job)
    model.learn(job.total_env_steps, callback=until_solved)
    model.save(file)
    return {"env_steps": model.num_timesteps, "solved": until_solved.solved}


def make_vector_env(options: argparse.Namespace) -> VecEnv:
    """Build envs as stable-baselines3's `make_vec_env` does, each with a `Monitor`, but without rendering."""

    def make() -> gymnasium.Env:
        return make_env(options.env) if options.without_monitor else Monitor(make_env(options.env))

    makers: list[Callable[[], gymnasium.Env]] = [make] * options.n_envs
    return SubprocVecEnv(makers) if options.processes else DummyVecEnv(makers)


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Run the policy's most probable actions in episodes and return the figures."""
    model = PPO.load(options.file, device="cpu")
    envs = make_vector_env(options)
    if options.warm_up:
        evaluate_policy(model, envs, 1, warn=False)
    start, cpu_start = time.perf_counter(), time.process_time()
    returns, lengths = evaluate_policy(model, envs, options.n_episodes, return_episode_rewards=True, warn=False)
    rollout_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    envs.close()
    return {
        "env_steps": int(sum(lengths)),
        "rollout_s": rollout_s,
        "cpu_s": cpu_s,
        "n_episodes": len(lengths),
        "mean_return": float(sum(returns) / len(returns)),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["train", "evaluate"])
    parser.add_argument("file", help="where the policy is saved")
    parser.add_argument("--env", default="CartPole-v1", help="Gymnasium id of the env to evaluate in")
    parser.add_argument("--n-envs", type=int, default=16)
    parser.add_argument("--n-episodes", type=int, default=100)
    parser.add_argument("--processes", action="store_true", help="SubprocVecEnv instead of DummyVecEnv")
    parser.add_argument("--without-monitor", action="store_true", help="count episodes in evaluate_policy alone")
    parser.add_argument("--warm-up", action="store_true", help="evaluate for a moment before the time counts")
    return parser.parse_args()


def main() -> None:
    """Do what was asked for and print the figures."""
    options = parse_arguments()
    torch.set_num_threads(1)
    figures = train(options.file, Job(**json.load(sys.stdin))) if options.task == "train" else evaluate(options)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
