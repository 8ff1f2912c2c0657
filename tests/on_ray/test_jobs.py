"""Several runs side by side in a cluster: each is spread as a whole, and its directory is here."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from maze_ray import jobs
from maze_ray.config import RayRunnerConfig
from support.ray_processes import commands
from support.workers import SIZES, eventually

from maze_core import JobLostError, UserError, multirun, sweep

pytestmark = [
    pytest.mark.ray, pytest.mark.xdist_group("ray"), pytest.mark.timeout(300),
    pytest.mark.usefixtures("workdir", "token"),
]  # fmt: skip

SMALL = [
    "env=gym_env", "env.name=CartPole-v1", "algorithm=es", "runner.evaluation.n_episodes=3", "model.hidden_sizes=[4]",
    *(f"{key}={value}" for key, value in SIZES["es"].items()), "runner.stop_at_reward=inf",
]  # fmt: skip


def bits(directory: Path) -> list[bytes]:
    """Weights and number of statistics of a run."""
    rows = (directory / "metrics.jsonl").read_text().splitlines()
    return [(directory / "state_dict.pt").read_bytes(), len(rows).to_bytes()]


def on(cluster: str, *more: str) -> list[str]:
    """Overrides of runs in a cluster."""
    return [*SMALL, "runner=ray", f"runner.address={cluster}", *more]


@pytest.mark.long
def test_jobs_run_in_a_cluster_and_end_like_those_here(cluster: str) -> None:
    here = multirun([*SMALL, "seed=1,2", "run_dir=here"])
    there = multirun(on(cluster, "seed=1,2", "run_dir=there"))
    assert [result.status for result in there.results] == ["finished"] * 2, there.results
    assert [result.final for result in there.results] == [result.final for result in here.results]
    assert bits(Path("there/1")) == bits(Path("here/1"))
    assert "in this process, because it is one of several jobs in a Ray cluster" in Path("there/1/log.txt").read_text()


def test_what_a_node_writes_elsewhere_is_kept_here(cluster: str) -> None:
    """Each node has a folder of its own, which holds what was sent."""
    Path("mine.txt").write_text("sent")
    done = multirun(on(cluster, "seed=1,2", "run_dir=there", "runner.send_folder=true"))
    assert [result.status for result in done.results] == ["finished"] * 2, done.results
    whole = multirun([*SMALL, "seed=1,2", "run_dir=here"])
    assert bits(Path("there/2")) == bits(Path("here/2"))
    names = [{path.name for path in Path(run, "1").glob("[!er]*")} for run in ("there", "here")]
    assert names[0] == names[1]
    assert whole.results[0].final == done.results[0].final
    assert not list(Path("there/logs").glob(".seen*"))


def test_a_job_whose_machine_is_lost_goes_on_elsewhere(
    cluster: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From the last checkpoint that came here."""
    monkeypatch.setattr(jobs, "FILES_S", 0.0)
    options = ["runner.n_epochs=60", "runner.checkpoint.every_updates=1", "runner.patience=null"]
    before = commands()  # actors of other tests may end late

    def kill_it_while_it_works() -> None:
        eventually(lambda: len(list(Path("there/1/checkpoints").glob("0*"))) >= 2)
        (actor,) = (pid for pid, line in commands().items() if "ray::JobActor" in line and pid not in before)
        os.kill(actor, signal.SIGKILL)

    killer = threading.Thread(target=kill_it_while_it_works)
    killer.start()
    done = multirun(on(cluster, *options, "run_dir=there", "runner.send_folder=true", "seed=1"))
    killer.join()
    assert [result.status for result in done.results] == ["finished"], done.results
    assert [r.message for r in caplog.records if "elsewhere" in r.message] == [
        "job 1 was lost: its node or its process died. It goes on elsewhere."
    ]
    multirun([*SMALL, *options, "run_dir=here", "seed=1"])
    assert bits(Path("there/1")) == bits(Path("here/1"))


def test_one_that_has_no_place_yet_never_begins_once_it_is_asked_to_end(cluster: str) -> None:
    place = jobs.RayJobs(RayRunnerConfig(address=cluster, resources={"nowhere": 1.0}))
    try:
        job = place.start(["train"], Path("there/1"), Path("there/logs/1.log"))
        assert job.poll() is None
        job.stop()
        assert job.poll() == -signal.SIGTERM
    finally:
        place.close()


def test_jobs_leave_room_for_their_own_workers(cluster: str) -> None:
    n_slots = []
    for n_workers in (None, 0, 1, 3, 9):
        place = jobs.RayJobs(RayRunnerConfig(address=cluster, n_workers=n_workers))
        n_slots.append(place.n_slots)
        place.close()
    assert n_slots == [4, 4, 2, 1, 1]


@pytest.mark.long
def test_jobs_with_workers_of_their_own_do_not_wait_for_each_other(cluster: str) -> None:
    done = multirun(on(cluster, "seed=1,2,3,4", "run_dir=there", "runner.n_workers=1", "runner.placement_timeout=60"))
    assert [result.status for result in done.results] == ["finished"] * 4, done.results


def test_one_that_is_lost_too_often_failed(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: object) -> None:
        raise JobLostError("the power failed")

    monkeypatch.setattr(jobs.RayJob, "_result", lost)
    done = multirun(on(cluster, "run_dir=there", "seed=1", "runner.max_worker_restarts=1"))
    assert done.results[0].problem == "job 1 was lost: the power failed."
    assert done.exit_code == 137


def test_a_folder_that_a_node_cannot_make_is_told(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise UserError("a job cannot be started on the node n: no folder")

    monkeypatch.setattr(jobs.RayJob, "_result", refuse)
    done = multirun(on(cluster, "run_dir=there", "seed=1"))
    assert done.results[0].problem == "a job cannot be started on the node n: no folder"


@pytest.mark.long
def test_trials_of_a_sweep_run_in_a_cluster(cluster: str) -> None:
    asked = on(cluster, "sweeper=optuna", "sweeper.n_trials=2", "sweeper.sampler=random", "run_dir=sweep", "seed=3")
    done = sweep([*asked, "algorithm.lr=tag(log,interval(1e-3,1e-1))"])
    assert [trial.outcome.value for trial in done.trials] == ["complete"] * 2, done.failures


def test_a_run_that_goes_on_is_told_again_where_even_if_a_file_said_it() -> None:
    from maze_core.api.jobs import runner_words
    from maze_core.config import ConfigRequest, configure
    from maze_core.config.overrides import read_items
    from maze_core.registry import load_registry

    items = ["runner=ray", "runner.address=10.0.0.5:6379", "runner.send_folder=true", "runner.n_epochs=3"]
    configured = configure(load_registry(local_plugins=False), ConfigRequest(items=read_items(items)))
    assert runner_words(configured) == ["runner.address='10.0.0.5:6379'", "runner.send_folder=true"]
