"""Whatever happens to an actor or a node, the run ends as if it had not, or says what it was."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from maze_ray import host
from maze_ray.cluster import Cluster, _started, ended
from maze_ray.config import RayRunnerConfig
from support.ray_processes import Node, children_of, commands, none_left
from support.workers import FAULTY, SIZES, eventually, trained

from maze_core import EnvFaultError, UserError

pytestmark = [
    pytest.mark.ray, pytest.mark.xdist_group("ray"), pytest.mark.timeout(300),
    pytest.mark.usefixtures("workdir", "token"),
]  # fmt: skip


@pytest.fixture(scope="module")
def untroubled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Weights of the same run in this process, where nothing goes wrong, by algorithm."""
    folder = tmp_path_factory.mktemp("untroubled")
    return {algorithm: trained(algorithm, run_dir=folder / algorithm) for algorithm in SIZES}


def on(cluster: str, algorithm: str, **options: Any) -> str:
    """Trains with two workers of a cluster; returns `weights_hash` at the end."""
    return trained(algorithm, place="ray", n_workers=2, address=cluster, **options)


@pytest.mark.parametrize(
    ("fault", "algorithm"),
    [
        ("kill", "ppo"), ("hard_exit", "es"), ("loop", "ppo"),
        *(pytest.param(*case, marks=pytest.mark.long) for case in [
            ("segfault", "a2c"), ("hold_the_lock", "ppo"), ("stop", "es"), ("kill", "a2c"), ("kill", "es"),
        ]),
    ],
)  # fmt: skip
def test_an_actor_that_ends_is_replaced_and_the_result_is_the_same(
    fault: str, algorithm: str, untroubled: dict[str, str], cluster: str, workdir: Path,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(host, "REPLACED_S", 2.0)  # a process that is stopped keeps its place
    found = on(cluster, algorithm, fault=fault, once=str(workdir / "once"), step_timeout=2.0)
    assert found == untroubled[algorithm]
    (told,) = [record.message for record in caplog.records if "takes its place" in record.message]
    assert ("did nothing for 2 s" if fault in ("loop", "hold_the_lock", "stop") else "died") in told


def test_one_that_always_ends_at_the_same_place_ends_the_run(cluster: str) -> None:
    with pytest.raises(EnvFaultError, match=r"worker \d died.*, at try 2 \(runner\.max_worker_restarts=1\)"):
        on(cluster, "ppo", fault="hard_exit", max_worker_restarts=1)


def test_an_env_that_raises_ends_the_run_and_says_where(cluster: str) -> None:
    with pytest.raises(EnvFaultError, match=r"raised .* in step 3 .*\(env [0-7] of 8, episode seed \d+\)") as caught:
        on(cluster, "ppo", fault="raise")
    assert "maze_plugins.py" in str(caught.value.__cause__)


def test_a_node_that_is_lost_costs_nothing_but_time(
    untroubled: dict[str, str], cluster: str, node: Node, workdir: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Both workers are on it, and what they reserved is nowhere else."""
    monkeypatch.setattr(host, "REPLACED_S", 1.0)

    def kill_it_while_it_works() -> None:
        eventually(lambda: sum("ray::Actor.answer" in line for line in node.commands()) == 2)
        node.kill()

    killer = threading.Thread(target=kill_it_while_it_works)
    killer.start()
    found = on(cluster, "ppo", resources={"other": 1}, sleep_ms=20.0, placement_timeout=60.0)
    killer.join()
    assert found == untroubled["ppo"]
    told = [record.message for record in caplog.records if "takes its place" in record.message]
    assert len(told) >= 2
    assert any("no room for a worker" in record.message for record in caplog.records)


def test_a_cluster_without_room_is_told_of(cluster: str) -> None:
    words = r"2 workers of 3 CPU each have no room on the Ray cluster, with .* of \d CPU free, .*after 1 s"
    with pytest.raises(UserError, match=words):
        on(cluster, "ppo", cpus_per_worker=3.0, placement_timeout=1.0)


def test_an_address_where_nobody_listens_is_told_of() -> None:
    with pytest.raises(UserError, match=r"no Ray cluster listens at 127\.0\.0\.1:9: .*refused.* Start one with"):
        on("127.0.0.1:9", "ppo")


@pytest.mark.parametrize("address", ["ray://10.0.0.5:10001", "10.0.0.5", "head:", ":6379"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match=r"is no address of a Ray cluster: name its head as host:port"):
        on(address, "ppo")


def test_something_else_that_listens_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"HTTP/1.0 400 Bad request")

        other = threading.Thread(target=refuse)
        other.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"^what listens at {address} is no Ray cluster"):
            on(address, "ppo")
        other.join()


def test_a_cluster_that_cannot_be_started_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    config, before, variables = RayRunnerConfig(), commands(), dict(os.environ)
    config.resources = {"GPU": 1.0}  # after it was checked
    with pytest.raises(UserError, match=r"no Ray cluster can be started on this machine: .*GPU"):
        Cluster(config, 1)
    none_left(before)
    assert not list(tmp_path.glob("maze-ray-*"))
    assert dict(os.environ) == variables


def test_a_cluster_that_fails_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    before = commands()
    keeper, _ = _started(RayRunnerConfig(), 1)
    os.kill(children_of(keeper.pid)[1], signal.SIGKILL)  # as Ray ends what uses it
    keeper.wait(60)
    none_left(before)
    ended(keeper)


@contextlib.contextmanager
def maze(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run of the command line, with a cluster of its own."""
    command = [str(Path(sys.executable).with_name("maze")), arguments[0], "--plugin", str(FAULTY), *arguments[1:]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


COMMAND = [
    "train", "env=faulty", "algorithm=ppo", "runner=ray", "runner.n_workers=2", "run_dir=run", "model.hidden_sizes=[4]",
    "runner.n_epochs=100000", "runner.patience=null", "runner.checkpoint.every_updates=1", "algorithm.n_envs=4",
    "algorithm.n_rollout_steps=16", "runner.evaluation.every_epochs=1000",
]  # fmt: skip


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_nothing_of_its_own_cluster_outlives_a_run(number: signal.Signals, workdir: Path) -> None:
    before = commands()
    with maze(*COMMAND) as run:
        eventually((workdir / "run" / "checkpoints" / "000003").exists)
        started = set(commands()) - set(before)
        assert len(started) > 5
        own = [line for pid, line in commands().items() if pid in children_of(run.pid)]
        (folder,) = {found for line in own for found in re.findall(rf"{tempfile.gettempdir()}/maze-ray-\w+", line)}
        assert Path(folder).stat().st_mode & 0o077 == 0
        os.killpg(run.pid, number)  # as a terminal does
        _, errors = run.communicate()
    assert run.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in errors
    none_left(before)
    assert not Path(folder).exists()


@pytest.mark.long
def test_who_does_not_know_the_token_is_not_let_in(cluster: str) -> None:
    code = f"import ray\nray.init({cluster!r}, log_to_driver=False)\nprint('LET IN')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    stranger = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200,
        env={**environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
    )  # fmt: skip
    assert stranger.returncode != 0
    assert "LET IN" not in stranger.stdout
    assert "InvalidAuthToken" in stranger.stderr
