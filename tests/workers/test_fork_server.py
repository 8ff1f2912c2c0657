"""Processes that begin with what is imported already."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.workers import eventually

from maze_core.workers.fork_server import POSSIBLE, Forked, ForkServer

pytestmark = [
    pytest.mark.workers,
    pytest.mark.xdist_group("fork server"),
    pytest.mark.skipif(not POSSIBLE, reason="there is no fork server on this system"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    started = ForkServer()
    yield started
    started.close()


def start(server: ForkServer, code: str, *arguments: str, log: Path = Path("log")) -> Forked:
    with log.open("ab") as file:
        return server.start(code, arguments, file.fileno(), {"MAZE_TEST_VARIABLE": "told"})


def test_it_executes_what_it_is_given_and_its_output_is_appended(server: ForkServer, workdir: Path) -> None:
    Path("log").write_text("before\n")
    code = "import os, sys\nprint(sys.argv[1:], os.environ['MAZE_TEST_VARIABLE'])\nprint('error', file=sys.stderr)"
    assert start(server, code, "a b", "c", log=workdir / "log").wait() == 0
    lines = Path("log").read_text().splitlines()
    assert lines[0] == "before"
    assert sorted(lines[1:]) == ["['a b', 'c'] told", "error"]


@pytest.mark.parametrize(
    ("code", "ended"), [("import sys; sys.exit(3)", 3), ("1 / 0", 1), ("import os; os.abort()", -signal.SIGABRT)]
)
def test_its_exit_code_is_known(code: str, ended: int, server: ForkServer, workdir: Path) -> None:
    assert start(server, code, log=workdir / "log").wait() == ended


def test_many_that_end_at_once_are_all_told(server: ForkServer, workdir: Path) -> None:
    started = [start(server, f"import sys; sys.exit({code})", log=workdir / "log") for code in range(20)]
    eventually(lambda: all(process.poll() is not None for process in started))
    assert [process.poll() for process in started] == list(range(20))


def test_a_signal_reaches_it_and_one_that_ended_gets_none(server: ForkServer, workdir: Path) -> None:
    process = start(server, "import time; time.sleep(60)", log=workdir / "log")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    process.send_signal(signal.SIGTERM)


def test_it_has_a_session_of_its_own_and_signals_as_any_program(server: ForkServer, workdir: Path) -> None:
    code = (
        "import os, signal\n"
        "print(os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL)\n"
        "print(signal.set_wakeup_fd(-1))"
    )
    assert start(server, code, log=workdir / "log").wait() == 0
    assert Path("log").read_text() == "True True\n-1\n"


def test_a_request_may_be_long(server: ForkServer, workdir: Path) -> None:
    code = "import sys; print(len(sys.argv[1]))"
    assert start(server, code, "x" * 10**6, log=workdir / "log").wait() == 0
    assert Path("log").read_text() == "1000000\n"


def test_siblings_do_not_draw_the_same_numbers(server: ForkServer, workdir: Path) -> None:
    code = "import random, numpy\nprint(random.random(), numpy.random.random())"
    for name in ("one", "other"):
        assert start(server, code, log=workdir / name).wait() == 0
    one, other = (Path(name).read_text().split() for name in ("one", "other"))
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_with_the_server_everything_ends(workdir: Path) -> None:
    own = ForkServer()
    process = start(own, "import time; time.sleep(60)", log=workdir / "log")
    own.close()
    eventually(lambda: not _runs(process.pid))


def test_a_server_that_died_is_noticed(workdir: Path) -> None:
    own = ForkServer()
    process = start(own, "import time; time.sleep(60)", log=workdir / "log")
    os.kill(own._process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with pytest.raises(OSError, match="the server of processes ended"):
        start(own, "pass", log=workdir / "log")
    own.close()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
