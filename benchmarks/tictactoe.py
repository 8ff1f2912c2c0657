"""Does it learn a game with masks against an opponent? Noughts and crosses, as first and as second player.

Every finished run is a line of `results/tictactoe.jsonl`, so the command goes on where it was interrupted;
`results/tictactoe.md` is written from these lines.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import HERE, RESULTS, Run, processor, run_process, table, versions
from peer_jobs import digest, hyper_parameters
from resumable import read_lines, run_tasks
from tictactoe_play import OTHER, free, rates

from maze_core.stats.aggregates import wilson_interval

LINES, REPORT = RESULTS / "tictactoe.jsonl", RESULTS / "tictactoe.md"
EXPERIMENT = "ppo_tictactoe"
SEATS = {"first": ("player_1", "x"), "second": ("player_2", "o")}
"""Agent and mark of who learns."""

GATES = ("first",)
SEEDS = range(1, 6)
N_EPISODES = 2_000
EPISODE_SEED = 1_000_003
"""Seed of the rollouts, another one than those of training."""

NEAR = 0.01
"""How far below that of the best player the median seed's win rate may lie, as first player."""

PACKAGES = ("numpy", "torch", "gymnasium", "pettingzoo")
NOTES = f"""\
- best play: the win rate of the player that maximises wins less losses, computed exactly from all boards
  (`tictactoe_play.py`); any: that of valid moves with equal probability.
- win rate: of the best weights of the run, over {N_EPISODES:,} episodes of `maze rollout`, on seeds that neither
  trained nor selected them [95 % interval of Wilson].
- exact win, draw, loss: of the same policy, which draws nothing, computed from all boards that it can come to.
- below: how far the median seed's win rate lies below that of best play. level: as first player that is at most
  {NEAR:g}. The second player has no gate: it wins less often than it could, with the same budget.
- train s: seconds of training at one thread, under whatever load there was."""


def context(seat: str, **arguments: Any) -> Any:
    """Return the `RunContext` of a run."""
    from maze_core import RunContext

    overrides = {"env.agent": SEATS[seat][0], "runner.stop_at_reward": float("inf"), "runner.n_workers": 0}
    return RunContext(experiment=EXPERIMENT, overrides=overrides, silent=True, local_plugins=False, **arguments)


def shown(board: str, mark: str) -> dict[str, Any]:
    """Return what PettingZoo shows a player of a board."""
    planes = [[place == whose for place in board] for whose in (mark, OTHER[mark])]
    observation = np.array(planes, np.int8).T.reshape(3, 3, 2)
    return {"observation": observation, "action_mask": np.array([place == "." for place in board], np.int8)}


def train(seat: str, seed: int) -> Run:
    """Train in this process, and return the figures of the run."""
    import torch

    from maze_core import export, load_policy, rollout

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        with context(seat, seed=seed, run_dir=run, callbacks=[]) as rc:
            rc.train()
            figures = {"env_steps": rc.trainer.env_steps, "train_s": round(rc.training_seconds, 1)}
        done = rollout(input_dir=run, n_episodes=N_EPISODES, seed=EPISODE_SEED, save=False, silent=True)
        policy = load_policy(export(run, run / "policy.safetensors"))
    mark = SEATS[seat][1]
    exact = rates(mark, lambda board: [int(policy.compute_action(shown(board, mark)))])
    wins = round(N_EPISODES * done.statistics["KPIs/win_rate/mean"])
    return figures | {"wins": wins, "exact": [round(value, 6) for value in exact]}


@dataclass(frozen=True)
class Task:
    """One run that is to be made.

    Args:
        seat: As whom it learns.
        seed: Its seed.
        hash: Of its hyper-parameters.
    """

    seat: str
    seed: int
    hash: str

    @property
    def identity(self) -> Run:
        """What a line of the results is found by."""
        return {"seat": self.seat, "seed": self.seed, "hash": self.hash}

    def run(self) -> Run:
        """Run it in a process of its own, and return its line of the results."""
        command = [sys.executable, str(HERE / "tictactoe.py"), "--child", self.seat, str(self.seed)]
        return self.identity | {"date": date.today().isoformat()} | run_process(command)


def tasks_of(seats: Sequence[str], seeds: Sequence[int]) -> list[Task]:
    """Return all tasks; the seats take turns."""
    hashes = {}
    for seat in seats:
        with context(seat) as rc:
            hashes[seat] = digest(hyper_parameters(rc.config))
    return [Task(seat, seed, hashes[seat]) for seed in seeds for seat in seats]


def _name(line: Run) -> str:
    return "/".join(str(line[part]) for part in ("seat", "seed", "hash"))


def told(task: Task, line: Run) -> str:
    """Say which task it was and how often it won."""
    result = f"FAILED, {line['hint']}" if "error" in line else f"{line['wins'] / N_EPISODES:.4f} won"
    return f"{task.seat} player, seed {task.seed}: {result}"


def estimate(wins: float) -> str:
    """Write a win rate with its interval."""
    low, high = wilson_interval(round(wins), N_EPISODES)
    return f"{wins / N_EPISODES:.4f} [{low:.4f}, {high:.4f}]"


def seat_row(seat: str, lines: Sequence[Run]) -> list[str]:
    """Write the level and the median of one seat."""
    mark = SEATS[seat][1]
    best, anyhow = rates(mark).win, rates(mark, free).win
    head = [f"{seat} player", f"{anyhow:.4f}", f"{best:.4f}"]
    if not lines:
        return [*head, "not run", "-", "-", "-"]
    middle = median(line["wins"] for line in lines)
    exact = median(line["exact"][0] for line in lines)
    below = best - middle / N_EPISODES
    few = "" if len(lines) == len(SEEDS) else f" ({len(lines)} seeds)"
    verdict = "not run" if few else "pass" if below <= NEAR else "FAIL"
    verdict = verdict if seat in GATES else "no gate"
    return [*head, estimate(middle) + few, f"{exact:.4f}", f"{below:+.4f}", verdict]


def seed_rows(seat: str, lines: Sequence[Run]) -> list[list[str]]:
    """Write each seed of one seat."""
    return [
        [
            f"{seat} player", str(line["seed"]), estimate(line["wins"]), *(f"{rate:.4f}" for rate in line["exact"]),
            f"{line['env_steps']:,}", f"{line['train_s']:.0f}",
        ]
        for line in sorted(lines, key=lambda line: int(line["seed"]))
    ]  # fmt: skip


def write_report() -> None:
    """Write `results/tictactoe.md` from the lines whose hyper-parameters are still those of the experiment."""
    known = read_lines(LINES, _name)
    found = [known.get(_name(task.identity)) for task in tasks_of(list(SEATS), SEEDS)]
    lines = [line for line in found if line is not None and "error" not in line]
    by_seat = {seat: [line for line in lines if line["seat"] == seat] for seat in SEATS}
    dates = sorted({line["date"] for line in lines}) or ["none"]
    about = {"date": date.today().isoformat(), "processor": processor(), "runs": f"{dates[0]} to {dates[-1]}",
             "versions": versions(sys.executable, PACKAGES)}  # fmt: skip
    header = [
        "PPO with masks, as",
        "any: win",
        "best play: win",
        "win rate, median seed",
        "exact median",
        "below",
        "level",
    ]
    seeds_header = ["as", "seed", "win rate", "exact win", "draw", "loss", "env steps", "train s"]
    parts = [
        "# Noughts and crosses",
        "\n".join(f"- {name}: {value}" for name, value in about.items()),
        f"`maze train experiment={EXPERIMENT}`, and the same with `env.agent=player_2`, against `env.opponent=random`:",
        table(header, [seat_row(seat, by_seat[seat]) for seat in SEATS]),
        NOTES,
        "## Every seed",
        table(seeds_header, [row for seat in SEATS for row in seed_rows(seat, by_seat[seat])], left=2),
    ]
    REPORT.write_text("\n\n".join(parts) + "\n")
    print(f"wrote {REPORT}")


def main() -> None:
    """Run what is missing and write the report; exit with 1 if a run failed."""
    parser = argparse.ArgumentParser(description="Noughts and crosses against chance; goes on where it was.")
    parser.add_argument("--seats", nargs="+", default=list(SEATS), choices=list(SEATS), help="default: both")
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=list(SEEDS), help="default: 1 to 5, which the report has"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at once, one thread each")
    parser.add_argument("--again", action="store_true", help="run what was run before, too")
    parser.add_argument("--report", action="store_true", help="run nothing, only write the report")
    parser.add_argument("--child", nargs=2, metavar=("SEAT", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(train(options.child[0], int(options.child[1]))))
        return
    n_failed = 0
    if not options.report:
        tasks = tasks_of(options.seats, options.seeds)
        known = {} if options.again else read_lines(LINES, _name)
        missing = [task for task in tasks if "error" in known.get(_name(task.identity), {"error": ""})]
        print(f"{len(missing)} of {len(tasks)} runs to do", flush=True)
        n_failed = run_tasks(missing, options.jobs, LINES, Task.run, told)
    write_report()
    sys.exit(n_failed > 0)


if __name__ == "__main__":
    main()
