"""Processes that begin with what is imported already."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.workers import eventually, trained, workers_of

from maze_core.workers.forked import POSSIBLE, Forked, kill_all, start_process

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


OF_ITS_OWN = {"OMP_OF_ITS_OWN": "yes"}
"""Variables of processes that have a server which no other test uses."""


@pytest.fixture
def _server_of_its_own(workdir: Path) -> Iterator[None]:
    yield
    process = start("", **OF_ITS_OWN)
    process._server.close()


@pytest.mark.usefixtures("_server_of_its_own")
def test_with_the_server_everything_ends(workdir: Path) -> None:
    process = start("import time; time.sleep(60)", **OF_ITS_OWN)
    assert _runs(process.pid)
    process._server.close()
    assert process.poll() == -signal.SIGKILL
    eventually(lambda: not _runs(process.pid))


@pytest.mark.usefixtures("_server_of_its_own")
def test_a_server_that_died_is_noticed_and_another_takes_its_place(workdir: Path) -> None:
    process = start("import time; time.sleep(60)", **OF_ITS_OWN)
    assert process.poll() is None
    os.kill(process._server._process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    other = start("raise SystemExit(7)", **OF_ITS_OWN)
    assert other.wait() == 7
    assert other._server is not process._server


@pytest.mark.usefixtures("_server_of_its_own")
def test_one_that_was_asked_of_a_server_that_dies_is_dead(workdir: Path) -> None:
    server = start("", **OF_ITS_OWN)._server
    os.kill(server._process.pid, signal.SIGSTOP)
    process = start("", **OF_ITS_OWN)
    os.kill(server._process.pid, signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        process.pid  # noqa: B018
    kill_all(process)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.usefixtures("_server_of_its_own")
def test_one_that_has_not_begun_is_killed_without_waiting(workdir: Path) -> None:
    server = start("", **OF_ITS_OWN)._server
    os.kill(server._process.pid, signal.SIGSTOP)
    code = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    process = start(code, log=workdir / "log", **OF_ITS_OWN)
    kill_all(process)
    assert process.poll() == -signal.SIGKILL
    os.kill(server._process.pid, signal.SIGCONT)
    assert start("", **OF_ITS_OWN).wait() == 0  # it was asked for later
    assert not any(map(_runs, map(int, Path("log").read_text().split())))


@pytest.mark.usefixtures("_server_of_its_own")
def test_an_interrupt_in_the_middle_of_a_message_ends_all(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would understand the next one."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    process = start("import time; time.sleep(60)", **OF_ITS_OWN)
    assert _runs(process.pid)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(process._server._channel, "send", interrupt)
        start("", **OF_ITS_OWN)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.usefixtures("_server_of_its_own")
def test_answers_that_nobody_takes_stop_nothing(workdir: Path) -> None:
    processes = [start("", **OF_ITS_OWN) for _ in range(400)]
    assert {process.wait() for process in processes} == {0}


@pytest.mark.usefixtures("_server_of_its_own")
def test_what_cannot_be_imported_is_told(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As what keeps the system from starting one more process is."""
    (workdir / "broken_module.py").write_text("raise OSError('no memory')")
    monkeypatch.syspath_prepend(workdir)
    process = start("", log=workdir / "log", modules=["broken_module"], **OF_ITS_OWN)
    assert process.wait() == 1
    assert Path("log").read_text() == "a process cannot be started: OSError: no memory\n"
    with pytest.raises(ProcessLookupError):
        process.pid  # noqa: B018
    assert start("raise SystemExit(7)", **OF_ITS_OWN).wait() == 7


def test_a_process_that_this_one_forks_has_servers_of_its_own(workdir: Path) -> None:
    """Answers to its parent are none of its business."""
    code = """
import os, sys
from maze_core.workers.forked import start_process
process = start_process("import time; time.sleep(0.3); raise SystemExit(5)", modules=(), name="maze-test")
child = os.fork()
if child == 0:
    assert process.wait() == -9, "it sees what is none of its own"
    os._exit(start_process("raise SystemExit(6)", modules=(), name="maze-test").wait())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), process.wait())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert ended.stdout.split() == ["6", "5"], ended.stderr


def test_one_of_a_program_without_output_prints_nowhere_else(workdir: Path) -> None:
    """Descriptors that it opens get the numbers of those that were closed."""
    code = """
import os
os.close(1); os.close(2)
from maze_core.workers.forked import start_process
reads, writes = os.pipe()
process = start_process("print('nowhere', flush=True); os.write(files[0], b'told')".replace("os", "__import__('os')"),
    modules=(), name="maze-test", files=(writes,))
os.close(writes)
with open("found", "w") as file:
    print(process.wait(), os.read(reads, 100), os.read(reads, 100), file=file)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert Path("found").read_text() == "0 b'told' b''\n"


def test_a_program_may_have_many_descriptors_open(workdir: Path) -> None:
    """More than `select` can wait for."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < 3000:
        pytest.skip("this process may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, limits[1]))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        process = start("raise SystemExit(7)", OMP_OF_MANY="yes")
        assert process.wait() == 7
        process._server.close()
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_modules_are_those_of_the_moment(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the server has looked for before."""
    monkeypatch.syspath_prepend("here")
    for number in (1, 2):
        folder = workdir / str(number)
        (folder / "here").mkdir(parents=True)
        (folder / "here" / "module_of_the_moment.py").write_text(f"number = {number}")
        code = "import module_of_the_moment as m\nraise SystemExit(m.number)"
        assert start_process(code, modules=(), name="maze-test", folder=str(folder)).wait() == number


def test_it_may_use_the_cores_and_has_the_umask_of_the_moment(workdir: Path) -> None:
    code = "import os\nprint(sorted(os.sched_getaffinity(0)), os.umask(0))"
    cores, umask = os.sched_getaffinity(0), os.umask(0o027)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert start(code, log=workdir / "log").wait() == 0
    finally:
        os.sched_setaffinity(0, cores)
        os.umask(umask)
    assert Path("log").read_text() == f"[{min(cores)}] {0o027}\n"


def test_the_current_directory_may_be_gone(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workdir / "gone"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        folder.rmdir()
        assert start("raise SystemExit(7)", log=workdir / "log").wait() == 7


@pytest.mark.parametrize(("name", "error"), [("absent", FileNotFoundError), ("file", NotADirectoryError)])
def test_one_in_what_is_no_folder_is_not_started(name: str, error: type[OSError], workdir: Path) -> None:
    Path("file").touch()
    with pytest.raises(error):
        start_process("", modules=(), name="maze-test", folder=str(workdir / name))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.usefixtures("workdir")
def test_a_run_outlives_the_server_of_its_workers(caplog: pytest.LogCaptureFixture) -> None:
    """All workers die at once, and are replaced by those of another server."""
    here = os.getpid()

    def kill() -> None:
        eventually(lambda: len(workers_of(here)) == 2)
        time.sleep(1.0)  # they are at work
        worker = Path(f"/proc/{workers_of(here)[0]}/stat").read_text().rpartition(")")[2].split()
        os.kill(int(worker[1]), signal.SIGKILL)
        killed.append(int(worker[1]))

    killed, killer = list[int](), threading.Thread(target=kill)
    killer.start()
    found = trained("ppo", n_workers=2, sleep_ms=20.0, run_dir=Path("killed"))
    killer.join()
    assert killed
    assert sum("takes its place" in record.message for record in caplog.records) == 2
    assert found == trained("ppo", run_dir=Path("here"))
