"""What worker processes are worth: the same training in this process, with one worker, and with two.

All forms take turns (A B C D A B C D) in processes of their own; medians are shown with min..max. The first
update is left out: in it workers start.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from statistics import median

from common import HERE, Run, processor, rate, run_process, spread, table, versions

Form = tuple[str, int, int | None]
FORMS: dict[str, Form] = {
    "this process": ("local", 0, None), "1 worker": ("local", 1, None), "2 workers": ("local", 2, None),
    "2 workers, one core": ("local", 2, 1),
}  # fmt: skip
"""Runner, workers, and cores that all processes together may use."""

RAY_FORMS: dict[str, Form] = {
    "1 worker": ("local", 1, None), "1 of Ray": ("ray", 1, None), "2 workers": ("local", 2, None),
    "2 of Ray": ("ray", 2, None),
}  # fmt: skip
"""The same with ``--ray``."""

RAY_ENVS = ("a step sleeps 2 ms", "a step computes 0.5 ms", "Acrobot-v1, 0.02 ms")
ENVS: dict[str, tuple[str, Run]] = {
    "a step sleeps 2 ms": ("slow", {"env.sleep_ms": 2.0}),
    "a step computes 2 ms": ("slow", {"env.compute_ms": 2.0}),
    "a step computes 0.5 ms": ("slow", {"env.compute_ms": 0.5}),
    "Acrobot-v1, 0.02 ms": ("gym_env", {"env.name": "Acrobot-v1"}),
}
WORKS: dict[str, Run] = {
    "ppo": {"algorithm.n_envs": 8, "algorithm.n_rollout_steps": 64, "algorithm.epoch_length": 1, "runner.n_epochs": 4},
    "es": {"algorithm.n_rollouts_per_update": 16, "runner.n_epochs": 3},
}
BARS = {"two workers, against one": 1.8, "one worker, against this process": 0.95}
LEGEND = """\
- Env steps per second of training, updates included, evaluation and start-up excluded; defaults but for the sizes:
  ppo with 8 envs and rollouts of 64 steps, es with populations of 16.
- sleeping is what an env does that waits for another program; computing needs a core, and there are two.
- The bars are for ppo and the step that sleeps 2 ms."""
RAY_LEGEND = """\
- Env steps per second of training, updates included, evaluation and start-up excluded; the same work as in
  [workers.md](workers.md), here without Ray in workers of this machine, and with a Ray cluster of this machine.
- Nothing else differs: which envs a worker has, what it computes, and every bit of the result are the same.
- Both cores are shared with Ray's own processes and with the one that learns. A network between machines adds to the
  time of a round trip; it does not add cores here."""


def run_ours(env: str, algorithm: str, runner: str, n_workers: int, seed: int) -> Run:
    """Trains in this process, and times all updates but the first."""
    from maze_core import RunContext

    name, options = ENVS[env]
    overrides = {
        **options, **WORKS[algorithm], "runner.n_workers": n_workers, "runner.stop_at_reward": math.inf,
        "runner.evaluation.every_epochs": 10**6, "runner.evaluation.n_episodes": 1, "runner.patience": None,
    }  # fmt: skip
    with (
        tempfile.TemporaryDirectory(dir=HERE) as folder,
        RunContext(env=name, algorithm=algorithm, runner=runner, overrides=overrides, seed=seed, callbacks=[],
                   run_dir=f"{folder}/run", plugins=[str(HERE / "slow_env")], silent=True) as rc,
    ):  # fmt: skip
        rc.train(n_epochs=1)
        seconds, env_steps = rc.training_seconds, rc.trainer.env_steps
        rc.train(n_epochs=int(overrides["runner.n_epochs"]) - 1)
        return {"env_steps": rc.trainer.env_steps - env_steps, "train_s": rc.training_seconds - seconds}


def rates_of(runs: list[Run], env: str, algorithm: str, forms: Iterable[str]) -> list[list[float]]:
    """Env steps per second, for each form those of its runs."""
    return [
        [rate(run) for run in runs if (run["env"], run["algorithm"], run["form"]) == (env, algorithm, form)]
        for form in forms
    ]


def head(title: str, packages: Sequence[str]) -> list[str]:
    """How a page of results begins."""
    return [f"# {title}", "", f"{date.today().isoformat()}, {processor()}, {versions(sys.executable, packages)}", ""]


def ray_report(runs: list[Run]) -> str:
    """The table of workers in a Ray cluster beside those of the local runner."""
    rows = []
    for env in RAY_ENVS:
        for algorithm in WORKS:
            rates = rates_of(runs, env, algorithm, RAY_FORMS)
            local_1, ray_1, local_2, ray_2 = (median(of) for of in rates)
            rows.append([env, algorithm, *map(spread, rates), f"{ray_1 / local_1:.2f}", f"{ray_2 / local_2:.2f}",
                         f"{ray_2 / ray_1:.2f}"])  # fmt: skip
    columns = ["env", "algorithm", *RAY_FORMS, "Ray / local, 1", "Ray / local, 2", "Ray, 2 / 1"]
    return "\n".join([
        *head("Workers in a Ray cluster", ("ray", "numpy", "torch", "gymnasium")), table(columns, rows, left=2), "",
        RAY_LEGEND, "",
    ])  # fmt: skip


def report(runs: list[Run]) -> str:
    """The table and what it says."""
    rows, ratios = [], dict[tuple[str, str], tuple[float, float]]()
    for env in ENVS:
        for algorithm in WORKS:
            rates = rates_of(runs, env, algorithm, FORMS)
            here, one, two, _ = (median(of) for of in rates)
            ratios[env, algorithm] = two / one, one / here
            rows.append([env, algorithm, *map(spread, rates), f"{one / here:.2f}", f"{two / one:.2f}"])
    found = ratios["a step sleeps 2 ms", "ppo"]
    verdicts = [
        f"{name}: {ratio:.2f}, bar {bar}, {'met' if ratio >= bar else 'MISSED'}"
        for (name, bar), ratio in zip(BARS.items(), found, strict=True)
    ]
    return "\n".join([
        *head("Workers", ("numpy", "torch", "gymnasium")),
        table(["env", "algorithm", *FORMS, "1 / this", "2 / 1"], rows, left=2), "",
        f"The step that sleeps, ppo: {'; '.join(verdicts)}.", "",
        LEGEND, "",
    ])  # fmt: skip


def main() -> None:
    """Runs all forms in turns and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each form")
    parser.add_argument("--ray", action="store_true", help="compare workers of a Ray cluster with local ones")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        env, algorithm, runner, n_workers = options.child
        print(json.dumps(run_ours(env, algorithm, runner, int(n_workers), options.seed)))
        return
    forms = RAY_FORMS if options.ray else FORMS
    runs: list[Run] = []
    for seed in range(1, options.repeats + 1):
        for env in RAY_ENVS if options.ray else ENVS:
            for algorithm in WORKS:
                for form, (runner, n_workers, n_cores) in forms.items():
                    child = ["--child", env, algorithm, runner, str(n_workers), "--seed", str(seed)]
                    figures = run_process([sys.executable, str(Path(__file__).resolve()), *child], n_cores=n_cores)
                    if "error" in figures:
                        sys.exit(f"{env}, {algorithm}, {form}: {figures['hint']}")
                    runs.append({"env": env, "algorithm": algorithm, "form": form} | figures)
                    print(runs[-1], file=sys.stderr, flush=True)
    text = ray_report(runs) if options.ray else report(runs)
    (HERE / "results" / ("ray.md" if options.ray else "workers.md")).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
