"""Does it learn? Final policies of Maze and of stable-baselines3, ten seeds each, equal hyper-parameters.

The hyper-parameters have one source, Maze's experiments: a peer's job is derived from what is composed here.
Every finished run is a line of `results/learning.jsonl`, so the command goes on where it was interrupted;
`results/learning.md` is written from these lines.
"""

import argparse
import json
import resource
import sys
import tempfile
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
from common import HERE, RESULTS, Run, run_process
from peer_jobs import SB3_COMMAND, Parameters, digest, hyper_parameters, peer_job

LINES = RESULTS / "learning.jsonl"
N_SEEDS = 10
N_EVAL_EPISODES = 100
STATISTICS = ("mean", "std", "min", "max")
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
LATER = {f"{algorithm}-cutting-2d": "the env does not exist yet" for algorithm in ("ppo", "a2c", "es")}
"""Rows that cannot be run, and why."""


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


def remember_returns(trainer: Any, n: int) -> deque[float]:
    """Let a trainer note the returns of its last `n` training episodes; the loop takes them away each epoch."""
    returns: deque[float] = deque(maxlen=n)
    step = trainer.step

    def step_and_note() -> Any:
        n_before = len(trainer.episodes)
        metrics = step()
        for batch in trainer.episodes[n_before:]:
            returns.extend(float(value) for value in batch.returns)
        return metrics

    trainer.step = step_and_note
    return returns


def train_ours(row: Row, seed: int) -> Run:
    """Train one row with Maze in this process, and return its figures."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, context(row, seed=seed, run_dir=f"{folder}/run") as rc:
        last = remember_returns(rc.trainer, 100)
        rc.train()
        statistics = rc.evaluate(N_EVAL_EPISODES)
        return {
            "env_steps": rc.trainer.env_steps,
            "train_s": rc.training_seconds,
            "evaluation": {name: statistics[f"BaseEnvEvents/reward/{name}"] for name in STATISTICS},
            "last_training_return": float(np.mean(last)) if last else None,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


@dataclass(frozen=True)
class Task:
    """One run that is to be made.

    Args:
        row: Its row.
        side: `ours` or `sb3`.
        seed: Its seed.
        job: Hyper-parameters as the side takes them.
    """

    row: Row
    side: str
    seed: int
    job: Parameters

    @property
    def identity(self) -> Run:
        """What a line of the results is found by."""
        return {"row": self.row.key, "side": self.side, "seed": self.seed, "hash": digest(self.job)}


def run_task(task: Task) -> Run:
    """Run a task in a process of its own, and return its line of the results."""
    if task.side == "ours":
        command = [sys.executable, str(HERE / "learning.py"), "--child", task.row.key, str(task.seed)]
        figures = run_process(command)
    else:
        command = [str(BENCH_PYTHON), str(HERE / "peers" / "sb3.py")]
        figures = run_process(command, job=task.job | {"seed": task.seed, "n_eval_episodes": N_EVAL_EPISODES})
    about = {"date": date.today().isoformat()}
    if "error" in figures:
        return task.identity | about | figures
    if "eval_returns" in figures:
        returns = np.array(figures.pop("eval_returns"))
        figures["evaluation"] = {name: float(getattr(returns, name)()) for name in STATISTICS}
    figures.pop("versions", None)
    return task.identity | about | _rounded(figures)


def _rounded(figures: Run) -> Run:
    return {
        name: _rounded(value) if isinstance(value, dict) else round(value, 2) if isinstance(value, float) else value
        for name, value in figures.items()
    }


def read_lines() -> dict[str, Run]:
    """Return the results so far, the last line of each identity, by that identity."""
    lines = map(json.loads, LINES.read_text().splitlines()) if LINES.exists() else ()
    return {_name(line): line for line in lines}


def _name(line: Run) -> str:
    return "/".join(str(line[part]) for part in ("row", "side", "seed", "hash"))


def tasks_of(rows: list[Row], sides: list[str], seeds: list[int]) -> list[Task]:
    """Return all tasks, those with the smallest budget first."""
    tasks = []
    for row in rows:
        with context(row) as rc:
            parameters = hyper_parameters(rc.config)
        jobs = {"ours": parameters} | ({"sb3": peer_job(parameters)} if row.peer else {})
        tasks += [Task(row, side, seed, jobs[side]) for side in sides if side in jobs for seed in seeds]
    return sorted(tasks, key=lambda task: _budget(task.row, task.job))


def _budget(row: Row, job: Run) -> int:
    steps = job["total_env_steps"] if "total_env_steps" in job else job["budget"]["total_env_steps"]
    return int(steps)


def run_tasks(tasks: list[Task], n_jobs: int) -> int:
    """Run tasks, `n_jobs` at once, write each result as soon as it is there, and return how many failed."""
    lock, n_started, n_failed = threading.Lock(), 0, 0

    def run(task: Task) -> None:
        nonlocal n_started, n_failed
        line = run_task(task)
        with lock:
            n_started, n_failed = n_started + 1, n_failed + ("error" in line)
            with LINES.open("a") as file:
                file.write(json.dumps(line) + "\n")
            told = line["hint"] if "error" in line else f"{line['evaluation']['mean']:.1f} in {line['train_s']:.0f} s"
            told = f"FAILED, {told}" if "error" in line else told
            print(f"[{n_started}/{len(tasks)}] {task.row.key}, {task.side}, seed {task.seed}: {told}", flush=True)

    RESULTS.mkdir(exist_ok=True)
    with ThreadPoolExecutor(n_jobs) as pool:
        list(pool.map(run, tasks))
    return n_failed


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    keys = [row.key for row in ROWS]
    parser = argparse.ArgumentParser(description="Learning, side by side with stable-baselines3; can be interrupted.")
    parser.add_argument("--rows", nargs="+", choices=keys, metavar="ROW", help=f"of {', '.join(keys)}")
    parser.add_argument("--sides", default="ours,sb3", help="ours, sb3, or both separated by a comma (default)")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(1, N_SEEDS + 1)), help="default 1 to 10")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once, of one thread each (default 1)")
    parser.add_argument("--again", action="store_true", help="run also what was run before")
    parser.add_argument("--report", action="store_true", help="only write the report")
    parser.add_argument("--child", nargs=2, metavar=("ROW", "SEED"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run what is missing and write the report; exit with 1 if a run failed."""
    options = parse_arguments()
    by_key = {row.key: row for row in ROWS}
    if options.child:
        print(json.dumps(train_ours(by_key[options.child[0]], int(options.child[1]))))
        return
    n_failed = 0
    if not options.report:
        rows = [by_key[key] for key in options.rows] if options.rows else [row for row in ROWS if row.default]
        tasks = tasks_of(rows, options.sides.split(","), options.seeds)
        known = {} if options.again else read_lines()
        missing = [task for task in tasks if "error" in known.get(_name(task.identity), {"error": ""})]
        print(f"{len(missing)} of {len(tasks)} runs to do", flush=True)
        n_failed = run_tasks(missing, options.jobs)
    sys.exit(n_failed > 0)


if __name__ == "__main__":
    main()
