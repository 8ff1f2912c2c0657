"""The throughput tables in Markdown: env steps per second, bars, phases, kernels, time to solve."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from common import Run, bar, rate, short, spread, table
from throughput_works import Work

CONTENDERS = {"dense": "Maze", "autograd": "Maze, autograd kernel", "sb3": "stable-baselines3"}
PHASES = ("env", "forward", "store", "update")
BAR_OVERHEAD = 15.0
BAR_SOLVE = 1 / 3
NOTES = """\
- env steps/s: of training, learning included; imports, warm-up and evaluations excluded. For Maze with statistics,
  logs, pictures of the networks and saved weights, and with all callbacks.
- Everyone: [64, 64] tanh, separate networks for policy and value, the same hyper-parameters, one thread, one core;
  envs without rendering and without checks at each step.
- peak MB: largest resident memory of the process. Maze's has TensorBoard and matplotlib in it."""
PHASES_NOTE = """\
- Shares of the time of training. store: rewards, episodes and what else is kept of an env step. statistics: what
  no phase has counted, so reduction of statistics, callbacks, logs, saved weights, pictures."""
KERNELS_NOTE = """\
- PPO, 8 envs, 128 steps, minibatches of 256, 4 epochs; the kernel that Maze chooses by itself against
  `runner.kernel=autograd`. Envs with other action spaces are those of `identity_envs.py`."""
SOLVE_NOTES = """\
- The tuned hyper-parameters of `experiment=ppo_cartpole`; every 2,560 env steps 20 deterministic episodes, solved
  at a mean of 475. Seconds of training, without the evaluations."""


class Figures:
    """The runs that gave figures, by work and contender.

    Args:
        runs: All runs.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs: dict[tuple[str, str], list[Run]] = {}
        for run in runs:
            if "error" not in run:
                self._runs.setdefault((run["work"], run["contender"]), []).append(run)

    def of(self, work: Work, contender: str) -> list[Run]:
        """Return the runs of one contender."""
        return self._runs.get((work.key, contender), [])

    def rate(self, work: Work, contender: str) -> float | None:
        """Return the median of env steps per second, or None."""
        rates = [rate(run) for run in self.of(work, contender)]
        return median(rates) if rates else None

    def ratio(self, work: Work, contender: str, base: str) -> float | None:
        """Return how many times as fast as `base` a contender is, or None."""
        one, other = self.rate(work, contender), self.rate(work, base)
        return one / other if one and other else None


def report(works: Sequence[Work], runs: Sequence[Run], about: Mapping[str, str]) -> str:
    """Return the whole report."""
    figures = Figures(runs)
    compared = [work for work in works if "sb3" in work.contenders and not work.solve]
    covered = [work for work in works if "sb3" not in work.contenders]
    solving = [work for work in works if work.solve]
    failed = [f"{run['work']}, {run['contender']}: {run['error']}, {run['hint']}" for run in runs if "error" in run]
    parts = ["# Throughput", "\n".join(f"- {name}: {value}" for name, value in about.items())]
    if failed:
        parts.append("\n".join(f"- **{line}**" for line in dict.fromkeys(failed)))
    if compared:
        parts += ["## Against stable-baselines3", rates_table(compared, figures), NOTES]
    parts += ["## Bars", bars_table(compared, solving, figures)] if compared or solving else []
    if compared:
        parts += ["## Where Maze's time goes", phases_table(compared, figures), PHASES_NOTE]
    if covered:
        parts += ["## Kernels", coverage_table(covered, figures), KERNELS_NOTE]
    for work in solving:
        parts += [f"## {work.title}", solve_table(work, figures), SOLVE_NOTES]
    return "\n\n".join(parts) + "\n"


def rates_table(works: Sequence[Work], figures: Figures) -> str:
    """Write speed and memory of every contender."""
    rows = []
    for work in works:
        for contender in work.contenders:
            runs, ratio = figures.of(work, contender), figures.ratio(work, contender, "sb3")
            cells = ["not run", "", ""]
            if runs:
                times = "" if ratio is None else f"{ratio:.2f}x"
                cells = [
                    spread([rate(run) for run in runs]),
                    times,
                    f"{median(run['peak_rss_mb'] for run in runs):.0f}",
                ]
            rows.append([work.title, CONTENDERS[contender], *cells])
    return table(["work", "contender", "env steps/s", "to SB3", "peak MB"], rows, left=2)


def bars_table(compared: Sequence[Work], solving: Sequence[Work], figures: Figures) -> str:
    """Compare what was measured with what is asked of Maze."""
    rows = []
    for work in compared:
        for contender, needed in work.bars.items():
            value = figures.ratio(work, contender, "sb3")
            goal = work.goal if contender == "dense" else None
            name = f"{work.title}, {contender} kernel, to SB3"
            rows.append([*bar(name, value, needed, unit="x"), goal_text(value, goal)])
    for work in compared:
        value = overhead(figures.of(work, "dense"))
        name = f"{work.title}, beyond env, forward and update"
        rows.append([*bar(name, value, BAR_OVERHEAD, unit=" %", at_most=True), ""])
    for work in solving:
        seconds = [solve_seconds(figures.of(work, contender)) for contender in ("dense", "sb3")]
        ours, theirs = (median(times) if times else None for times in seconds)
        value = ours / theirs if ours is not None and theirs else None
        rows.append([*bar(f"{work.title}, training s to SB3's", value, BAR_SOLVE, unit="x", at_most=True), ""])
    return table(["bar", "measured", "needed", "verdict", "goal"], rows)


def goal_text(value: float | None, goal: float | None) -> str:
    """Write the goal and whether it is reached."""
    if goal is None:
        return ""
    return f"{short(goal)}x" + ("" if value is None else ", reached" if value >= goal else ", not yet")


def overhead(runs: Sequence[Run]) -> float | None:
    """Return the per cent of training time that is neither env nor forward nor update, the median."""
    shares = [
        100 * (1 - sum(run["seconds"][name] for name in ("env", "forward", "update")) / run["train_s"]) for run in runs
    ]
    return median(shares) if shares else None


def phases_table(works: Sequence[Work], figures: Figures) -> str:
    """Write the shares of Maze's phases; what no phase has counted is statistics."""
    rows = []
    for work in works:
        for contender in ("dense", "autograd"):
            runs = figures.of(work, contender)
            if runs:
                shares = {name: median(100 * run["seconds"][name] / run["train_s"] for run in runs) for name in PHASES}
                rest = median(100 * (1 - sum(run["seconds"].values()) / run["train_s"]) for run in runs)
                per_step = 1e6 / (figures.rate(work, contender) or 1)
                cells = [f"{share:.0f} %" for share in (*shares.values(), rest)]
                rows.append([work.title, runs[0]["kernel"], *cells, f"{per_step:.1f}"])
    return table(["work", "kernel", *PHASES, "statistics", "µs per env step"], rows, left=2)


def coverage_table(works: Sequence[Work], figures: Figures) -> str:
    """Write what the dense kernel gains for each kind of critic and action space."""
    rows = []
    for work in works:
        rates = [[rate(run) for run in figures.of(work, contender)] for contender in ("dense", "autograd")]
        ratio = figures.ratio(work, "dense", "autograd")
        chosen = sorted({run["kernel"] for run in figures.of(work, "dense")})
        cells = [spread(values) if values else "not run" for values in rates]
        rows.append([work.title, ", ".join(chosen), *cells, "" if ratio is None else f"{ratio:.2f}x"])
    return table(["PPO", "kernel chosen", "chosen, env steps/s", "autograd, env steps/s", "ratio"], rows, left=2)


def solve_seconds(runs: Sequence[Run]) -> list[float]:
    """Return the seconds of training of each run; infinite where it was not solved."""
    return [run["train_s"] if run["solved"] else float("inf") for run in runs]


def solve_table(work: Work, figures: Figures) -> str:
    """Write how long each contender took until it was solved."""
    rows = []
    for contender in work.contenders:
        runs = figures.of(work, contender)
        cells: list[Any] = ["not run", "", "", ""]
        if runs:
            solved = f"{sum(run['solved'] for run in runs)}/{len(runs)}"
            each = ", ".join(short(seconds) for seconds in solve_seconds(runs))
            cells = [spread(solve_seconds(runs)), spread([run["env_steps"] for run in runs]), solved, each]
        rows.append([CONTENDERS[contender], *cells])
    return table(["contender", "training s", "env steps", "solved", "each seed, s"], rows)
