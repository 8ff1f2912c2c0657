"""Processes that begin with what is imported already."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.workers import eventually

from maze_core.workers.fork_server import POSSIBLE, Forked, ForkServer, kill_all, start_process

pytestmark = [
    pytest.mark.workers,
    pytest.mark.xdist_group("fork server"),
    pytest.mark.skipif(not POSSIBLE, reason="there is no fork server on this system"),
]


def start(code: str, *arguments: str, log: Path = Path("log"), modules: Sequence[str] = (), **variables: str) -> Forked:
    with log.open("ab") as file:
        process = start_process(
            code, arguments, modules=modules, name="maze-test", environment=variables, output=file
        )  # fmt: skip
    assert isinstance(process, Forked)
    return process


def test_it_executes_what_it_is_given_and_its_output_is_appended(workdir: Path) -> None:
    Path("log").write_text("before\n")
    code = "import os, sys\nprint(sys.argv[1:], os.environ['MAZE_TEST_VARIABLE'])\nprint('error', file=sys.stderr)"
    assert start(code, "a b", "c", log=workdir / "log", MAZE_TEST_VARIABLE="told").wait() == 0
    lines = Path("log").read_text().splitlines()
    assert lines[0] == "before"
    assert sorted(lines[1:]) == ["['a b', 'c'] told", "error"]


@pytest.mark.parametrize(
    ("code", "ended"), [("import sys; sys.exit(3)", 3), ("1 / 0", 1), ("import os; os.abort()", -signal.SIGABRT)]
)
def test_its_exit_code_is_known(code: str, ended: int, workdir: Path) -> None:
    assert start(code, log=workdir / "log").wait() == ended


def test_many_that_end_at_once_are_all_told(workdir: Path) -> None:
    started = [start(f"import sys; sys.exit({code})", log=workdir / "log") for code in range(20)]
    eventually(lambda: all(process.poll() is not None for process in started))
    assert [process.poll() for process in started] == list(range(20))


def test_a_signal_reaches_it_and_one_that_ended_gets_none(workdir: Path) -> None:
    process = start("import time; time.sleep(60)", log=workdir / "log")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    process.send_signal(signal.SIGTERM)


def test_it_has_a_session_of_its_own_and_signals_as_any_program(workdir: Path) -> None:
    code = (
        "import os, signal\n"
        "print(os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL)\n"
        "print(signal.set_wakeup_fd(-1))"
    )
    assert start(code, log=workdir / "log").wait() == 0
    assert Path("log").read_text() == "True True\n-1\n"


def test_a_request_may_be_long(workdir: Path) -> None:
    code = "import sys; print(len(sys.argv[1]))"
    assert start(code, "x" * 10**6, log=workdir / "log").wait() == 0
    assert Path("log").read_text() == "1000000\n"


def test_siblings_do_not_draw_the_same_numbers(workdir: Path) -> None:
    code = "import random, numpy\nprint(random.random(), numpy.random.random())"
    for name in ("one", "other"):
        assert start(code, log=workdir / name, modules=["numpy"]).wait() == 0
    one, other = (Path(name).read_text().split() for name in ("one", "other"))
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_it_is_what_one_that_begins_now_would_be(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what was so when the server began."""
    assert start("", MAZE_TEST_GONE="1").wait() == 0
    monkeypatch.setenv("MAZE_TEST_HERE", "1")
    monkeypatch.syspath_prepend(workdir / "modules")
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "print([name for name in os.environ if 'MAZE_TEST' in name], sys.path[0], Path.cwd())\n"
        "print(Path('/proc/self/comm').read_text().strip(), 'json' in sys.modules)"
    )
    assert start(code, log=workdir / "log", modules=["json"]).wait() == 0
    assert Path("log").read_text().splitlines() == [
        f"['MAZE_TEST_HERE'] {workdir / 'modules'} {workdir}", "maze-test True"
    ]  # fmt: skip


def test_variables_that_are_read_once_are_read(workdir: Path) -> None:
    for seed in ("1", "2", "1"):
        assert start("print(hash('maze'))", log=workdir / "log", PYTHONHASHSEED=seed).wait() == 0
    first, second, third = Path("log").read_text().split()
    assert first == third != second


def test_it_gets_descriptors(workdir: Path) -> None:
    reads, writes = os.pipe()
    code = "import os\nos.write(files[0], str(os.getppid() == parent).encode())"
    process = start_process(code, modules=(), name="maze-test", files=(writes,))
    os.close(writes)
    assert os.read(reads, 100) == b"True"
    assert os.read(reads, 100) == b""
    os.close(reads)
    assert process.wait() == 0


def test_threads_may_start_processes(workdir: Path) -> None:
    found = {}

    def work(code: int) -> None:
        found[code] = start(f"import sys, time; time.sleep(0.1); sys.exit({code})", log=workdir / "log").wait()

    threads = [threading.Thread(target=work, args=(code,)) for code in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {code: code for code in range(6)}


def test_one_in_a_folder_that_is_gone_is_not_started(workdir: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start_process("", modules=(), name="maze-test", folder=str(workdir / "gone"))


def test_one_that_takes_longer_is_waited_for_no_longer(workdir: Path) -> None:
    process = start("import time; time.sleep(60)")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    kill_all(process)
    assert process.wait() == -signal.SIGKILL


def test_with_it_dies_what_it_started(workdir: Path) -> None:
    code = "import subprocess, sys, time\nprint(subprocess.Popen(['sleep', '60']).pid, flush=True)\ntime.sleep(60)"
    process = start(code, log=workdir / "log")
    eventually(lambda: bool(Path("log").read_text()))
    kill_all(process)
    assert process.wait() == -signal.SIGKILL
    eventually(lambda: not _runs(int(Path("log").read_text())))


# A server


def started_by(server: ForkServer, code: str, log: Path, modules: Sequence[str] = ()) -> Forked:
    request = {"code": code, "arguments": [], "modules": modules, "name": "maze-test", "folder": str(Path.cwd())}
    with log.open("ab") as file:
        files = [file.fileno()] * 2
        return server.start({**request, "environment": dict(os.environ), "path": sys.path}, files)


@pytest.fixture
def server(workdir: Path) -> Iterator[ForkServer]:
    started = ForkServer()
    yield started
    started.close()


def test_with_the_server_everything_ends(server: ForkServer, workdir: Path) -> None:
    process = started_by(server, "import time; time.sleep(60)", workdir / "log")
    assert _runs(process.pid)
    server.close()
    eventually(lambda: not _runs(process.pid))


def test_a_server_that_died_is_noticed(server: ForkServer, workdir: Path) -> None:
    process = started_by(server, "import time; time.sleep(60)", workdir / "log")
    os.kill(server._process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    eventually(lambda: server.gone)
    other = started_by(server, "", workdir / "log")
    assert other.wait() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        other.pid  # noqa: B018
    kill_all(other)


def test_another_server_takes_the_place_of_one_that_died(workdir: Path) -> None:
    process = start("import os; print(os.getppid())", log=workdir / "log")
    assert process.wait() == 0
    os.kill(int(Path("log").read_text()), signal.SIGKILL)
    eventually(lambda: process._server.gone)
    assert start("import os; print(os.getppid())", log=workdir / "log").wait() == 0


def test_what_cannot_be_imported_is_told(workdir: Path) -> None:
    """As what keeps the system from starting one more process is."""
    (workdir / "broken_module.py").write_text("raise OSError('no memory')")
    sys.path.insert(0, str(workdir))
    server = ForkServer()
    try:
        process = started_by(server, "", workdir / "log", ["broken_module"])
        assert process.wait() == 1
        assert Path("log").read_text() == "a process cannot be started: OSError: no memory\n"
        with pytest.raises(ProcessLookupError):
            process.pid  # noqa: B018
        assert started_by(server, "raise SystemExit(7)", workdir / "log").wait() == 7
    finally:
        server.close()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
