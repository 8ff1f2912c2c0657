"""What is trained in the throughput benchmark, by whom, and how fast it has to be."""

from dataclasses import dataclass, field
from typing import Any

from common import Run
from identity_envs import KINDS

OVERRIDES: dict[str, Any] = {
    "runner.n_epochs": None,
    "runner.patience": None,
    "runner.stop_at_reward": float("inf"),
    "runner.evaluation.every_epochs": 10**9,
    "runner.evaluation.n_episodes": 1,
}
"""Of every run that is not to be solved: no evaluation but at the end."""
KERNELS = ("dense", "autograd")
PPO = {
    "algorithm.n_envs": 8,
    "algorithm.n_rollout_steps": 128,
    "algorithm.batch_size": 256,
    "algorithm.n_optimization_epochs": 4,
}
SOLVE = {"every_env_steps": 2560, "n_episodes": 20, "mean_return": 475.0}
UNTIL_SOLVED = {
    "algorithm.epoch_length": 10,
    "runner.stop_at_reward": SOLVE["mean_return"],
    "runner.evaluation.n_episodes": SOLVE["n_episodes"],
}
"""An epoch of ten rollouts of 256 env steps, each followed by an evaluation."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Something to train, the same for every contender.

    Args:
        key: Its name, for `--only`.
        title: Its name in the tables.
        overrides: Of Maze's configuration.
        experiment: What they are overrides of.
        contenders: Who trains it: `dense` and `autograd` are Maze's kernels, `sb3` is stable-baselines3.
        solve: Whether it is trained until it is solved.
        bars: By contender, how many times as fast as stable-baselines3 it has to be.
        goal: How many times it should be, with the dense kernel.
    """

    key: str
    title: str
    overrides: dict[str, Any]
    experiment: str | None = None
    contenders: tuple[str, ...] = (*KERNELS, "sb3")
    solve: bool = False
    bars: dict[str, float] = field(default_factory=dict)
    goal: float | None = None

    def arguments(self, kernel: str) -> Run:
        """Return the arguments of `RunContext`, all but seed and directory."""
        common = {} if self.solve else OVERRIDES
        kernels = {"runner.kernel": "autograd" if kernel == "autograd" else "auto"}
        return {"experiment": self.experiment, "overrides": {**common, **self.overrides, **kernels}}


def training(algorithm: str, env: str, n_env_steps: int, config: Run, **options: Any) -> Work:
    """Return a work with a fixed number of env steps; its name is made of algorithm and env, if not given."""
    overrides = {"env": "gym_env", "env.name": env, "algorithm": algorithm, "runner.total_env_steps": n_env_steps}
    key = f"{algorithm}-{env.partition('-')[0].lower()}"
    names = {"key": key, "title": f"{algorithm.upper()} {env}"}
    return Work(**names | options, overrides=overrides | config)


def compared() -> list[Work]:
    """Return the works that stable-baselines3 does as well."""
    a2c = {"algorithm.n_envs": 16, "algorithm.n_rollout_steps": 5}
    lunar = PPO | {"algorithm.n_envs": 16, "algorithm.n_rollout_steps": 1024, "algorithm.batch_size": 64}
    pendulum = PPO | {"algorithm.n_envs": 16, "algorithm.n_rollout_steps": 256}
    return [
        training("ppo", "CartPole-v1", 409_600, PPO, bars={"dense": 3, "autograd": 1.8}, goal=5),
        training("a2c", "CartPole-v1", 480_000, a2c, bars={"dense": 4, "autograd": 2.5}, goal=8),
        training("ppo", "LunarLander-v3", 131_072, lunar, bars={"dense": 1.5}, goal=1.8),
        training("ppo", "Pendulum-v1", 204_800, pendulum, bars={"dense": 2}, goal=3),
        Work(
            key="solve",
            title="CartPole-v1 until solved",
            overrides=UNTIL_SOLVED,
            experiment="ppo_cartpole",
            contenders=("dense", "sb3"),
            solve=True,
        ),
    ]


def covered() -> list[Work]:
    """Return the works that compare Maze's kernels: every critic, and every kind of action space."""
    works = []
    for critic in ("shared", "per_sub_step", "shared_embedding", "none"):
        names = {"key": f"critic-{critic}", "title": f"CartPole-v1, critic={critic}"}
        works.append(training("ppo", "CartPole-v1", 51_200, PPO | {"critic": critic}, contenders=KERNELS, **names))
    for kind in KINDS:
        names = {"key": f"actions-{kind.lower()}", "title": f"{kind} actions"}
        works.append(training("ppo", f"Benchmark/{kind}-v0", 51_200, PPO, contenders=KERNELS, **names))
    return works
