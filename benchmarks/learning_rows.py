"""The rows of the learning table: which experiment, what it is to reach, and in how many seeds."""

from dataclasses import dataclass, field
from typing import Any

from common import Run

N_SEEDS = 10


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table.

    Args:
        key: Its name, for `--rows`.
        experiment: Maze's experiment, the source of all hyper-parameters.
        overrides: What differs from it.
        level: The score to be reached.
        n_reach: In how many of ten seeds; None if the level is shown without being a gate.
        control: The level must not be exceeded; `n_reach` seeds that do call for an investigation.
        measure: A seed's score: `evaluation`, the final policy's mean return over 100 episodes, or
            `training`, the mean of the last 100 episodes of training.
        peer: Whether stable-baselines3 runs as well.
        default: Whether the row is run if no row is named.
        note: Shown where the row was not run.
        decimals: Of scores in the tables.
    """

    key: str
    experiment: str
    overrides: dict[str, Any] = field(default_factory=dict)
    level: float | None = None
    n_reach: int | None = None
    control: bool = False
    measure: str = "evaluation"
    peer: bool = True
    default: bool = True
    note: str = ""
    decimals: int = 1

    def score(self, line: Run) -> float:
        """Return the score of one run, a line of the results."""
        value = line["last_training_return"] if self.measure == "training" else line["evaluation"]["mean"]
        return float("-inf") if value is None else float(value)


def classic(key: str, env: str, **options: Any) -> Row:
    """Return a row with the hyper-parameters of `ppo_acrobot`, which are those of several classic envs."""
    return Row(key=key, experiment="ppo_acrobot", overrides={"env.name": env}, **options)


def published(key: str, experiment: str, figure: str) -> Row:
    """Return a row that is not run by default, and whose reference is a published figure."""
    note = f"optional: the confidence interval is to overlap CleanRL's {figure} (v4 envs)"
    return Row(key=key, experiment=experiment, default=False, note=note)


ROWS = [
    Row(key="ppo-cartpole-100k", experiment="ppo_cartpole", level=475, n_reach=8),
    classic("ppo-cartpole-500k", "CartPole-v1", level=475, n_reach=8, measure="training"),
    Row(key="ppo-acrobot-500k", experiment="ppo_acrobot", level=-100, n_reach=8),
    classic("ppo-mountaincar-500k", "MountainCar-v0", level=-190, n_reach=3, control=True),
    Row(key="ppo-mountaincar-1m", experiment="ppo_mountain_car", level=-130, n_reach=6),
    Row(key="ppo-pendulum-400k", experiment="ppo_pendulum", level=-250),
    Row(key="ppo-lunarlander-1m", experiment="ppo_lunar_lander", level=200),
    Row(key="a2c-cartpole-500k", experiment="a2c_cartpole", level=475, n_reach=8),
    Row(key="a2c-acrobot-500k", experiment="a2c_acrobot", level=-100, n_reach=8),
    Row(key="a2c-lunarlander-200k", experiment="a2c_lunar_lander", level=100),
    # A generation takes up to 100,000 env steps, and the one that reaches the budget is finished.
    Row(
        key="es-cartpole-500k",
        experiment="es_cartpole",
        overrides={"runner.total_env_steps": 400_001},
        level=475,
        n_reach=8,
        peer=False,
    ),
    Row(
        key="es-pendulum-2m",
        experiment="es_pendulum",
        overrides={"runner.total_env_steps": 2_000_000, "runner.n_epochs": None},
        level=-300,
        n_reach=8,
        peer=False,
    ),
    Row(key="ppo-doorkey-5x5-150k", experiment="ppo_minigrid", level=0.95, n_reach=8, peer=False, decimals=2),
    Row(
        key="ppo-lunarlander-envpool-1m",
        experiment="ppo_envpool_lunar_lander",
        level=200,
        peer=False,
        default=False,
        note="optional: needs EnvPool; to be compared with ppo-lunarlander-1m",
    ),
    Row(key="ppo-bipedalwalker-5m", experiment="ppo_bipedal_walker", level=250, default=False, note="optional: long"),
    published("ppo-halfcheetah-1m", "ppo_half_cheetah", "1442.6 ± 46.0"),
    published("ppo-hopper-1m", "ppo_hopper", "2382.9 ± 271.7"),
    published("ppo-walker2d-1m", "ppo_walker2d", "2288.0 ± 571.8"),
    Row(
        key="es-inverted-pendulum-1m",
        experiment="es_inverted_pendulum",
        level=950,
        n_reach=8,
        peer=False,
        default=False,
        note="optional: needs MuJoCo",
    ),
]


def context(row: Row, **arguments: Any) -> Any:
    """Return the row's `RunContext`: trains its whole budget, and evaluates only at the end."""
    from maze_core import RunContext

    whole_budget: dict[str, Any] = {
        "runner.stop_at_reward": float("inf"),
        "runner.patience": None,
        "runner.evaluation.every_epochs": 10**9,
        "runner.evaluation.n_episodes": 1,
    }
    overrides = whole_budget | row.overrides
    return RunContext(experiment=row.experiment, overrides=overrides, silent=True, local_plugins=False, **arguments)
