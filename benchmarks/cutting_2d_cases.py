"""What the cutting benchmark runs: parts, their cases, and the configuration of each."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml
from common import Run
from peer_jobs import digest, hyper_parameters
from throughput_works import OVERRIDES as WITHOUT_EVALUATION

OPTIMUM = -31.0
"""Best return of the tutorial instance, with each of its demands."""

N_SEEDS = 10
N_EVAL_EPISODES = 20
N_FINAL_EPISODES = 100

ENDLESS: Run = {"runner.n_epochs": None, "runner.patience": None, "runner.stop_at_reward": math.inf}
"""Only the budget ends a run."""

TUTORIAL: Run = {
    "env": "tutorial_cutting_2d_struct_masked",
    "wrappers": "tutorial_cutting_2d",
    "model": "tutorial_cutting_2d_struct_masked",
}
LEVEL_BUDGETS = {"ppo": 100_000, "a2c": 500_000, "es": 2_000_000}
"""Env steps by algorithm: budget of a run, and bar of the median."""
DEMANDS = ("cycle", "fixed")

FORMS = {"masked": "cutting_2d_struct_masked", "structured": "cutting_2d_struct", "flat": "cutting_2d_flat"}
"""Preset of env and model, the best form first."""
FORM_BUDGETS = {"masked": 200_000, "structured": 600_000, "flat": 1_200_000}
FORM_PPO: Run = {"n_envs": 32, "n_rollout_steps": 64, "batch_size": 512, "n_optimization_epochs": 4, "lr": 5e-4}
"""Hyper-parameters of all forms."""
EVALUATE_EVERY = 25_000
"""Env steps from one evaluation to the next, up to whole updates."""

N_ORDERS = 500
"""Episodes of the large instance; episode i has seed i, which draws its orders."""
N_ORDERS_AT_ONCE = 50
CUTS = ("x_first", "y_first", "best")
"""What the greedy policy cuts first."""
HEURISTICS = ("random", *(f"greedy-{cut}" for cut in CUTS))
LARGE_SEEDS = (1, 2, 3)
REPEATS = (1, 2, 3)
SPEED_ENVS = {**FORMS, "large": "cutting_2d_large"}
N_SPEED_ENVS = 256
N_SPEED_EPISODES = 4
"""Of each env; one more comes before the clock starts."""
SPEED_BUDGET = 204_800
SPEED_BARS = {"env": 100_000, "training": 10_000}
"""Env steps per second on the tutorial instance."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something to run with several seeds.

    Args:
        part: Its part of the benchmark.
        key: Its name within the part.
        kind: How it is run, see `KINDS` in `cutting_2d_runs.py`.
        overrides: Of Maze's configuration.
        experiment: What they are overrides of.
        seeds: With which it is run.
        more: What else decides its figures.
    """

    part: str
    key: str
    kind: str
    overrides: Run
    experiment: str | None = None
    seeds: tuple[int, ...] = tuple(range(1, N_SEEDS + 1))
    more: Run = field(default_factory=dict)

    def context(self, **arguments: Any) -> Any:
        """Return a `RunContext`."""
        from maze_core import RunContext

        return RunContext(
            experiment=self.experiment, overrides=self.overrides, silent=True, local_plugins=False, **arguments
        )

    @cached_property
    def hash(self) -> str:
        """Hash of all that decides its figures besides the seed; of an env alone, if nothing is trained."""
        with self.context() as rc:
            config = yaml.safe_load(rc.config)
            parameters = hyper_parameters(rc.config)
        if self.kind in ("heuristic", "env"):
            parameters = {"env": config["components"]["env"], "options": config["env"]}
        else:
            names = ("stop_at_reward", "patience", "evaluation", "kernel")
            parameters |= {name: config["runner"][name] for name in names}
        return digest(parameters | self.more)


def levels() -> list[Case]:
    """Return the default hyper-parameters of each algorithm on the masked tutorial instance, until it is solved."""
    limits = {**ENDLESS, "runner.stop_at_reward": OPTIMUM, "runner.evaluation.n_episodes": N_EVAL_EPISODES}
    return [
        Case(
            part="levels",
            key=f"{algorithm}-{demand}",
            kind="level",
            overrides=TUTORIAL
            | limits
            | {"algorithm": algorithm, "env.demand": demand, "runner.total_env_steps": LEVEL_BUDGETS[algorithm]},
        )
        for demand in DEMANDS
        for algorithm in LEVEL_BUDGETS
    ]


def forms() -> list[Case]:
    """Return PPO on the three forms of the same problem."""
    ppo = FORM_PPO | {"epoch_length": round(EVALUATE_EVERY / (FORM_PPO["n_envs"] * FORM_PPO["n_rollout_steps"]))}
    common = ENDLESS | {f"algorithm.{name}": value for name, value in ppo.items()}
    common |= {"wrappers": "cutting_2d", "algorithm": "ppo", "env.demand": "fixed"}
    common |= {"runner.evaluation.n_episodes": N_EVAL_EPISODES}
    return [
        Case(
            part="forms",
            key=form,
            kind="form",
            overrides=common | {"env": preset, "model": preset, "runner.total_env_steps": FORM_BUDGETS[form]},
        )
        for form, preset in FORMS.items()
    ]


def large() -> list[Case]:
    """Return PPO on the large instance, and what plays it without training."""
    more = {"n_episodes": N_ORDERS, "at_once": N_ORDERS_AT_ONCE}
    heuristics = [
        Case(part="large", key=key, kind="heuristic", overrides={"env": "cutting_2d_large"}, seeds=(1,), more=more)
        for key in HEURISTICS
    ]
    ppo = Case(
        part="large",
        key="ppo",
        kind="large",
        experiment="ppo_cutting_2d_large",
        overrides={},
        seeds=LARGE_SEEDS,
        more=more,
    )
    return [*heuristics, ppo]


def speed() -> list[Case]:
    """Return the env alone in each form, and training from end to end with a network of each kernel."""
    cases = [
        Case(
            part="speed",
            key=f"env-{key}",
            kind="env",
            overrides={"env": preset},
            seeds=REPEATS,
            more={"n_envs": N_SPEED_ENVS, "n_episodes": N_SPEED_EPISODES},
        )
        for key, preset in SPEED_ENVS.items()
    ]
    for key, model in (("preset", {}), ("dense", {"model": "flatten_concat"})):
        budget = {**WITHOUT_EVALUATION, "runner.total_env_steps": SPEED_BUDGET}
        cases.append(
            Case(
                part="speed",
                key=f"ppo-{key}",
                kind="training",
                experiment="ppo_cutting_2d",
                overrides=budget | model,
                seeds=REPEATS,
            )
        )
    return cases


PARTS: dict[str, Callable[[], list[Case]]] = {"levels": levels, "forms": forms, "large": large, "speed": speed}
