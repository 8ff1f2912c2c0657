"""How fast does a trained policy run? `maze rollout` and stable-baselines3's `evaluate_policy`, side by side.

Every run is a process of its own, pinned to one core, with one thread; the contenders take turns (A B A B).
Each side first trains a policy of the same networks on CartPole-v1, until it balances the pole for 500 steps.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from common import BENCH_PYTHON, HERE, SINGLE_THREAD, Run, pin, processor, run_process, short, versions
from peer_jobs import hyper_parameters, peer_job
from rollouts_contenders import CONTENDERS, N_ENVS_OF_PROCESSES, Ours, Theirs
from rollouts_phases import Clock, take_times
from rollouts_report import report

PACKAGES = ("stable-baselines3", "numpy", "torch", "gymnasium")
SB3 = [str(BENCH_PYTHON), str(HERE / "peers" / "sb3_rollouts.py")]
MAZE = str(Path(sys.executable).parent / "maze")
FOLDER = HERE.parent / "outputs"
"""Where files are written, as those of `maze rollout`."""
LONGEST = 500.0
"""Return of the longest episode of CartPole-v1."""
SOLVE = {"every_env_steps": 2560, "n_episodes": 20, "mean_return": LONGEST}
UNTIL_SOLVED = {"algorithm.epoch_length": 10, "runner.stop_at_reward": LONGEST, "runner.evaluation.n_episodes": 20}
SEEDS = range(1, 11)
N_EPISODES = 256
"""For the speed; a multiple of all numbers of envs, so that none idles."""
N_EPISODES_OF_PROCESSES = 100
N_EPISODES_TO_WARM_UP = 16


def train_ours(job: Run) -> Run:
    """Train the policy that Maze runs, in this process; `job` has `seed` and `run_dir`."""
    from maze_core import RunContext

    arguments: Run = {"experiment": "ppo_cartpole", "overrides": UNTIL_SOLVED, "silent": True, "local_plugins": False}
    with RunContext(**arguments, **job) as rc:
        summary = rc.train()
        peer = peer_job(hyper_parameters(rc.config)) | {"solve": SOLVE}
        return {"env_steps": rc.trainer.env_steps, "solved": summary.best_reward == LONGEST, "peer": peer}


def run_ours(job: Run) -> Run:
    """Run the policy with Maze in this process, once to warm up, once for the time, once for the phases.

    Args:
        job: The fields of `Ours`, and `folder` and `n_episodes`.

    Returns:
        The figures. `rollout_s` is all of what `maze rollout` does after it has composed its configuration.
    """
    clock = Clock()
    with tempfile.TemporaryDirectory(dir=job["folder"]) as results:
        perform(job, N_EPISODES_TO_WARM_UP, f"{results}/warm_up")
        result, rollout_s, cpu_s = perform(job, job["n_episodes"], f"{results}/timed")
        take_times(clock)
        _, with_clock_s, _ = perform(job, job["n_episodes"], f"{results}/with_clock")
    env_steps = sum(episode["env_steps"] for episode in result.episodes)
    return {
        "env_steps": env_steps,
        "rollout_s": rollout_s,
        "cpu_s": cpu_s,
        "n_episodes": len(result.episodes),
        "mean_return": result.statistics["BaseEnvEvents/reward/mean"],
        "with_clock_s": with_clock_s,
        "phases": clock.seconds,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def perform(job: Run, n_episodes: int, run_dir: str) -> tuple[Any, float, float]:
    """Do what `maze rollout` does; return the result, its seconds after start-up, and those of the CPU."""
    from maze_core.api import rollouts
    from maze_core.console import Output

    fields = {"input_dir": f"{job['folder']}/run", "n_episodes": n_episodes} | job["fields"]
    fields |= {"run_dir": run_dir} if job["save"] else {}
    prepared = rollouts.prepare(rollouts.RolloutRequest(job["groups"], fields, local_plugins=False))
    start, cpu_start = time.perf_counter(), time.process_time()
    result = rollouts.perform(prepared, record=False, save=job["save"], out=Output())
    return result, time.perf_counter() - start, time.process_time() - cpu_start


CHILDREN = {"train": train_ours, "rollout": run_ours}


def child(task: str, job: Run) -> Run:
    """Run one of `CHILDREN` in a process of its own."""
    return run_process([sys.executable, str(HERE / "rollouts.py"), "--child", task], job=job, n_cores=1)


def train_both(folder: Path) -> None:
    """Train a policy for each side, with the first seed that reaches the longest episodes.

    Raises:
        SystemExit: If none does.
    """
    ours = (child("train", {"seed": seed, "run_dir": f"{folder}/seed_{seed}"}) | {"seed": seed} for seed in SEEDS)
    solved = next((run for run in ours if run.get("solved")), None)
    if solved is None:
        sys.exit(f"Maze solved CartPole-v1 with none of the seeds {list(SEEDS)}.")
    (folder / f"seed_{solved['seed']}").rename(folder / "run")
    command = [*SB3, "train", str(folder / "policy.zip")]
    theirs = (run_process(command, job=solved["peer"] | {"seed": seed}, n_cores=1) for seed in SEEDS)
    if BENCH_PYTHON.exists() and not any(run.get("solved") for run in theirs):
        sys.exit(f"stable-baselines3 solved CartPole-v1 with none of the seeds {list(SEEDS)}.")


def run_contender(contender: Ours | Theirs, folder: Path, n_episodes: int) -> Run:
    """Run one contender once."""
    if isinstance(contender, Ours):
        job = asdict(contender) | {"folder": str(folder), "n_episodes": n_episodes * contender.times}
        return child("rollout", job)
    command = [*SB3, "evaluate", str(folder / "policy.zip"), *contender.arguments, "--warm-up"]
    return run_process([*command, "--n-episodes", str(n_episodes)], n_cores=contender.n_cores)


def run_all(chosen: Sequence[Ours | Theirs], folder: Path, repeats: int, n_episodes: int) -> list[Run]:
    """Run everything, the contenders in turns."""
    runs = []
    for repeat in range(1, repeats + 1):
        for contender in chosen:
            run = run_contender(contender, folder, n_episodes)
            told = f"{short(run['env_steps'] / run['rollout_s'])} env steps/s" if "rollout_s" in run else run["hint"]
            print(f"[{repeat}/{repeats}] {contender.title}: {told}", file=sys.stderr, flush=True)
            runs.append({"contender": contender.key} | run)
    return runs


def commands(folder: Path) -> dict[str, list[str]]:
    """Return what is timed as a whole process, by title."""
    n = str(N_EPISODES_OF_PROCESSES)
    theirs = [*SB3, "evaluate", str(folder / "policy.zip"), "--n-episodes", n, "--n-envs"]
    return {
        f"maze rollout --run RUN n_episodes={n}": [MAZE, "rollout", "--run", str(folder / "run"), f"n_episodes={n}"],
        **{f"evaluate_policy, DummyVecEnv, {n_envs} envs": [*theirs, str(n_envs)] for n_envs in N_ENVS_OF_PROCESSES},
    }


def time_processes(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Return the wall seconds of whole processes, by title; they take turns. Nothing is kept of one that fails."""
    seconds: dict[str, list[float]] = {title: [] for title in commands(folder)}
    for repeat in range(1, repeats + 1):
        for title, command in commands(folder).items():
            took = time_process(command, folder)
            print(f"[{repeat}/{repeats}] {title}: {'failed' if took is None else short(took)}", file=sys.stderr)
            seconds[title] += [] if took is None else [took]
    return seconds


def time_process(command: Sequence[str], folder: Path) -> float | None:
    """Return the wall seconds of a process with one core and one thread; None if it failed."""
    if not Path(command[0]).exists():
        return None
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | SINGLE_THREAD, capture_output=True, text=True, preexec_fn=pin(1)
    )
    took = time.perf_counter() - start
    print(done.stderr, end="", file=sys.stderr, flush=True)
    return None if done.returncode else took


def parse_arguments(keys: Sequence[str]) -> argparse.Namespace:
    """Read the command line; `keys` are those of the contenders."""
    parser = argparse.ArgumentParser(description="Speed of running a policy, side by side with stable-baselines3.")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each contender (default 5)")
    parser.add_argument("--n-episodes", type=int, default=N_EPISODES, help=f"of each run (default {N_EPISODES})")
    parser.add_argument("--skip", nargs="+", default=[], choices=keys, metavar="NAME", help=f"of {', '.join(keys)}")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report to FILE, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures to FILE")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    return parser.parse_args()


def about(repeats: int) -> dict[str, str]:
    """Describe machine, versions and runs."""
    described = {"date": date.today().isoformat(), "processor": f"{processor()}, one of them used"}
    described["load before the start"] = f"{os.getloadavg()[0]:.1f} (near 0, or the figures mean little)"
    described["versions"] = versions(sys.executable, PACKAGES)
    if BENCH_PYTHON.exists():
        described["versions, stable-baselines3"] = versions(BENCH_PYTHON, PACKAGES)
    return described | {"runs": f"medians (min..max) of {repeats} each, contenders taking turns"}


def main() -> None:
    """Run what was asked for and print the tables; exit with 1 if a run failed."""
    options = parse_arguments([contender.key for contender in CONTENDERS])
    if options.child:
        print(json.dumps(CHILDREN[options.child](json.load(sys.stdin))))
        return
    described = about(options.repeats)
    chosen = [contender for contender in CONTENDERS if contender.key not in options.skip]
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        train_both(Path(name))
        runs = run_all(chosen, Path(name), options.repeats, options.n_episodes)
        seconds = time_processes(Path(name), options.repeats)
    text = report(chosen, runs, seconds, described)
    print(text, end="")
    if options.output:
        options.output.write_text(text)
    if options.json:
        options.json.write_text(json.dumps({**described, "runs": runs, "process_s": seconds}, indent=2) + "\n")
    sys.exit(any("error" in run for run in runs) or not all(seconds.values()))


if __name__ == "__main__":
    main()
