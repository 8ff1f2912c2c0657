"""How fast does it train? PPO and A2C of Maze and of stable-baselines3, side by side, learning included.

Every run is a process of its own, pinned to one core, with one thread; the contenders take turns
(A B C A B C). Imports, a short warm-up and evaluations are outside the time; for Maze all else is inside:
statistics, logs, saved weights. The peer's hyper-parameters are derived from Maze's.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from common import BENCH_PYTHON, HERE, Run, processor, run_process, versions
from peer_jobs import SB3_COMMAND, hyper_parameters, peer_job
from throughput_report import report
from throughput_works import KERNELS, SOLVE, Work, compared, covered

PACKAGES = ("stable-baselines3", "numpy", "torch", "gymnasium", "Box2D")
WARM_UP = {"n_rollout_steps": 8, "n_optimization_epochs": 1, "epoch_length": 1}
"""What makes an algorithm's first epoch short."""


def run_ours(job: Run) -> Run:
    """Train with Maze in this process.

    Args:
        job: `arguments` of `RunContext`, and `seed`.

    Returns:
        The figures of the run. `train_s` is all of `train()` but the evaluations, so with statistics, logs and
        saved weights; `seconds` are the trainer's own, by phase. `cpu_s` has the evaluations in it.
    """
    import torch

    from maze_core import RunContext

    torch.set_num_threads(1)
    arguments = job["arguments"] | {"silent": True, "local_plugins": False, "seed": job["seed"]}
    with tempfile.TemporaryDirectory() as folder:
        overrides = arguments["overrides"] | job["warm_up"]
        RunContext(**arguments | {"overrides": overrides}, run_dir=f"{folder}/warm_up").train()
        with RunContext(**arguments, run_dir=f"{folder}/run") as rc:
            trainer: Any = rc.trainer
            start, cpu_start = time.perf_counter(), time.process_time()
            summary = rc.train()
            train_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    assert summary.final is not None
    return {
        "env_steps": trainer.env_steps,
        "train_s": train_s - summary.final.time["evaluation_s"],
        "cpu_s": cpu_s,
        "seconds": trainer.seconds,
        "kernel": trainer.kernel.name,
        "solved": "solved" in summary.stop_reason,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def jobs_of(work: Work) -> dict[str, Run]:
    """Return the job of each contender, all but its seed."""
    from maze_core import RunContext

    jobs: dict[str, Run] = {}
    with RunContext(**work.arguments("dense"), silent=True, local_plugins=False) as rc:
        parameters = hyper_parameters(rc.config)
    if "sb3" in work.contenders:
        jobs["sb3"] = {**peer_job(parameters), "n_eval_episodes": 0, "solve": SOLVE if work.solve else None}
    few = {name: value for name, value in WARM_UP.items() if name in parameters["algorithm"]}
    if "batch_size" in parameters["algorithm"]:
        few["batch_size"] = WARM_UP["n_rollout_steps"] * parameters["algorithm"]["n_envs"]
    warm_up = {f"algorithm.{name}": value for name, value in few.items()} | {"runner.n_epochs": 1}
    for kernel in KERNELS:
        jobs[kernel] = {"arguments": work.arguments(kernel), "warm_up": warm_up}
    return {contender: jobs[contender] for contender in work.contenders}


def run_all(chosen: Sequence[Work], without: Sequence[str], repeats: int, seeds: int) -> list[Run]:
    """Run everything, the contenders in turns; what is to be solved as often as there are `seeds`."""
    jobs = {work.key: jobs_of(work) for work in chosen}
    plan = [
        (work, contender, seed)
        for seed in range(1, max(repeats, seeds) + 1)
        for work in chosen
        for contender in work.contenders
        if seed <= (seeds if work.solve else repeats) and contender not in without
    ]
    ours = [sys.executable, str(HERE / "throughput.py"), "--child"]
    runs = []
    for number, (work, contender, seed) in enumerate(plan, start=1):
        command = SB3_COMMAND if contender == "sb3" else ours
        print(f"[{number}/{len(plan)}] {work.title}, {contender}: ", end="", file=sys.stderr, flush=True)
        run = run_process(command, job=jobs[work.key][contender] | {"seed": seed}, n_cores=1)
        told = f"{run['env_steps'] / run['train_s']:,.0f} env steps/s" if "train_s" in run else run["hint"]
        print(told, file=sys.stderr)
        runs.append({"work": work.key, "contender": contender, "seed": seed} | run)
    return runs


def parse_arguments(keys: Sequence[str]) -> argparse.Namespace:
    """Read the command line; `keys` are those of the works."""
    parser = argparse.ArgumentParser(description="Speed of training, side by side with stable-baselines3.")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contender (default 3)")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the time until solved (default 5)")
    parser.add_argument("--only", nargs="+", choices=keys, metavar="WORK", help=f"of {', '.join(keys)}")
    parser.add_argument("--without", nargs="+", default=[], choices=[*KERNELS, "sb3"], help="leave out")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report to FILE, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures to FILE")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run what was asked for and print the tables; exit with 1 if a run failed."""
    everything = compared() + covered()
    options = parse_arguments([work.key for work in everything])
    if options.child:
        print(json.dumps(run_ours(json.load(sys.stdin))))
        return
    chosen = [work for work in everything if options.only is None or work.key in options.only]
    about = {"date": date.today().isoformat(), "processor": f"{processor()}, one of them used"}
    about["load before the start"] = f"{os.getloadavg()[0]:.1f} (near 0, or the figures mean little)"
    about["versions"] = versions(sys.executable, PACKAGES)
    if BENCH_PYTHON.exists():
        about["versions, stable-baselines3"] = versions(BENCH_PYTHON, PACKAGES)
    about["runs"] = f"medians (min..max) of {options.repeats} each, contenders taking turns"
    runs = run_all(chosen, options.without, options.repeats, options.seeds)
    text = report(chosen, runs, about)
    print(text, end="")
    if options.output:
        options.output.write_text(text)
    if options.json:
        options.json.write_text(json.dumps({**about, "runs": runs}, indent=2) + "\n")
    sys.exit(any("error" in run for run in runs))


if __name__ == "__main__":
    main()
