"""``maze train --multirun``: a run for each combination, side by side, until all of them are finished."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from support.cli import run_cli
from support.projects import SCRIPTED, SMALL
from support.workers import eventually, no_worker_is_left  # noqa: F401  # a fixture

from maze_core.api.jobs import multirun
from maze_core.runs.stored_run import MULTIRUN, StoredRun, find_runs

pytestmark = [pytest.mark.workers, pytest.mark.xdist_group("multirun")]

GRID = (*SMALL[:2], "seed=1,2", "algorithm.lr=0.1,0.2")
ENDLESS = (*SMALL[:2], "runner.n_epochs=null", "runner.patience=null", "runner.stop_at_reward=inf")
MAZE = (sys.executable, "-c", "from maze_core.cli.main import maze; maze.main()")


def states(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): StoredRun(path).condition().status for path in find_runs(folder)}


def final_weights(run: Path) -> list[torch.Tensor]:
    return list(torch.load(run / "final_state_dict.pt", weights_only=True).values())


def begin(*args: str) -> subprocess.Popen[str]:
    """A multirun in a process of its own."""
    command = [*MAZE, "train", "--multirun", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four jobs that are finished; nobody may change them."""
    folder = tmp_path_factory.mktemp("multirun") / "my runs"
    result = run_cli("train", "-m", *GRID, f"run_dir='{folder}'")
    assert result.exit_code == 0, result.stderr
    (folder / "printed").write_text(result.stdout)
    return folder


# All of them


def test_there_is_a_run_for_each_combination(grid: Path) -> None:
    chosen = []
    for number in range(1, 5):
        record = yaml.safe_load((grid / str(number) / "config.yaml").read_text())
        chosen.append((record["seed"], record["algorithm"]["lr"]))
    assert chosen == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]
    assert states(grid) == dict.fromkeys("1234", "finished")


def test_each_job_is_told_as_it_ends_by_what_makes_it_different(grid: Path) -> None:
    printed = (grid / "printed").read_text()
    assert f"4 jobs in {grid}, " in printed
    assert "[4/4] job " in printed
    assert " s: seed=2 algorithm.lr=0.1\n" in printed
    assert "4 jobs: 4 finished." in printed
    assert f"maze compare {shlex.quote(str(grid))}" in printed


def test_a_job_is_the_run_that_the_same_options_alone_give(grid: Path, workdir: Path) -> None:
    assert run_cli("train", *SMALL[:2], "seed=2", "algorithm.lr=0.1", "run_dir=alone").exit_code == 0
    for job, alone in zip(final_weights(grid / "3"), final_weights(workdir / "alone"), strict=True):
        assert torch.equal(job, alone)


def test_what_a_job_prints_is_in_its_log(grid: Path) -> None:
    assert sorted(path.name for path in (grid / "logs").iterdir()) == [f"{number}.log" for number in range(1, 5)]


def test_without_run_dir_all_are_below_one_new_directory(workdir: Path) -> None:
    done = multirun([*SMALL[:2], "seed=1,2"], n_parallel=2)
    assert [result.status for result in done.results] == ["finished", "finished"]
    assert done.directory.parent == Path("outputs/multirun")
    assert (done.exit_code, done.failures) == (0, [])


# Again


def test_finished_jobs_are_not_repeated(grid: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in grid.glob("*/*.pt")}
    result = run_cli("train", "-m", *GRID, f"run_dir='{grid}'")
    assert result.exit_code == 0, result.stderr
    assert "4 at a time" not in result.stdout
    assert "4 of them finished before." in result.stdout
    assert {path: path.stat().st_mtime_ns for path in grid.glob("*/*.pt")} == before


def kill_half_way(workdir: Path, n_jobs: int) -> None:
    """Kills a multirun after some of its jobs, and starts it again."""
    options = (*SMALL[:2], f"seed=range({n_jobs})", "run_dir=runs")
    process = begin(*options, "--parallel", "2")
    finished = lambda: [name for name, state in states(Path("runs")).items() if state == "finished"]  # noqa: E731
    eventually(lambda: Path("runs").exists() and len(finished()) >= n_jobs // 2, 300)
    process.kill()
    process.communicate()
    eventually(lambda: "running" not in states(Path("runs")).values())
    before = {name: Path("runs", name, "final_state_dict.pt").stat().st_mtime_ns for name in finished()}
    assert n_jobs // 2 <= len(before) < n_jobs
    result = run_cli("train", "-m", *options)
    assert result.exit_code == 0, result.stderr
    assert states(Path("runs")) == {str(number): "finished" for number in range(1, n_jobs + 1)}
    assert {name: Path("runs", name, "final_state_dict.pt").stat().st_mtime_ns for name in before} == before


@pytest.mark.kill
@pytest.mark.usefixtures("no_worker_is_left")
def test_a_multirun_that_was_killed_half_way_ends_with_all_jobs_finished(workdir: Path) -> None:
    kill_half_way(workdir, 4)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_worker_is_left")
def test_twenty_jobs_that_were_killed_half_way_are_twenty_finished_ones(workdir: Path) -> None:
    kill_half_way(workdir, 20)


@pytest.mark.usefixtures("no_worker_is_left")
def test_an_interrupt_lets_all_running_jobs_save_their_state(workdir: Path) -> None:
    process = begin(*ENDLESS, "seed=1,2,3", "run_dir=runs", "-p", "2")
    rows = [Path("runs", name, "metrics.jsonl") for name in "12"]
    eventually(lambda: all(path.exists() and path.stat().st_size > 0 for path in rows))
    process.send_signal(signal.SIGTERM)
    printed, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert states(Path("runs")) == {"1": "killed", "2": "killed"}
    assert "3 jobs: 2 killed, 1 waiting." in printed
    assert f"Go on with those that are not finished:  maze train --multirun --parallel 2 {ENDLESS[0]}" in printed
    assert "ending as soon as all running jobs have saved their state" in error


def test_a_job_that_was_stopped_goes_on_where_it_was(workdir: Path) -> None:
    options = [*SMALL[:1], "runner.n_epochs=3", "seed=1,2"]
    Path("runs").mkdir()
    Path("runs", MULTIRUN).write_text(json.dumps({"jobs": [[*options[:2], "seed=1"]]}))
    stop = ("algorithm.epoch_length=1", "runner.checkpoint.every_updates=1")
    with begin_single("runs/1", "seed=1", *options[:1], "runner.n_epochs=3", *stop) as process:
        eventually(lambda: Path("runs/1/checkpoints/000001").exists())
        process.kill()
    done = multirun([*options, "run_dir=runs"])
    assert [result.status for result in done.results] == ["finished", "finished"]
    assert "Resumed at update" in Path("runs/1/log.txt").read_text()


def begin_single(directory: str, *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*MAZE, "train", *args, f"run_dir={directory}"], stdout=subprocess.DEVNULL)


# Failures


def test_a_job_that_fails_is_told_with_its_log_and_does_not_stop_the_others(workdir: Path) -> None:
    options = (f"--plugin={SCRIPTED}", "env=dial", "run_dir=runs")
    result = run_cli("train", "-m", *SMALL, *options, "env.fail_in=constructor,''")
    assert result.exit_code == 3
    assert "job 1 failed: env.fail_in=constructor" in result.stderr
    assert "env 'dial' raised RuntimeError in its constructor" in result.stderr
    assert "log: runs/logs/1.log" in result.stderr
    assert "2 jobs: 1 failed, 1 finished." in result.stdout
    assert states(Path("runs")) == {"2": "finished"}


def test_a_damaged_job_is_told_and_left_as_it_is(workdir: Path, grid: Path) -> None:
    Path("runs/1").mkdir(parents=True)
    Path("runs/1/config.yaml").write_text("no: config\n")
    Path("runs/1/metrics.jsonl").write_text("{}\n")
    Path("runs", MULTIRUN).write_text(json.dumps({"jobs": [[*SMALL, "seed=1"], [*SMALL, "seed=2"]]}))
    done = multirun([*SMALL, "seed=1,2", "run_dir=runs"])
    assert [result.status for result in done.results] == ["failed", "finished"]
    assert "runs/1 is damaged: it was trained, and has no checkpoint" in done.results[0].problem
    assert done.exit_code == 5
    assert Path("runs/1/config.yaml").read_text() == "no: config\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-m", *SMALL, "algorithm=es,ess"], ["no algorithm named 'ess'"]),
        (["-m", *SMALL, "algorithm.lr=0.1,-1"], ["algorithm.lr=-1.0 is not allowed"]),
        (["-m", "--zip", "seed=1,2", "algorithm.lr=0.1,0.2,0.3"], ["equally many", "seed=1,2 (2)"]),
        (["-m", "seed=range(30000000)"], ["seed=range(30000000) names more than 10,000 values"]),
        (["-m", "seed=range(5000)", "algorithm.lr=range(1,5000)"], ["jobs; at most 10,000 can be run as one"]),
        (["-m", "seed=range(0)"], ["seed=range(0) names no value"]),
        (["-m", "seed=1,2,1"], ["seed=1 is asked for more than once"]),
        (["-m", "seed=1,2", "run_dir=a,b"], ["run_dir= names several directories"]),
        (["-m", "seed=1,2", "run_dir=taken"], ["run_dir=taken exists already"]),
        (["-m", "seed=1,2", "run_dir=single"], ["run_dir=single is a single run"]),
        (["seed=1", "--zip"], ["--zip is for several runs; add --multirun"]),
        (["seed=1", "-p", "2"], ["--parallel is for several runs; add --multirun"]),
        (["-m", "seed=1,2", "-p", "0"], ["'--parallel'", "0"]),
    ],
)
def test_a_mistake_is_told_before_anything_is_made(args: list[str], words: list[str], workdir: Path) -> None:
    (workdir / "taken").mkdir()
    (workdir / "single").mkdir()
    (workdir / "single" / "config.yaml").touch()
    before = sorted(workdir.rglob("*"))
    result = run_cli("train", *args)
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr
    assert all(line.startswith(("maze: ", "      ")) for line in result.stderr.splitlines())
    assert sorted(workdir.rglob("*")) == before


def test_values_that_belong_together_are_combined_in_order() -> None:
    from maze_core.config import expand_sweeps

    jobs = expand_sweeps(["seed=1,2", "algorithm=es", "algorithm.lr=0.1,0.2"], zipped=True)
    assert jobs == [["seed=1", "algorithm=es", "algorithm.lr=0.1"], ["seed=2", "algorithm=es", "algorithm.lr=0.2"]]
    assert expand_sweeps([], zipped=True) == expand_sweeps([]) == [[]]


def test_two_processes_do_not_run_the_same_jobs(workdir: Path) -> None:
    from maze_core.runs.lock import RunLock

    Path("runs").mkdir()
    Path("runs", MULTIRUN).write_text(json.dumps({"jobs": []}))
    lock = RunLock(Path("runs"))
    result = run_cli("train", "-m", "seed=1,2", "run_dir=runs")
    lock.release()
    assert result.exit_code == 2
    assert "runs is in use by" in result.stderr


def test_the_directory_of_all_is_no_run_and_says_what_it_is(grid: Path) -> None:
    for command in ("resume", "reproduce", "export"):
        result = run_cli(command, str(grid))
        assert result.exit_code == 6
        assert "holds several runs. Name one of them, or repeat the maze train --multirun that made it" in result.stderr


def test_a_single_combination_is_a_job_too_and_more_can_be_added(workdir: Path) -> None:
    done = multirun([*SMALL, "run_dir=runs"])
    assert [result.job.number for result in done.results] == [1]
    assert "maze train --multirun --parallel 1 " in multirun([*SMALL, "+run_dir=runs"], n_parallel=1).again
    assert states(Path("runs")) == {"1": "finished"}


def test_other_options_are_refused(workdir: Path, grid: Path) -> None:
    (workdir / "mine").mkdir()
    result = run_cli("train", "-m", *GRID, f"run_dir='{grid}'", "-cd", "mine")
    assert result.exit_code == 2
    assert "was made with other options (none). Repeat them, or name a new directory." in result.stderr


def recorded_jobs() -> list[str]:
    """A directory of one job that did not begin; returns what asks for it."""
    Path("runs/logs").mkdir(parents=True)
    Path("runs", MULTIRUN).write_text(json.dumps({"jobs": [list(SMALL)]}))
    return [*SMALL, "run_dir=runs"]


def test_nothing_is_written_through_a_link(workdir: Path) -> None:
    asked = recorded_jobs()
    Path("runs/logs/1.log").symlink_to(workdir / "elsewhere")
    done = multirun(asked)
    assert "runs/logs/1.log cannot be written: it is a link" in done.results[0].problem
    assert not (workdir / "elsewhere").exists()


def test_a_job_that_is_a_link_does_not_stop_the_others(workdir: Path) -> None:
    asked = recorded_jobs()
    Path("runs/1").symlink_to(workdir)
    done = multirun([*asked[:-2], "seed=1,2", asked[-1]])
    assert "runs/1 is a link; it is in the way of job 1" in done.results[0].problem
    assert done.results[1].status == "finished"


def test_files_of_the_user_are_never_taken_away(workdir: Path) -> None:
    asked = recorded_jobs()
    assert run_cli("train", *SMALL, "run_dir=whole").exit_code == 0
    Path("runs/1").mkdir()
    Path("runs/1/config.yaml").write_bytes(Path("whole/config.yaml").read_bytes())
    Path("runs/1/notes.txt").write_text("mine")
    done = multirun(asked)
    assert "runs/1 was never trained, and holds notes.txt. Move that elsewhere." in done.results[0].problem
    Path("runs/1/notes.txt").unlink()
    assert multirun(asked).results[0].status == "finished"


def test_a_job_that_fails_while_it_is_asked_to_end_failed() -> None:
    from maze_core.runs.jobs import Ended, Job

    job = Job(1, "", Path("1"), Path("log"), (), ())
    assert Ended(job, 143, asked=True).obeyed
    assert Ended(job, -15, asked=True).obeyed
    assert not Ended(job, 5, asked=True).obeyed
    assert not Ended(job, 143).obeyed


def test_a_job_for_which_there_cannot_be_a_process_is_told(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from maze_core.runs.job_hosts import LocalJobs

    def refuse(self: object, *_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(LocalJobs, "start", refuse)
    done = multirun([*SMALL, "run_dir=runs"])
    assert done.results[0].problem == "job 1 cannot be started: Resource temporarily unavailable."
    assert done.exit_code == 5
