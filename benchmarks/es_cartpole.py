"""Evolution strategies on CartPole-v1: Maze, a plain loop and EvoTorch, side by side.

Every run is a process of its own, pinned, with one thread per process; the contenders take turns
(A B C A B C), and medians are shown with min..max. Learning counts, imports and evaluation do not.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

from common import BENCH_PYTHON, HERE, Run, bar, processor, rate, run_process, short, spread, table, versions

PACKAGES = ("numpy", "torch", "gymnasium", "evotorch")
POPULATION = 200
HYPER_PARAMETERS = {"noise_stddev": 0.1, "lr": 0.1, "l2_penalty": 0.005}
ENDLESS = {"n_epochs": 30, "stop_at_reward": math.inf, "evaluation.every_epochs": 30}
UNTIL_SOLVED = {"n_epochs": 500, "stop_at_reward": 475.0, "evaluation.n_episodes": 20}
LEGEND = """\
- Everyone: [64, 64] tanh, population 200, one thread per process; solved = mean of 20 greedy episodes >= 475.
- training s: learning, for Maze with statistics, logs and saved weights; imports and evaluation excluded.
- evals/s: candidates evaluated (one episode each) per second. "Until solved" stops there, as peers do.
- EvoTorch: PGPE with ClipUp and normalised observations, as in its CartPole-v1 example; raw obs. = without
  normalisation, like Maze and the plain loop. Two actors use both cores. Its envs are not seeded."""


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Args:
        key: Short name, for `--skip`.
        title: Name in the table.
        command: What to run; the seed is appended.
        n_cores: Cores that the process and its children may use.
    """

    key: str
    title: str
    command: list[str]
    n_cores: int = 1


def contenders() -> list[Contender]:
    """Return every row of the table, ours first."""
    ours = [sys.executable, str(Path(__file__).resolve()), "--child"]
    options = [f"--{name.replace('_', '-')}={value}" for name, value in HYPER_PARAMETERS.items()]
    evotorch = [str(BENCH_PYTHON), str(HERE / "peers" / "evotorch_es.py"), "--actors"]
    return [
        Contender("ours-30", "Maze, 30 generations", [*ours, "30"]),
        Contender("ours-bare", "Maze, 30 gen., no callbacks", [*ours, "bare"]),
        Contender("ours-monitored", "Maze, 30 gen., monitoring", [*ours, "monitored"]),
        Contender("ours-solve", "Maze, until solved", [*ours, "solve"]),
        Contender("plain", "plain NumPy loop", [sys.executable, str(HERE / "peers" / "plain_es.py"), *options]),
        Contender("evotorch-2", "EvoTorch, 2 actors", [*evotorch, "2"], n_cores=2),
        Contender("evotorch-0", "EvoTorch, 0 actors", [*evotorch, "0"]),
        Contender("evotorch-raw", "EvoTorch, 2 actors, raw obs.", [*evotorch, "2", "--raw-observations"], n_cores=2),
    ]


def run_ours(mode: str, seed: int) -> Run:
    """Train with Maze in this process.

    Args:
        mode: `30` for 30 generations, `bare` for the same without callbacks, `monitored` with histograms of
            every observation and reward, `solve` to stop when solved.
        seed: Seed of the run.

    Returns:
        The figures of the run. `train_s` is all of `train()` but the evaluations, so with statistics, logs and
        saved weights; `update_s` is the part of it that the algorithm took.
    """
    from maze_core import RunContext

    limits = UNTIL_SOLVED if mode == "solve" else ENDLESS
    overrides: Run = {"env.name": "CartPole-v1", "seed": seed, "runner.patience": None}
    overrides |= {f"runner.{name}": value for name, value in limits.items()}
    overrides |= {f"algorithm.{name}": value for name, value in HYPER_PARAMETERS.items()}
    options: Run = {"env": "gym_env", "silent": True} | ({"callbacks": []} if mode == "bare" else {})
    options |= {"wrappers": "monitoring"} if mode == "monitored" else {}
    with tempfile.TemporaryDirectory() as folder:
        imports = overrides | {"runner.n_epochs": 1}
        RunContext(overrides=imports, run_dir=f"{folder}/imports", **options).train()
        rc = RunContext(overrides=overrides, run_dir=f"{folder}/run", **options)
        trainer = rc.trainer
        start = time.perf_counter()
        summary = rc.train()
        train_s = time.perf_counter() - start
    assert summary.final is not None
    return {
        "env_steps": trainer.env_steps,
        "evaluations": trainer.updates * POPULATION,
        "train_s": train_s - summary.final.time["evaluation_s"],
        "update_s": rc.training_seconds,
        "solved": "solved" in summary.stop_reason,
        "generations": trainer.updates,
    }


def run_child(contender: Contender, seed: int) -> Run:
    """Run one contender once, in a process of its own."""
    figures = run_process([*contender.command, "--seed", str(seed)], n_cores=contender.n_cores)
    return {"contender": contender.key, "seed": seed} | figures


def run_all(chosen: list[Contender], repeats: int, seeds: int) -> list[Run]:
    """Run the contenders in turns, then the seeds of `ours-solve` that are still missing."""
    plan = [(contender, seed) for seed in range(1, repeats + 1) for contender in chosen]
    solving = [contender for contender in chosen if contender.key == "ours-solve"]
    plan += [(contender, seed) for contender in solving for seed in range(repeats + 1, seeds + 1)]
    runs = []
    for number, (contender, seed) in enumerate(plan, start=1):
        print(f"[{number}/{len(plan)}] {contender.title}, seed {seed}: ", end="", file=sys.stderr, flush=True)
        run = run_child(contender, seed)
        print(f"{run['train_s']:.2f} s" if "train_s" in run else f"{run['error']}, {run['hint']}", file=sys.stderr)
        runs.append(run)
    return runs


def figures_row(contender: Contender, runs: list[Run]) -> list[str]:
    """Write one contender's row: cores, env steps/s, evals/s, training s, generations, solved."""
    done = [run for run in runs if "error" not in run]
    row = [contender.title, str(contender.n_cores)]
    if not done:
        return [*row, runs[0]["error"], "", runs[0]["hint"], "", ""]
    return [
        *row,
        spread([rate(run) for run in done]),
        short(median(run["evaluations"] / run["train_s"] for run in done)),
        spread([run["train_s"] for run in done]),
        f"{median(run['generations'] for run in done):.0f}",
        "" if contender.key in ("ours-30", "ours-bare") else f"{sum(run['solved'] for run in done)}/{len(done)}",
    ]


def bars(done: list[Run], repeats: int) -> list[list[str]]:
    """Compare the runs that gave figures with what is asked of Maze."""

    def rates(*keys: str) -> float | None:
        medians = [[rate(run) for run in done if run["contender"] == key and run["seed"] <= repeats] for key in keys]
        return max((median(values) for values in medians if values), default=None)

    def ratio(*keys: str) -> float | None:
        ours, theirs = rates("ours-solve"), rates(*keys)
        return ours / theirs if ours and theirs else None

    def extra(runs: list[Run], base: dict[int, float]) -> float | None:
        shares = [100 * (run["train_s"] / base[run["seed"]] - 1) for run in runs if run["seed"] in base]
        return median(shares) if shares else None

    full = [run for run in done if run["contender"] == "ours-30"]
    bare = {run["seed"]: run["train_s"] for run in done if run["contender"] == "ours-bare"}
    updates = {run["seed"]: run["update_s"] for run in full}
    monitored = [run for run in done if run["contender"] == "ours-monitored"]
    plain = {run["seed"]: run["train_s"] for run in full}
    times = [run["train_s"] if run["solved"] else math.inf for run in done if run["contender"] == "ours-solve"]
    return [
        bar("env steps/s, 30 generations", rates("ours-30"), 300_000),
        bar("env steps/s, until solved", rates("ours-solve"), 100_000),
        bar("  against EvoTorch as documented, its faster row", ratio("evotorch-2", "evotorch-0"), 15, unit="x"),
        bar("  against EvoTorch on raw observations", ratio("evotorch-raw"), 15, unit="x"),
        bar(
            f"training s until solved, median of {len(times)} seeds", median(times) if times else None, 2, at_most=True
        ),
        bar(f"training s until solved, slowest of {len(times)} seeds", max(times, default=None), 20, at_most=True),
        bar("extra time for callbacks", extra(full, bare), 10, unit=" %", at_most=True),
        bar("extra time for monitoring", extra(monitored, plain), 10, unit=" %", at_most=True),
        bar("extra time for all but updates and evaluation", extra(full, updates), 10, unit=" %", at_most=True),
    ]


def print_report(chosen: list[Contender], runs: list[Run], about: dict[str, str], repeats: int) -> None:
    """Print the figures, the bars, and what they mean."""
    print("# Evolution strategies on CartPole-v1\n")
    print("\n".join(f"- {name}: {value}" for name, value in about.items()))
    print(f"- medians (min..max) of {repeats} runs each, contenders taking turns\n")
    rows = [figures_row(one, [run for run in runs if run["contender"] == one.key][:repeats]) for one in chosen]
    print(table(["contender", "cores", "env steps/s", "evals/s", "training s", "gen.", "solved"], rows), end="\n\n")
    verdicts = bars([run for run in runs if "error" not in run], repeats)
    print(table(["bar", "measured", "needed", "verdict"], verdicts), end="\n\n")
    print(LEGEND)


def parse_arguments(known: list[str]) -> argparse.Namespace:
    """Read the command line; `known` are the keys of the contenders."""
    parser = argparse.ArgumentParser(description="Evolution strategies on CartPole-v1, side by side.")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contender (default 3)")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of the time until solved (default 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures to FILE")
    parser.add_argument("--skip", nargs="+", default=[], choices=["ours", "evotorch", *known], help="leave out")
    parser.add_argument("--child", choices=("30", "bare", "monitored", "solve"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run what was asked for and print the tables; exit with 1 if a run failed."""
    everyone = contenders()
    options = parse_arguments([contender.key for contender in everyone])
    if options.child:
        print(json.dumps(run_ours(options.child, options.seed)))
        return
    chosen = [contender for contender in everyone if not contender.key.startswith(tuple(options.skip))]
    about = {"date": date.today().isoformat(), "processor": processor()}
    about["load before the start"] = f"{os.getloadavg()[0]:.1f} (near 0, or the figures mean little)"
    about["versions"] = versions(sys.executable, PACKAGES)
    if BENCH_PYTHON.exists():
        about["versions, EvoTorch"] = versions(BENCH_PYTHON, PACKAGES)
    runs = run_all(chosen, options.repeats, options.seeds)
    print_report(chosen, runs, about, options.repeats)
    if options.json:
        options.json.write_text(json.dumps({**about, "runs": runs}, indent=2) + "\n")
    sys.exit(any(run.get("error") == "failed" for run in runs))


if __name__ == "__main__":
    main()
