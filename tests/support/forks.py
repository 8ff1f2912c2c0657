"""Commands in processes of their own that begin in hundredths of a second, to be killed at any point.

They are forked from a small server without threads that has imported everything already. So a test can
start and kill dozens of them; pytest itself is never forked.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

TESTS = Path(__file__).parents[1]
FILE_OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
"""What Python's audit hooks report before it is done to files; of shutil.rmtree each file."""


@dataclass(frozen=True)
class Fault:
    """What happens to a process at one of its file operations, just before the operation is done.

    Args:
        event: Kind of the operation, of `FILE_OPERATIONS`; empty for any.
        path: Occurs in the path; operations outside of the current directory never count.
        nth: Which of those operations, from 1 on.
        later: How many operations of any kind afterwards.
        signals: What it is sent, one after the other; SIGKILL goes to its whole group.
        torn: Instead, the nth time that this file is written to: half of it is written before.
    """

    event: str = ""
    path: str = ""
    nth: int = 1
    later: int = 0
    signals: tuple[int, ...] = (signal.SIGKILL,)
    torn: str = ""


@dataclass(frozen=True)
class Ended:
    """A process that ended.

    Args:
        code: Its exit code; negative, the number of the signal that killed it.
        stdout: What it printed.
        stderr: Of this too.
    """

    code: int
    stdout: str
    stderr: str


class Started:
    """A command that runs; kill it, or wait for its end.

    Args:
        server: What forked it.
        pid: Its process, and its process group.
        output: Folder of what it prints.
    """

    def __init__(self, server: ForkServer, pid: int, output: Path) -> None:
        self._server, self.pid, self._output = server, pid, output

    def wait(self, seconds: float | None = None) -> Ended:
        """Waits for its end, or until it is stopped; after so many seconds its group is killed."""
        self._server.send({"wait": self.pid})
        if seconds is not None and not self._server.answers_within(seconds):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._server.receive()
        return Ended(code, *((self._output / name).read_text(errors="replace") for name in ("stdout", "stderr")))

    def kill(self) -> Ended:
        """Kills its group."""
        os.killpg(self.pid, signal.SIGKILL)
        return self.wait()


class ForkServer:
    """Starts ``maze <args>`` in forked processes, one at a time or side by side.

    Args:
        folder: Where their output goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from support.forks import serve; serve()"], cwd=folder, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **one_thread},
        )  # fmt: skip
        assert self.receive() == "ready"

    def start(self, *args: str | Path, fault: Fault | None = None, ignored: Sequence[int] = ()) -> Started:
        """Starts a command.

        Args:
            args: Its words.
            fault: What happens to it.
            ignored: Signals that it ignores, as under nohup.
        """
        self._count += 1
        output = self._folder / f"output-{self._count}"
        output.mkdir()
        request = {"args": [str(word) for word in args], "fault": fault and asdict(fault), "ignored": list(ignored)}
        self.send({**request, "output": str(output), "cwd": str(Path.cwd())})
        return Started(self, self.receive(), output)

    def run(self, *args: str | Path, fault: Fault | None = None, ignored: Sequence[int] = ()) -> Ended:
        """Starts a command and waits for its end."""
        return self.start(*args, fault=fault, ignored=ignored).wait()

    def send(self, request: Any) -> None:
        """Hands a request to the server."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")

    def receive(self) -> Any:
        """Its next answer."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def answers_within(self, seconds: float) -> bool:
        """Whether an answer comes in time."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def close(self) -> None:
        """Ends the server, which ends what still runs."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait()


@contextmanager
def fork_server(folder: Path) -> Iterator[ForkServer]:
    """A server that is closed at the end."""
    server = ForkServer(folder)
    try:
        yield server
    finally:
        server.close()


# In the server


def serve() -> None:
    """Forks a process for each request, until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _warm_up()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads is not forked"
    answers.write('"ready"\n')
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid = request["wait"]
            status = os.waitpid(pid, os.WUNTRACED)[1]
            answer = -signal.SIGSTOP if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
            running -= set() if os.WIFSTOPPED(status) else {pid}
        else:
            answer = os.fork()
            if answer == 0:
                _become(request, answers)
            running.add(answer)
            os.setpgid(answer, answer)
        answers.write(f"{answer}\n")
    for pid in running:
        os.killpg(pid, signal.SIGKILL)


def _warm_up() -> None:
    """Imports whatever a run needs, by making one."""
    import gc
    import tempfile
    from importlib import import_module

    for module in ("maze_a2c.a2c", "maze_es.es", "maze_core.cli.main", "maze_core.cli.resume_command"):
        import_module(module)
    from support.resume import Recipe, defaults_composed_once, go_on

    defaults_composed_once().__enter__()  # for good
    with tempfile.TemporaryDirectory() as folder:
        run = Recipe("ppo", {"runner.n_epochs": 1}).train(Path(folder, "run"))
        go_on(run, runner__n_epochs=2)
    gc.collect()
    gc.freeze()


def become_maze(args: Sequence[str], prepare: Callable[[], None]) -> NoReturn:
    """Lets a forked process prepare itself, execute ``maze <args>`` and end, without a return to who forked it."""
    code: Any = 1
    try:
        prepare()
        from maze_core.cli.main import maze

        maze.main(list(args), prog_name="maze")
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _become(request: dict[str, Any], answers: IO[str]) -> NoReturn:
    """The forked process: executes a command and ends."""

    def prepare() -> None:
        os.setpgid(0, 0)
        answers.close()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(Path(request["output"], name), os.O_WRONLY | os.O_CREAT), descriptor)
        os.chdir(request["cwd"])  # of this process alone
        for number in request["ignored"]:
            signal.signal(number, signal.SIG_IGN)
        if request["fault"]:
            _expect(Fault(**request["fault"]))

    become_maze(request["args"], prepare)


def _expect(fault: Fault) -> None:
    """Lets the fault happen in this process."""
    if fault.torn:
        _expect_torn(fault)
        return
    matched = later = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal matched, later
        if event not in FILE_OPERATIONS or later > fault.later or not _counts(event, args):
            return
        if matched >= fault.nth:
            later += 1
        elif fault.event in ("", event) and fault.path in str(args[0]):
            matched += 1
        if matched >= fault.nth and later == fault.later:
            later += 1  # never again
            _send(fault.signals)

    sys.addaudithook(hook)


def _counts(event: str, args: tuple[Any, ...]) -> bool:
    """Whether an operation changes, or flushes, something below the current directory."""
    if event in ("os.remove", "os.rmdir") and args[1] != -1:
        return True  # within shutil.rmtree
    if not isinstance(args[0], (str, Path)):
        return False
    path = Path.cwd() / args[0]
    if not path.is_relative_to(Path.cwd()) or path.suffix == ".lock":
        return False
    return event != "open" or bool(args[2] & (os.O_WRONLY | os.O_RDWR)) or path.is_dir()


def _expect_torn(fault: Fault) -> None:
    from maze_core.runs import checkpoints, files

    written = 0

    def tearing(write: Any, name_of: Any) -> Any:
        def torn(target: Any, data: bytes) -> None:
            nonlocal written
            written += fault.torn in name_of(target)
            if fault.torn in name_of(target) and written == fault.nth:
                write(target, data[: len(data) // 2])
                _send(fault.signals)
            write(target, data)

        return torn

    checkpoints._write = tearing(checkpoints._write, str)
    growing: Any = files.GrowingFile
    growing.write = tearing(growing.write, lambda file: file.path.name)


def _send(signals: Sequence[int]) -> None:
    for number in signals:
        if number == signal.SIGKILL:
            os.killpg(0, number)
        os.kill(os.getpid(), number)
