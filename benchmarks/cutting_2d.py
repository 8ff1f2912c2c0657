"""Cutting in two dimensions: how soon it is solved, what masks and sub-steps are worth, whether learning pays, speed.

Every finished run is a line of `results/cutting_2d.jsonl`, so the command goes on where it was interrupted;
`results/cutting_2d.md` and `results/cutting_2d.png` are made from these lines.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from common import HERE, RESULTS, Run, run_process
from cutting_2d_cases import PARTS, Case
from cutting_2d_picture import draw
from cutting_2d_report import report
from cutting_2d_runs import KINDS
from cutting_2d_tables import Results
from resumable import read_lines, run_tasks

LINES = RESULTS / "cutting_2d.jsonl"
REPORT = RESULTS / "cutting_2d.md"
PICTURE = RESULTS / "cutting_2d.png"


@dataclass(frozen=True)
class Task:
    """One run that is to be made.

    Args:
        case: Its case.
        seed: Its seed.
    """

    case: Case
    seed: int

    @property
    def identity(self) -> Run:
        """What a line of the results is found by."""
        return {"part": self.case.part, "case": self.case.key, "seed": self.seed, "hash": self.case.hash}

    def run(self) -> Run:
        """Run it in a process of its own, pinned where speed counts, and return its line of the results."""
        command = [
            sys.executable,
            str(HERE / "cutting_2d.py"),
            "--child",
            self.case.part,
            self.case.key,
            str(self.seed),
        ]
        told = {"date": date.today().isoformat()}
        if self.case.part == "speed":
            load = {"load": round(os.getloadavg()[0], 1)}
            return self.identity | told | load | run_process(command, n_cores=1)
        return self.identity | told | run_process(command)


def tasks_of(parts: Sequence[str], seeds: Sequence[int] | None = None) -> list[Task]:
    """Return all tasks, part by part; within a part the cases take turns."""
    tasks = []
    for part in parts:
        cases = PARTS[part]()
        every = sorted({seed for case in cases for seed in case.seeds})
        chosen = [seed for seed in every if seeds is None or seed in seeds]
        tasks += [Task(case, seed) for seed in chosen for case in cases if seed in case.seeds]
    return tasks


def _name(line: Run) -> str:
    return "/".join(str(line[part]) for part in ("part", "case", "seed", "hash"))


def told(task: Task, line: Run) -> str:
    """Say which task it was and how long it trained."""
    result = f"FAILED, {line['hint']}" if "error" in line else f"{line['env_steps']:,} env steps"
    return f"{task.case.part}, {task.case.key}, seed {task.seed}: {result}"


def write_report() -> None:
    """Write table and picture from the lines whose configuration is still that of today."""
    known = read_lines(LINES, _name)
    results: Results = {}
    for task in tasks_of(list(PARTS)):
        line = known.get(_name(task.identity))
        if line is not None:
            results.setdefault((task.case.part, task.case.key), []).append(line)
    drawn = draw(results, PICTURE)
    REPORT.write_text(report(results, PICTURE.name if drawn else None))
    print(f"wrote {REPORT}{f' and {PICTURE}' if drawn else ''}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Cutting in two dimensions; goes on where it was.")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, help="only these, of those that a part has; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once, one thread each; speed has one alone")
    parser.add_argument("--again", action="store_true", help="run what was run before, too")
    parser.add_argument("--report", action="store_true", help="run nothing, only write the report")
    parser.add_argument("--child", nargs=3, metavar=("PART", "CASE", "SEED"), help=argparse.SUPPRESS)
    return parser.parse_args()


def run_child(part: str, key: str, seed: int) -> Run:
    """Run one case in this process, and return its figures."""
    case = next(case for case in PARTS[part]() if case.key == key)
    return KINDS[case.kind](case, seed)


def main() -> None:
    """Run what is missing and write the report; exit with 1 if a run failed."""
    options = parse_arguments()
    if options.child:
        part, key, seed = options.child
        print(json.dumps(run_child(part, key, int(seed))))
        return
    RESULTS.mkdir(exist_ok=True)
    n_failed = 0
    if not options.report:
        tasks = tasks_of(options.parts, options.seeds)
        known = {} if options.again else read_lines(LINES, _name)
        missing = [task for task in tasks if "error" in known.get(_name(task.identity), {"error": ""})]
        print(f"{len(missing)} of {len(tasks)} runs to do", flush=True)
        n_failed = run_tasks(
            [task for task in missing if task.case.part != "speed"], options.jobs, LINES, Task.run, told
        )
        n_failed += run_tasks([task for task in missing if task.case.part == "speed"], 1, LINES, Task.run, told)
    write_report()
    sys.exit(n_failed > 0)


if __name__ == "__main__":
    main()
