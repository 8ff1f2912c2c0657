"""PPO by hand, without configuration, run directory or command line: the parts of a run, and a loop.

Run it with ``python examples/plain_python.py``; CartPole-v1 is solved within seconds.
"""

from __future__ import annotations

import gymnasium
import torch
from maze_ppo.config import PPOConfig
from maze_ppo.ppo import PPOTrainer
from torch import nn

from maze_core import LocalRunner, LocalRunnerConfig, TrainingJob
from maze_core.rl import Actors, Critic, FlattenedModel, InProcessVectorEnv, Policy, Streams, make_kernel, run_episodes


def make_envs(n_envs: int) -> InProcessVectorEnv:
    """Envs that are stepped together."""
    return InProcessVectorEnv(lambda: gymnasium.make("CartPole-v1"), n_envs)


def network(n_outputs: int) -> nn.Module:
    """From what CartPole shows to so many numbers."""
    return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, n_outputs))


def main(seed: int = 1) -> float:
    """Trains until the mean return of 20 episodes is 475 or more, and returns it."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    envs, streams = make_envs(20), Streams(seed)
    actors = Actors(envs.single_observation_space, envs.single_action_space)
    (step_key,) = actors.step_keys  # a flat env has one actor
    heads = actors.by_key[step_key].heads.output_sizes  # {"action": 2}
    policy = Policy(actors, {step_key: FlattenedModel(network(2), heads)}, initial_log_std=0.0)
    critic = Critic({step_key: FlattenedModel(network(1), {"value": 1})}, per_sub_step=False)
    kernel = make_kernel(policy, torch.device("cpu"), critic)
    runner = LocalRunner(LocalRunnerConfig(n_workers=0))
    trainer = PPOTrainer(
        PPOConfig(n_envs=8, n_rollout_steps=32, batch_size=256, n_optimization_epochs=20, lr=1e-3, gamma=0.98,
                  gae_lambda=0.8),
        TrainingJob(actors, kernel, runner, streams, make_envs),
    )  # fmt: skip
    while trainer.env_steps < 200_000:
        metrics = [trainer.step() for _ in range(10)][-1]
        returns = run_episodes(envs, actors, kernel.act, streams.episode_seeds("eval", 0, 20)).returns
        print(f"{trainer.env_steps:7,} env steps  return {returns.mean():6.1f}  entropy {metrics['entropy']:.3f}")
        if returns.mean() >= 475:
            break
    return float(returns.mean())


if __name__ == "__main__":
    main()
