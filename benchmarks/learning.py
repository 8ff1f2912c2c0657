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
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from common import HERE, RESULTS, Run, run_process
from learning_report import report
from learning_rows import N_SEEDS, ROWS, Row, context
from peer_jobs import SB3_COMMAND, Parameters, digest, hyper_parameters, peer_job
from resumable import read_lines, run_tasks

LINES = RESULTS / "learning.jsonl"
REPORT = RESULTS / "learning.md"
SIDES = ("ours", "sb3")
N_EVAL_EPISODES = 100
N_TRAINING_EPISODES = 100
STATISTICS = ("mean", "std", "min", "max")


def remember_returns(trainer: Any) -> deque[float]:
    """Let a trainer note the returns of its last training episodes; the loop takes them away each epoch.

    They are sums of the rewards that are learned from: normalised ones with `wrappers=return_normalization`.
    """
    returns: deque[float] = deque(maxlen=N_TRAINING_EPISODES)
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
    """Train one row with Maze in this process, and return its figures.

    The only evaluation of the run is the one at its end, so the best policy is the last one.
    """
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, context(row, seed=seed, run_dir=f"{folder}/run") as rc:
        last = remember_returns(rc.trainer)
        rc.train()
        statistics = rc.evaluate(N_EVAL_EPISODES)
        return {
            "env_steps": rc.trainer.env_steps,
            "train_s": rc.training_seconds,
            "last_training_return": float(np.mean(last)) if last else None,
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "evaluation": {name: statistics[f"BaseEnvEvents/reward/{name}"] for name in STATISTICS},
            "hash": digest(hyper_parameters(rc.config)),
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
    def budget(self) -> int:
        """Env steps of training."""
        steps = self.job["total_env_steps"] if self.side == "sb3" else self.job["budget"]["total_env_steps"]
        return int(steps)

    @property
    def identity(self) -> Run:
        """What a line of the results is found by."""
        return {"row": self.row.key, "side": self.side, "seed": self.seed, "hash": digest(self.job)}

    def run(self) -> Run:
        """Run it in a process of its own, and return its line of the results."""
        if self.side == "ours":
            command = [sys.executable, str(HERE / "learning.py"), "--child", self.row.key, str(self.seed)]
            figures = run_process(command)
        else:
            figures = run_process(SB3_COMMAND, job=self.job | {"seed": self.seed, "n_eval_episodes": N_EVAL_EPISODES})
        if "eval_returns" in figures:
            returns = np.array(figures.pop("eval_returns"))
            figures["evaluation"] = {name: float(getattr(returns, name)()) for name in STATISTICS}
        figures.pop("versions", None)
        return self.identity | {"date": date.today().isoformat()} | _rounded(figures)


def _rounded(figures: Run) -> Run:
    return {
        name: _rounded(value) if isinstance(value, dict) else round(value, 2) if isinstance(value, float) else value
        for name, value in figures.items()
    }


def tasks_of(rows: Sequence[Row], sides: Sequence[str], seeds: Sequence[int]) -> list[Task]:
    """Return all tasks, those with the smallest budget first."""
    tasks = []
    for row in rows:
        with context(row) as rc:
            parameters = hyper_parameters(rc.config)
        jobs = {"ours": parameters} | ({"sb3": peer_job(parameters)} if row.peer else {})
        tasks += [Task(row, side, seed, jobs[side]) for side in sides if side in jobs for seed in seeds]
    return sorted(tasks, key=lambda task: task.budget)


def _name(line: Run) -> str:
    return "/".join(str(line[part]) for part in ("row", "side", "seed", "hash"))


def told(task: Task, line: Run) -> str:
    """Say which task it was and what it scored."""
    result = f"FAILED, {line['hint']}" if "error" in line else f"{task.row.score(line):.1f}"
    return f"{task.row.key}, {task.side}, seed {task.seed}: {result}"


def write_report() -> None:
    """Write `results/learning.md` from the lines whose hyper-parameters are still those of the experiments."""
    known = read_lines(LINES, _name)
    results: dict[tuple[str, str], list[Run]] = {}
    for task in tasks_of(ROWS, SIDES, range(1, N_SEEDS + 1)):
        line = known.get(_name(task.identity))
        if line is not None:
            results.setdefault((task.row.key, task.side), []).append(line)
    REPORT.write_text(report(results))
    print(f"wrote {REPORT}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    keys = [row.key for row in ROWS]
    parser = argparse.ArgumentParser(description="Learning, side by side with stable-baselines3; goes on where it was.")
    parser.add_argument("--rows", nargs="+", choices=keys, metavar="ROW", help=f"of {', '.join(keys)}")
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=SIDES, help="ours, sb3, or both (default)")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(1, N_SEEDS + 1)), help="default: 1 to 10")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once, one thread each (default 1)")
    parser.add_argument("--again", action="store_true", help="run what was run before, too")
    parser.add_argument("--report", action="store_true", help="run nothing, only write the report")
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
        tasks = tasks_of(rows, options.sides, options.seeds)
        known = {} if options.again else read_lines(LINES, _name)
        missing = [task for task in tasks if "error" in known.get(_name(task.identity), {"error": ""})]
        print(f"{len(missing)} of {len(tasks)} runs to do", flush=True)
        RESULTS.mkdir(exist_ok=True)
        n_failed = run_tasks(missing, options.jobs, LINES, Task.run, told)
    write_report()
    sys.exit(n_failed > 0)


if __name__ == "__main__":
    main()
