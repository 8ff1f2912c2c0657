"""What checkpoints cost: PPO on CartPole-v1 with one every five seconds, and with none.

Both forms take turns (A B A B) in processes of their own, pinned, one thread each; medians are shown
with min..max. The time spent in writing them is measured besides: it says the same with less noise.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median

from common import HERE, Run, processor, run_process, spread, table, versions

FORMS: dict[str, float | None] = {"every 5 s": 5.0, "none": None}
ENV_STEPS = 500_000
BAR = 0.03
LEGEND = """\
- PPO, CartPole-v1, defaults, 500k env steps, with all callbacks, one evaluation at the end; every run also
  writes a checkpoint before the first update and one at the end.
- train s: from the first update to the last; imports, evaluation and the last checkpoint excluded.
- in checkpoints: share of that time in which they were collected, hashed, written and flushed to the disk.
- A checkpoint has weights, Adam's moments, the best weights, the envs and the epoch under way; bytes: the newest."""


def run_ours(every_s: float | None, seed: int) -> Run:
    """Trains in this process, and times it."""
    from maze_core import RunContext
    from maze_core.runs.train import TrainingLoop

    spent: list[float] = []
    save = TrainingLoop.save

    def timed(loop: TrainingLoop) -> None:
        start = time.perf_counter()
        save(loop)
        spent.append(time.perf_counter() - start)

    TrainingLoop.save = timed  # type: ignore[method-assign]
    overrides: Run = {
        "env.name": "CartPole-v1", "runner.total_env_steps": ENV_STEPS, "runner.n_epochs": None,
        "runner.stop_at_reward": math.inf, "runner.patience": None, "runner.evaluation.every_epochs": 10**6,
        "runner.checkpoint.every_s": every_s,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        with RunContext(env="gym_env", algorithm="ppo", overrides=overrides, seed=seed, run_dir=f"{folder}/run",
                        silent=True) as rc:  # fmt: skip
            rc.train()
            train_s = rc.training_seconds + sum(spent[1:])
        newest = max(Path(folder, "run", "checkpoints").iterdir())
        size = sum(file.stat().st_size for file in newest.iterdir())
    in_training = spent[1:]  # the first is before the first update
    return {
        "env_steps": ENV_STEPS,
        "train_s": train_s,
        "share": sum(in_training) / train_s,
        "n": len(in_training),
        "each_ms": 1000 * median(in_training) if in_training else None,
        "bytes": size,
    }


def report(runs: list[Run]) -> str:
    """The table and what it says."""
    rows = []
    for form in FORMS:
        own = [run for run in runs if run["form"] == form]
        each = [run["each_ms"] for run in own if run["each_ms"] is not None]
        rows.append([
            form,
            spread([run["train_s"] for run in own]),
            str(median(run["n"] for run in own)),
            spread(each) if each else "-",
            f"{median(run['bytes'] for run in own):,}",
            f"{100 * median(run['share'] for run in own):.2f} %",
        ])  # fmt: skip
    seconds = {form: median(run["train_s"] for run in runs if run["form"] == form) for form in FORMS}
    share = median(run["share"] for run in runs if run["form"] == "every 5 s")
    ratio = seconds["every 5 s"] / seconds["none"]
    verdict = "met" if max(share, ratio - 1) <= BAR else "MISSED"
    return "\n".join([
        "# Cost of checkpoints", "",
        f"{date.today().isoformat()}, {processor()}, {versions(sys.executable, ('numpy', 'torch', 'gymnasium'))}", "",
        table(["checkpoints", "train s", "written", "ms each", "bytes", "in checkpoints"], rows), "",
        f"With checkpoints training takes {ratio:.3f} times as long (medians); {100 * share:.2f} % of it is in "
        f"checkpoints. Bar: at most {100 * BAR:.0f} % by either measure, {verdict}.", "",
        LEGEND, "",
    ])  # fmt: skip


def main() -> None:
    """Runs both forms in turns and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each form")
    parser.add_argument("--child", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_ours(FORMS[options.child], options.seed)))
        return
    runs: list[Run] = []
    for seed in range(1, options.repeats + 1):
        for form in FORMS:
            command = [sys.executable, str(Path(__file__).resolve()), "--child", form, "--seed", str(seed)]
            figures = run_process(command, n_cores=1)
            if "error" in figures:
                sys.exit(f"{form}: {figures['hint']}")
            runs.append({"form": form} | figures)
            print(f"{form}, seed {seed}: {runs[-1]}", file=sys.stderr, flush=True)
    text = report(runs)
    (HERE / "results" / "checkpoints.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
