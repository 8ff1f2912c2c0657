"""The rollouts tables in Markdown: env steps per second, the bar, whole processes, phases."""

from collections.abc import Mapping, Sequence
from statistics import median

from common import Run, bar, short, spread, table
from rollouts_contenders import MAIN, Ours, Theirs
from rollouts_phases import PHASES

BAR = 2.0
CLOCKS = {"rollout_s": "env steps/s", "cpu_s": "env steps per CPU s"}
NOTES = """\
- env steps/s: of the episodes that were asked for; imports, composing the configuration and loading the policy are
  outside. Maze: all that `maze rollout` does then, so with building envs and networks, files and the printed table.
  SB3: `evaluate_policy` alone.
- to SB3: times the speed of SB3's fastest form. per CPU s: env steps per second in which the process had the core;
  what else ran on the machine matters less there.
- Everyone: CartPole-v1, deterministic actions of a [64, 64] tanh policy, one thread, one core (SubprocVecEnv: two).
  Each side trained its own with the tuned hyper-parameters of `experiment=ppo_cartpole`, until 20 deterministic
  episodes reached 500 steps. Random actions end an episode much sooner; there are 20 times as many of them.
- Maze runs 16 episodes at a time, and makes a row in two files for each."""
PROCESSES_NOTE = """\
- From the start of the process to its end, imports included. SB3's script imports it, loads the policy and calls
  `evaluate_policy`; 100 envs are one for each episode."""
PHASES_NOTE = """\
- Microseconds per env step, from a run of its own with a clock around each part. statistics: counting actions and
  reducing episodes. writing: the run directory, rows, trajectories. building: envs and networks, which does not
  grow with the number of episodes. rest: the loop over steps itself, rows of episodes, what is printed."""

Seconds = Mapping[str, Sequence[float]]
"""Wall seconds of processes by title; the first is Maze's."""


def report(chosen: Sequence[Ours | Theirs], runs: Sequence[Run], seconds: Seconds, about: Mapping[str, str]) -> str:
    """Return the whole report."""
    by_key = {one.key: [run for run in runs if run["contender"] == one.key and "error" not in run] for one in chosen}
    theirs = [one for one in chosen if isinstance(one, Theirs)]
    fastest = fastest_rate([by_key[one.key] for one in theirs])
    failed = dict.fromkeys(f"{run['contender']}: {run['error']}, {run['hint']}" for run in runs if "error" in run)
    parts = ["# Rollouts", "\n".join(f"- {name}: {value}" for name, value in about.items())]
    parts += ["\n".join(f"- **{line}**" for line in failed)] if failed else []
    parts += ["## Against stable-baselines3", rates_table(chosen, by_key, fastest), NOTES]
    parts += ["## Bars", bar_table(by_key.get(MAIN, []), [by_key[one.key] for one in theirs if one.n_cores == 1])]
    parts += ["## Whole processes, 100 episodes", processes_table(seconds), PROCESSES_NOTE]
    ours = [one for one in chosen if isinstance(one, Ours)]
    parts += ["## Where Maze's time goes", phases_table(ours, by_key), PHASES_NOTE]
    return "\n\n".join(parts) + "\n"


def rates(runs: Sequence[Run], clock: str = "rollout_s") -> list[float]:
    """Return the env steps per second of each run, by the wall's clock or another."""
    return [run["env_steps"] / run[clock] for run in runs]


def fastest_rate(forms: Sequence[Sequence[Run]], clock: str = "rollout_s") -> float | None:
    """Return the median of env steps per second of the fastest form, or None if none ran."""
    return max((median(rates(runs, clock)) for runs in forms if runs), default=None)


def rates_table(chosen: Sequence[Ours | Theirs], by_key: Mapping[str, Sequence[Run]], fastest: float | None) -> str:
    """Write the speed of every contender."""
    rows = []
    for contender in chosen:
        runs = by_key[contender.key]
        cells = ["", "", "not run", "", "", ""]
        if runs:
            length = median(run["env_steps"] / run["n_episodes"] for run in runs)
            ratio = "" if fastest is None else f"{median(rates(runs)) / fastest:.2f}x"
            alone = "" if contender.n_cores > 1 else short(median(rates(runs, "cpu_s")))
            peak_mb = f"{median(run['peak_rss_mb'] for run in runs):.0f}"
            cells = [f"{runs[0]['n_episodes']}", f"{length:.0f}", spread(rates(runs)), ratio, alone, peak_mb]
        rows.append([contender.title, *cells])
    return table(["contender", "episodes", "mean length", "env steps/s", "to SB3", "per CPU s", "peak MB"], rows)


def bar_table(runs: Sequence[Run], forms: Sequence[Sequence[Run]]) -> str:
    """Compare what was measured with what is asked of Maze."""
    rows = []
    for clock, name in CLOCKS.items():
        fastest = fastest_rate(forms, clock)
        ratio = median(rates(runs, clock)) / fastest if runs and fastest else None
        rows.append(bar(f"maze rollout, {name}, to SB3's fastest", ratio, BAR, unit="x"))
    return table(["bar", "measured", "needed", "verdict"], rows)


def processes_table(seconds: Seconds) -> str:
    """Write the wall times of whole processes."""
    ours = next(iter(seconds.values()))
    rows = []
    for title, times in seconds.items():
        ratio = f"{median(times) / median(ours):.2f}x" if ours and times else ""
        rows.append([title, spread(times) if times else "not run", ratio])
    return table(["process", "wall s", "to Maze"], rows)


def phases_table(ours: Sequence[Ours], by_key: Mapping[str, Sequence[Run]]) -> str:
    """Write what an env step costs Maze, by phase."""
    rows = []
    for contender in ours:
        runs = by_key[contender.key]
        if runs:
            parts = [median(1e6 * run["phases"].get(name, 0.0) / run["env_steps"] for run in runs) for name in PHASES]
            rest = median(1e6 * (run["with_clock_s"] - sum(run["phases"].values())) / run["env_steps"] for run in runs)
            total = median(1e6 * run["with_clock_s"] / run["env_steps"] for run in runs)
            rows.append([contender.title, *(f"{value:.2f}" for value in (*parts, rest, total))])
    return table(["µs per env step", *PHASES, "rest", "all"], rows)
