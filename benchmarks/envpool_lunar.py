"""What are envs computed in C++ worth? PPO on LunarLander-v3 with EnvPool's, Gymnasium's, and stable-baselines3.

Learning is included, evaluations are not. Every run is a process of its own, pinned to one core or to two; the
contenders take turns (A B C A B C). The peer's hyper-parameters are derived from Maze's.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median

from common import BENCH_PYTHON, HERE, Run, bar, processor, rate, run_process, spread, table, versions
from peer_jobs import SB3_COMMAND
from throughput import jobs_of
from throughput_works import compared

PACKAGES = ("envpool", "stable-baselines3", "numpy", "torch", "gymnasium", "Box2D")
NEEDED = 3.0
"""How many times as fast as stable-baselines3 Maze has to be with EnvPool."""

SB3 = {
    "sb3": "stable-baselines3, one env after the other",
    "sb3-processes": "stable-baselines3, a process for each env",
}
OURS = {"gymnasium": "Maze, Gymnasium", "envpool-1": "Maze, EnvPool, 1 thread", "envpool-2": "Maze, EnvPool, 2 threads"}
PHASES = ("env", "forward", "store", "update")
PLAN = {1: ("sb3", "gymnasium", "envpool-1"), 2: (*SB3, *OURS)}
"""Contenders by number of cores; processes and threads that share one core only wait for each other."""

NOTES = """\
- env steps/s: of training, learning included; imports, warm-up and evaluations excluded. For Maze with statistics,
  logs, pictures of the networks and saved weights, and with all callbacks.
- Everyone: 16 envs, 1,024 steps each, minibatches of 64, 4 epochs, [64, 64] tanh, separate networks for policy and
  value; networks are computed with one thread. Envs without rendering.
- per CPU s: env steps per second that the process was computing, all its threads together. On a machine that others
  use at the same time this says more than the clock on the wall.
- to SB3: to the fastest of stable-baselines3 on as many cores.
- Every episode of EnvPool has a seed of its own here, and runs can be repeated and resumed bit for bit.
- peak MB: largest resident memory of the main process."""


def jobs() -> dict[str, Run]:
    """Return the job of each contender, all but its seed."""
    work = next(work for work in compared() if work.key == "ppo-lunarlander")
    both = jobs_of(work)
    arguments = both["dense"]["arguments"]
    found = {"sb3": both["sb3"], "sb3-processes": both["sb3"] | {"processes": True}, "gymnasium": both["dense"]}
    for n_threads in (1, 2):
        overrides = arguments["overrides"] | {"env": "envpool", "env.n_threads": n_threads}
        found[f"envpool-{n_threads}"] = both["dense"] | {"arguments": arguments | {"overrides": overrides}}
    return found


def run_all(cores: Sequence[int], repeats: int) -> list[Run]:
    """Run everything, the contenders in turns."""
    of_contender, runs = jobs(), []
    plan = [(n, name, seed) for n in cores for seed in range(1, repeats + 1) for name in PLAN[n]]
    for number, (n_cores, contender, seed) in enumerate(plan, start=1):
        print(f"[{number}/{len(plan)}] {contender} on {n_cores}: ", end="", file=sys.stderr, flush=True)
        command = SB3_COMMAND if contender in SB3 else [sys.executable, str(HERE / "throughput.py"), "--child"]
        run = run_process(command, job=of_contender[contender] | {"seed": seed}, n_cores=n_cores)
        told = f"{rate(run):,.0f} env steps/s" if "train_s" in run else run["hint"]
        print(told, file=sys.stderr)
        runs.append({"cores": n_cores, "contender": contender, "seed": seed} | run)
    return runs


def report(runs: Sequence[Run], about: Mapping[str, str]) -> str:
    """Return the whole report."""
    failed = [f"- **{run['contender']}: {run['hint']}**" for run in runs if "error" in run]
    rows, bars, phases = [], [], []
    for n_cores, contenders in PLAN.items():
        done = {name: [run for run in runs if _is_of(run, n_cores, name)] for name in contenders}
        rates = {name: median(map(rate, of)) for name, of in done.items() if of}
        peer = max((speed for name, speed in rates.items() if name in SB3), default=None)
        for name, of in done.items():
            if not of:
                continue
            times = f"{rates[name] / peer:.2f}x" if peer else ""
            memory = f"{median(run['peak_rss_mb'] for run in of):.0f}"
            by_cpu = spread([run["env_steps"] / run["cpu_s"] for run in of]) if name != "sb3-processes" else ""
            rows.append([str(n_cores), (SB3 | OURS)[name], spread([rate(run) for run in of]), times, by_cpu, memory])
            if name in OURS:
                phases.append([str(n_cores), OURS[name], *_shares(of), f"{1e6 / rates[name]:.1f}"])
        if not rates:
            continue
        best = max((speed for name, speed in rates.items() if name.startswith("envpool")), default=None)
        cores = f"{n_cores} core{'s' if n_cores > 1 else ''}"
        bars.append(bar(f"EnvPool to SB3, {cores}", best / peer if best and peer else None, NEEDED, unit="x"))
        if done["envpool-1"] and done["sb3"]:
            one, other = (
                median(run["env_steps"] / run["cpu_s"] for run in done[name]) for name in ("envpool-1", "sb3")
            )
            bars.append(bar(f"EnvPool, 1 thread, to SB3, {cores}, per CPU s", one / other, NEEDED, unit="x"))
    header = ["cores", "contender", "env steps/s", "to SB3", "per CPU s", "peak MB"]
    parts = [
        "# Envs in C++: PPO on LunarLander-v3",
        "\n".join(f"- {name}: {value}" for name, value in about.items()),
        *(["\n".join(failed)] if failed else []),
        table(header, rows, left=2),
        NOTES,
        "## Bars",
        table(["bar", "measured", "needed", "verdict"], bars),
        "## Where Maze's time goes",
        table(["cores", "contender", *PHASES, "statistics", "µs per env step"], phases, left=2),
    ]
    return "\n\n".join(parts) + "\n"


def _is_of(run: Run, n_cores: int, contender: str) -> bool:
    return "error" not in run and (run["cores"], run["contender"]) == (n_cores, contender)


def _shares(runs: Sequence[Run]) -> list[str]:
    """Write the shares of the time of training, and what no phase has counted."""
    shares = [median(100 * run["seconds"][phase] / run["train_s"] for run in runs) for phase in PHASES]
    rest = median(100 * (1 - sum(run["seconds"].values()) / run["train_s"]) for run in runs)
    return [f"{share:.0f} %" for share in (*shares, rest)]


def main() -> None:
    """Run everything and print the tables; exit with 1 if a run failed."""
    parser = argparse.ArgumentParser(description="PPO on LunarLander-v3 with EnvPool, side by side.")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contender (default 3)")
    parser.add_argument("--cores", type=int, nargs="+", choices=PLAN, default=list(PLAN), help="pinned to 1 core, or 2")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report to FILE, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures to FILE")
    options = parser.parse_args()
    about = {"date": date.today().isoformat(), "processor": processor()}
    about["load before the start"] = f"{os.getloadavg()[0]:.1f} (near 0, or the figures mean little)"
    about["versions"] = versions(sys.executable, PACKAGES)
    if BENCH_PYTHON.exists():
        about["versions, stable-baselines3"] = versions(BENCH_PYTHON, PACKAGES)
    about["runs"] = f"medians (min..max) of {options.repeats} each, contenders taking turns"
    runs = run_all(options.cores, options.repeats)
    text = report(runs, about)
    print(text, end="")
    if options.output:
        options.output.write_text(text)
    if options.json:
        options.json.write_text(json.dumps({**about, "runs": runs}, indent=2) + "\n")
    sys.exit(any("error" in run for run in runs))


if __name__ == "__main__":
    main()
