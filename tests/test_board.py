"""TensorBoard shows the runs below a directory, to this machine only."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.cli import run_cli

from maze_core.builtins.config import TensorBoardConfig
from maze_core.builtins.tensorboard_callback import TensorBoardCallback
from maze_core.errors import NothingUsableError, UserError
from maze_core.protocols import EpochReport, RunInfo
from maze_core.stats import StageStatistics

pytestmark = pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")
"""Of what TensorBoard imports, so it is imported in tests."""

TAG = "eval_BaseEnvEvents/reward/mean"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, as far as TensorBoard sees them."""
    top = tmp_path_factory.mktemp("outputs")
    for name in ("one/first", "two"):
        run = top / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text("{}\n")
        callback = TensorBoardCallback(TensorBoardConfig())
        callback.on_run_start(RunInfo(run, "", "maze train", [], None))
        for epoch in range(3):
            statistics = StageStatistics("eval", {"BaseEnvEvents/reward/mean": float(epoch)})
            callback.on_epoch_end(EpochReport(epoch, epoch, epoch, {}, [statistics]))
        callback.close()
    return top


def Board(*arguments: Any, **options: Any) -> Any:
    from maze_core import board

    return board.Board(*arguments, **options)


def answer(url: str, path: str) -> Any:
    with urllib.request.urlopen(url + path, timeout=30) as response:
        return json.load(response)


def eventually(found: Callable[[], Any]) -> Any:
    """What is found as soon as something is."""
    deadline = time.monotonic() + 60
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def test_it_shows_the_runs_with_their_curves(folder: Path) -> None:
    with Board(folder) as board:
        assert board.n_runs == 2
        eventually(lambda: len(answer(board.url, "data/runs")) == 2)
        assert set(answer(board.url, "data/runs")) == {"one/first", "two"}
        eventually(lambda: TAG in answer(board.url, "data/plugin/scalars/tags").get("two", {}))
        points = answer(board.url, f"data/plugin/scalars/scalars?run=two&tag={TAG}")
        assert [(step, value) for _, step, value in points] == [(1, 0.0), (2, 1.0), (3, 2.0)]
    assert board._server.socket.fileno() == -1  # its port may be that of another one by now


def test_it_listens_to_this_machine_only(folder: Path) -> None:
    with Board(folder) as board:
        assert board.url.startswith("http://127.0.0.1:")
        assert board._server.socket.getsockname()[0] == "127.0.0.1"


def test_it_has_no_plugin_that_reads_other_files(folder: Path) -> None:
    with Board(folder) as board:
        assert set(answer(board.url, "data/plugins_listing")) == {
            "timeseries", "scalars", "images", "distributions", "histograms", "text", "hparams",
        }  # fmt: skip


def test_a_port_that_is_taken_is_left_alone(folder: Path) -> None:
    with Board(folder) as one, Board(folder) as other:
        assert one.url != other.url
        port = int(one.url.rstrip("/").rpartition(":")[2])
        with pytest.raises(UserError, match=f"port {port} is taken by another program"):
            Board(folder, port)


def test_an_address_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="cannot listen at no such host"):
        Board(folder, host="no such host")


def test_an_empty_address_is_refused(folder: Path) -> None:
    said = run_cli("board", str(folder), "--host", "")
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr.startswith("maze: the host is empty: name an address of this machine, such as 127.0.0.1")


def status_for(board: Any, name: str) -> int:
    """The answer to a browser that calls the machine by a name."""
    request = urllib.request.Request(board.url + "data/environment", headers={"Host": name})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_web_page_that_takes_its_address_gets_nothing(folder: Path) -> None:
    with Board(folder) as board:
        for name in ("127.0.0.1:6006", "localhost", "LOCALHOST:1", "[::1]:6006"):
            assert status_for(board, name) == 200
        for name in ("evil.example", "evil.example:6006", "localhost.evil.example", "[", "127.0.0.1.evil.example"):
            assert status_for(board, name) == 403


def test_where_others_may_read_any_name_is_answered(folder: Path) -> None:
    with Board(folder, host="0.0.0.0") as board:
        port = board._server.socket.getsockname()[1]
        board.url = f"http://127.0.0.1:{port}/"
        assert status_for(board, "machine.example") == 200


def test_a_directory_that_is_none_is_named() -> None:
    with pytest.raises(NothingUsableError, match="nowhere is no directory"):
        Board("nowhere")
    result = run_cli("board", "nowhere")
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr.startswith("maze: nowhere is no directory. Runs are below outputs/")


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("192.168.1.5", False), ("x", False)],
)
def test_only_loopback_addresses_are_local(host: str, local: bool) -> None:
    from maze_core.board import is_local

    assert is_local(host) is local


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_it_and_leaves_nothing(ending: int, code: int, tmp_path: Path) -> None:
    start = "import sys; from maze_core.cli.main import maze; maze.main(sys.argv[1:])"
    command = [sys.executable, "-c", start, "board", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"There are no runs below {tmp_path} yet. They appear when they begin.\n"
        line = process.stdout.readline()
        assert line.startswith(f"TensorBoard of {tmp_path}: http://127.0.0.1:")
        port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
        process.send_signal(ending)
        assert process.wait(timeout=60) == code
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody of its session is left
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
