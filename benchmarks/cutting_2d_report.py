"""The report of the cutting benchmark in Markdown."""

import sys
from datetime import date

from common import processor, table, versions
from cutting_2d_cases import (
    FORM_BUDGETS,
    FORM_PPO,
    LARGE_SEEDS,
    N_EVAL_EPISODES,
    N_FINAL_EPISODES,
    N_ORDERS,
    N_ORDERS_AT_ONCE,
    N_SEEDS,
    N_SPEED_ENVS,
    OPTIMUM,
    REPEATS,
    SPEED_BUDGET,
    TUTORIAL,
)
from cutting_2d_tables import (
    NEAR_OPTIMUM,
    POINTS,
    Results,
    form_rows,
    large_rows,
    level_rows,
    order_rows,
    policy_rows,
    seed_rows,
    speed_bars,
    speed_rows,
    steps,
)
from learning_report import N_RESAMPLES

PACKAGES = ("numpy", "torch", "gymnasium")

LEVELS = f"""\
`maze train {" ".join(f"{group}={name}" for group, name in TUTORIAL.items())} algorithm=...`,
with and without `env.demand=fixed`, default hyper-parameters, {N_SEEDS} seeds. A run ends when {N_EVAL_EPISODES}
deterministic episodes, after each epoch, have a mean return of {OPTIMUM:g}, the optimum."""
LEVEL_NOTES = f"""\
- env steps: of training before the first evaluation that reached {OPTIMUM:g}, median (min..max) of the seeds. The first
  evaluation comes after the first epoch, so nothing below the length of an epoch can be measured.
- untrained, trained: median over the seeds of the deterministic policy's return before training, and of
  {N_FINAL_EPISODES} episodes with the best weights.
- sampled: median of the mean return of the training episodes in the last epoch; random valid actions have about -35.4
  (fixed) and -33.7 (cycle). With these demands nothing is random but the actions: a deterministic policy has one
  return, and it can be the optimum long before the sampled actions are optimal. For es: the mean of the population.

Every seed, the return of the untrained policy in brackets:"""

FORM_NOTES = f"""\
- PPO, {", ".join(f"{name}={value}" for name, value in FORM_PPO.items())}, for all
  forms; `env.demand=fixed`; {N_SEEDS} seeds. Budgets in env steps:
  {", ".join(f"{form} {steps(n)}" for form, n in FORM_BUDGETS.items())}.
- Interquartile mean over the seeds [its 95 % interval] of the mean return: deterministic, of 20 episodes (equal to
  each other, since nothing is random); sampled, of the episodes that ended in an epoch of training. Each at the epoch
  nearest to the env steps of the column.
- order: the interval of the difference has to lie above 0.
- >= {NEAR_OPTIMUM:g} from: env steps at the first point whose interquartile mean is there."""

LARGE_NOTES = f"""\
- Raw pieces of 100 x 100, {N_ORDERS} episodes: episode i has seed i, which alone draws its orders, so that all
  policies get the same; {N_ORDERS_AT_ONCE} envs at once. PPO acts deterministically, with the weights that were best
  in the evaluations of its training.
- Differences are PPO's return minus the heuristic's on the same orders. In brackets 95 % intervals: percentiles of
  {N_RESAMPLES:,} bootstrap resamples of the episodes. > 0: the whole interval, of the training seed with the median
  return; the gate is against the better of the two that always make the same cut first."""

SPEED_NOTES = f"""\
- Every run is pinned to one core, with one thread; medians (min..max) of {len(REPEATS)}, the cases taking turns.
- env: {N_SPEED_ENVS} envs at once through whole episodes with random valid actions, resets included; both sub-steps of
  the structured forms are one env step. "with drawing" counts the time to draw the actions as well.
- training: {SPEED_BUDGET:,} env steps of PPO on the masked form. Learning, statistics, logs and saved weights are
  included; evaluations, imports and a warm-up are not. preset: the networks of
  `model={TUTORIAL["model"]}`; dense: `model=flatten_concat`, all observations through dense layers."""


def report(results: Results, picture: str | None) -> str:
    """Return the whole report; `picture` is the file of the learning curves, or None."""
    form_header = ["form", "actions", *map(steps, POINTS), f">= {NEAR_OPTIMUM:g} from", "published"]
    level_header = ["algorithm", "demand", f"env steps to {OPTIMUM:g}", "reached", "median needed", "verdict"]
    parts = [
        "# Cutting in two dimensions",
        "\n".join(f"- {name}: {value}" for name, value in about(results).items()),
        "## Levels: does each algorithm solve the tutorial instance?",
        LEVELS,
        table([*level_header, "untrained", "trained", "sampled"], level_rows(results), left=2),
        LEVEL_NOTES,
        table(["algorithm", "demand", *map(str, range(1, N_SEEDS + 1))], seed_rows(results), left=2),
        "## Forms: what are masks and sub-steps worth?",
        *([] if picture is None else [f"![Learning curves of the three forms]({picture})"]),
        table(form_header, form_rows(results), left=2),
        table(["order, sampled actions", "difference", "needed", "verdict"], order_rows(results)),
        FORM_NOTES,
        "## Large instance: does learning beat a heuristic?",
        table(["policy", "mean return [95 % interval]"], policy_rows(results)),
        table(["PPO minus", *(f"seed {seed}" for seed in LARGE_SEEDS), "needed", "verdict"], large_rows(results)),
        LARGE_NOTES,
        "## Speed",
        table(["what", "env steps/s", "with drawing"], speed_rows(results)),
        table(["bar", "measured", "needed", "verdict"], speed_bars(results)),
        SPEED_NOTES,
    ]
    return "\n\n".join(parts) + "\n"


def about(results: Results) -> dict[str, str]:
    """Return when and on what the results were made."""
    lines = [line for of_case in results.values() for line in of_case]
    dates = sorted({line["date"] for line in lines})
    n_failed = sum("error" in line for line in lines)
    told = {"date": date.today().isoformat(), "processor": processor(), "versions": versions(sys.executable, PACKAGES)}
    if dates:
        told["runs"] = f"{dates[0]} to {dates[-1]}; {n_failed or 'none'} failed"
    loads = [line["load"] for line in lines if "load" in line]
    if loads:
        told["load before the runs of speed"] = f"{min(loads)} to {max(loads)} (near 0, or the figures mean little)"
    return told
