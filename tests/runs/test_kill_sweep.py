"""Runs are killed at random times and at every stage of writing, and end as if nothing had happened.

Every process is killed with its whole group by SIGKILL. The short form belongs to the normal suite; the
long one, with 50 kills for each algorithm and one at every single file operation, is ``make kill-sweep``.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.forks import Ended, Fault, ForkServer, fork_server
from support.resume import SHORT, SMALL, cut_off, differing, leftovers, result, store
from support.workers import workers_of

pytestmark = [pytest.mark.kill, pytest.mark.usefixtures("workdir")]

NORMALIZED = [
    "+wrappers=observation_normalization,return_normalization",
    "wrappers.observation_normalization.statistics=running",
]
FLAT = ["env=gym_env", "env.name=CartPole-v1"]
STRUCTURED = ["env=tutorial_cutting_2d_struct_masked", "env.max_steps=10", "wrappers=tutorial_cutting_2d"]
ONE_BY_ONE = ["env.kwargs.render_mode=rgb_array"]

CELLS = {
    ("es", "flat"): FLAT,
    ("es", "structured, normalised"): STRUCTURED + NORMALIZED,
    ("ppo", "flat, normalised"): FLAT + NORMALIZED,
    ("ppo", "structured"): STRUCTURED,
    ("a2c", "flat, one by one"): FLAT + ONE_BY_ONE,
    ("a2c", "structured, normalised"): STRUCTURED + NORMALIZED,
}
"""Each pair of algorithm, kind of env and normalisation occurs."""

SWEPT = {**SHORT, "runner.n_epochs": 6, "algorithm.epoch_length": 5, "runner.checkpoint.keep": 3}
"""Thirty updates, with a checkpoint after each, of which the newest three are kept."""
STAGED = {**SHORT, "runner.checkpoint.keep": 4}
"""Four updates; of six checkpoints four are kept."""


def command(cell: tuple[str, str], run_dir: str, size: dict[str, Any]) -> list[str]:
    values = {**size, **SMALL[cell[0]]}
    chosen = [f"algorithm={cell[0]}", *CELLS[cell], f"run_dir={run_dir}"]
    return ["train", *chosen, *(f"{key}={value}" for key, value in values.items())]


@dataclass(frozen=True)
class Uninterrupted:
    """A run that nobody killed.

    Args:
        directory: Where it is.
        found: Its `result`.
        seconds: How long it took.
    """

    directory: Path
    found: dict[str, Any]
    seconds: float


Reference = Callable[[tuple[str, str], dict[str, Any]], Uninterrupted]


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with fork_server(tmp_path_factory.mktemp("forks")) as server:
        yield server


@pytest.fixture(scope="module")
def uninterrupted(forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    made: dict[str, Uninterrupted] = {}

    def of(cell: tuple[str, str], size: dict[str, Any]) -> Uninterrupted:
        key = f"{cell} {size}"
        if key not in made:
            directory = tmp_path_factory.mktemp("uninterrupted") / "run"
            started = time.monotonic()
            ended = forks.run(*command(cell, str(directory), size))
            assert ended.code == 0, ended.stderr
            made[key] = Uninterrupted(directory, result(directory), time.monotonic() - started)
        return made[key]

    return of


def newest_after_kill(run: Path, before: int = -1) -> int:
    """The newest checkpoint, -1 if there is none yet; all of them are intact, and none is lost."""
    numbers = store(run).numbers()
    for number in numbers:
        store(run).verify(number)
    newest = max(numbers, default=-1)
    assert newest >= before
    return newest


def assert_ended_alike(run: Path, ended: Ended, reference: Uninterrupted) -> None:
    assert ended.code == 0, ended.stderr
    assert differing(reference.found, result(run)) == []
    if "This run is finished" in ended.stdout:  # it was killed when all but the last cleaning up was done
        return
    assert leftovers(run) == []
    told = [line for line in (run / "log.txt").read_text().splitlines() if line.startswith("Resumed at")]
    assert told and all(line.endswith("; exact.") for line in told)


# At random times


def sweep(
    algorithm: str, kills: int, forks: ForkServer, uninterrupted: Reference, workers: Sequence[int] = (0,)
) -> None:
    """Starts runs and kills them and what resumes them, up to four times in a row, until there were enough kills.

    The first of the numbers of workers is that of a run at its start, the others take turns when it goes on.
    """
    random_times = random.Random(algorithm)
    size, later = {**SWEPT, "runner.n_workers": workers[0]}, itertools.cycle(workers[::-1])
    cells = [cell for cell in CELLS if cell[0] == algorithm]
    killed = n_runs = 0
    while killed < kills:
        cell = cells[n_runs % len(cells)]
        reference, run, n_runs = uninterrupted(cell, size), Path(f"run-{n_runs}"), n_runs + 1
        words, newest = command(cell, str(run), size), -1
        in_a_row = min(random_times.randint(1, 4), kills - killed)
        while in_a_row:
            share = random_times.uniform(0.4, 1.0) if newest < 0 else random_times.uniform(0.05, 0.5)
            ended = forks.start(*words).wait(share * reference.seconds)
            if ended.code == 0:
                break
            assert ended.code == -signal.SIGKILL, ended.stderr
            newest = newest_after_kill(run, newest)
            if newest < 0:  # it had hardly begun, and is begun anew
                shutil.rmtree(run, ignore_errors=True)
                continue
            words = ["resume", str(run), f"runner.n_workers={next(later)}"]
            in_a_row, killed = in_a_row - 1, killed + 1
        if newest >= 0:
            assert_ended_alike(run, forks.run("resume", run), reference)


@pytest.mark.parametrize("algorithm", ["es", "ppo", "a2c"])
def test_runs_that_are_killed_at_any_time_end_alike(
    algorithm: str, forks: ForkServer, uninterrupted: Reference
) -> None:
    sweep(algorithm, 5, forks, uninterrupted)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("algorithm", ["es", "ppo", "a2c"])
def test_runs_that_are_killed_fifty_times_end_alike(
    algorithm: str, forks: ForkServer, uninterrupted: Reference
) -> None:
    sweep(algorithm, 50, forks, uninterrupted)


@pytest.mark.workers
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("algorithm", "kills"),
    [("a2c", 2), *(pytest.param(algorithm, 15, marks=pytest.mark.long) for algorithm in ("es", "ppo", "a2c"))],
)
def test_runs_with_workers_that_are_killed_end_alike(
    algorithm: str, kills: int, forks: ForkServer, uninterrupted: Reference
) -> None:
    sweep(algorithm, kills, forks, uninterrupted, workers=(2, 0, 3, 1))
    assert workers_of() == []
    for cell in (cell for cell in CELLS if cell[0] == algorithm):
        without, with_two = (uninterrupted(cell, {**SWEPT, "runner.n_workers": n}).found for n in (0, 2))
        assert differing(without, with_two) == []


# At every stage

CELL = ("a2c", "flat, one by one")

WRITING = {
    "before the folder of a checkpoint": Fault("os.mkdir", ".tmp-000002"),
    "before its first file": Fault("open", ".tmp-000002/tensors.safetensors"),
    "within its first file": Fault(torn=".tmp-000002/tensors.safetensors"),
    "between its files": Fault("open", ".tmp-000002/state.json"),
    "within its manifest": Fault(torn=".tmp-000002/manifest.json"),
    "before it gets its name": Fault("os.rename", ".tmp-000002"),
    "after it got its name": Fault("os.rename", ".tmp-000002", later=1),
    "before an old one is renamed": Fault("os.rename", "checkpoints/000000"),
    "while an old one is deleted": Fault("os.rename", "checkpoints/000000", later=3),
    "before the best weights are replaced": Fault("os.rename", ".state_dict.pt.tmp"),
    "between the best weights and the next checkpoint": Fault("os.rename", ".state_dict.pt.tmp", later=1),
    "within a row of metrics": Fault(torn="metrics.jsonl", nth=2),
    "within an event": Fault(torn="events.out.tfevents", nth=3),
    "between the last weights and the last checkpoint": Fault("os.rename", ".final_state_dict.pt.tmp", later=1),
    "within the row of the final evaluation": Fault(torn="metrics.jsonl", nth=3),
}

RESUMING = {
    "before the command is recorded": Fault("os.rename", ".command.txt.tmp"),
    "before the best weights are put back": Fault("os.rename", ".state_dict.pt.tmp"),
    "before the log is shortened": Fault("os.rename", ".log.txt.tmp"),
    "after the log was shortened": Fault("os.rename", ".log.txt.tmp", later=1),
    "while metrics are copied": Fault("open", ".metrics.jsonl.tmp", later=1),
    "before metrics are shortened": Fault("os.rename", ".metrics.jsonl.tmp"),
    "before events are shortened": Fault("os.rename", ".events.out.tfevents"),
    "after events were shortened": Fault("os.rename", ".events.out.tfevents", later=1),
    "before its first checkpoint": Fault("os.mkdir", "checkpoints/.tmp-"),
}


@pytest.mark.parametrize("fault", WRITING.values(), ids=WRITING)
def test_a_run_may_be_killed_at_any_stage_of_writing(
    fault: Fault, forks: ForkServer, uninterrupted: Reference, workdir: Path
) -> None:
    reference, run = uninterrupted(CELL, STAGED), workdir / "run"
    assert forks.run(*command(CELL, str(run), STAGED), fault=fault).code == -signal.SIGKILL
    assert newest_after_kill(run) >= 0
    assert_ended_alike(run, forks.run("resume", run), reference)


@pytest.mark.parametrize("fault", RESUMING.values(), ids=RESUMING)
def test_a_run_may_be_killed_at_any_stage_of_being_resumed(
    fault: Fault, forks: ForkServer, uninterrupted: Reference, workdir: Path
) -> None:
    reference = uninterrupted(CELL, STAGED)
    number = store(reference.directory).numbers()[0]
    run = cut_off(reference.directory, workdir / "run", number)
    assert forks.run("resume", run, fault=fault).code == -signal.SIGKILL
    assert newest_after_kill(run) >= number
    assert_ended_alike(run, forks.run("resume", run), reference)


@pytest.mark.parametrize("later", [0, 1])
def test_a_run_may_be_killed_while_a_damaged_checkpoint_is_set_aside(
    later: int, forks: ForkServer, uninterrupted: Reference, workdir: Path
) -> None:
    reference = uninterrupted(CELL, STAGED)
    before, damaged, *_ = store(reference.directory).numbers()
    run = cut_off(reference.directory, workdir / "run", damaged)
    state = run / "checkpoints" / f"{damaged:06d}" / "state.json"
    state.write_bytes(state.read_bytes()[:-10])
    fault = Fault("os.rename", f"checkpoints/{damaged:06d}", later=later)
    assert forks.run("resume", run, fault=fault).code == -signal.SIGKILL
    assert before in store(run).numbers()
    ended = forks.run("resume", run)
    assert_ended_alike(run, ended, reference)
    assert (f"{run}/checkpoints/{damaged:06d}: state.json is not what was written" in ended.stderr) == (later == 0)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_run_may_be_killed_before_any_file_operation(
    forks: ForkServer, uninterrupted: Reference, workdir: Path
) -> None:
    """A short run is killed before its first, second, ... file operation, and so is what resumes it."""
    reference, kills = uninterrupted(CELL, STAGED), 0
    for nth in range(1, 10_000):
        run = workdir / f"run-{nth}"
        ended = forks.run(*command(CELL, str(run), STAGED), fault=Fault(nth=nth))
        if ended.code == 0:
            break
        assert ended.code == -signal.SIGKILL, ended.stderr
        if newest_after_kill(run) >= 0 and not is_finished(run):
            kills += 1
            if forks.run("resume", run, fault=Fault(nth=1 + nth % 40)).code and not is_finished(run):
                assert_ended_alike(run, forks.run("resume", run), reference)
        shutil.rmtree(run, ignore_errors=True)
    assert kills > 50


def is_finished(run: Path) -> bool:
    return store(run).newest().summary["stop_reason"] is not None
