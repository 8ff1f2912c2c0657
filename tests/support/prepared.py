"""A process that has imported everything, and forks a child for each command line: no waiting, hard limits.

A child may be killed, may fill its memory and may change its directory without any effect on the tests.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from support.forks import become_maze

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ended:
    """What a command did.

    Args:
        code: Exit code; negative for the signal that killed it, such as -14 when its time was over.
        stdout: What it printed.
        stderr: The same of errors.
        seconds: How long it took.
        peak: Most memory that it had, in bytes.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak: int


class Prepared:
    """Starts the process; `run` is a command in a child of it."""

    def __init__(self) -> None:
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": _search_path()}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=pipe, stdout=pipe, env=environ, text=True, cwd="/"
        )

    def run(
        self,
        *args: str,
        cwd: Path | str,
        environ: Mapping[str, str] | None = None,
        seconds: float = 20.0,
        memory: int | None = None,
    ) -> Ended:
        """Runs ``maze <args>`` in a child.

        Args:
            args: Words of the command line.
            cwd: Where.
            environ: Variables besides those of this process.
            seconds: After which it is killed.
            memory: How many bytes it may take besides what it begins with; None for no limit.
        """
        request = {"args": args, "cwd": str(cwd), "environ": dict(environ or {}), "seconds": seconds, "memory": memory}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def _search_path() -> str:
    """What is imported there is what is imported here."""
    return os.pathsep.join(entry for entry in sys.path if entry)


def _serve() -> None:
    import maze_core.api
    import maze_core.builtins.tensorboard_callback
    import maze_core.cli.main
    import maze_core.pictures
    import maze_core.runs.stored_run  # noqa: F401

    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        _warm_up(Path(folder))
    _compose_once()
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            started = time.monotonic()
            child = os.fork()
            if child == 0:
                _run_child(request, out.fileno(), err.fileno())
            _, status, usage = os.wait4(child, 0)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="surrogateescape"))
            answer = {
                "code": os.waitstatus_to_exitcode(status), "stdout": texts[0], "stderr": texts[1],
                "seconds": time.monotonic() - started, "peak": usage.ru_maxrss * 1024,
            }  # fmt: skip
        print(json.dumps(answer), file=answers, flush=True)


def _compose_once() -> None:
    """The defaults, of which a resumed run tells how it differs, take longer than all the rest.

    They are the same for all whose plugins are the installed packages.
    """
    from maze_core.api import asked as api
    from maze_core.config import ConfigRequest, configure
    from maze_core.registry import Registry, load_registry

    packages = load_registry(local_plugins=False)
    defaults = configure(packages, ConfigRequest())

    def configure_quickly(registry: Registry, request: ConfigRequest) -> Any:
        usual = [plugin.name for plugin in registry.plugins if not plugin.error] == [p.name for p in packages.plugins]
        return defaults if usual and request == ConfigRequest() else configure(registry, request)

    api.configure = configure_quickly


def _warm_up(folder: Path) -> None:
    """Makes a run and resumes it, so that all that runs need is imported."""
    from maze_core.api import RunContext

    overrides = {"algorithm.n_rollouts_per_update": 2, "runner.n_epochs": 1, "runner.evaluation.n_episodes": 1}
    with RunContext(env="gym_env", overrides=overrides, seed=1, run_dir=folder / "run", silent=True) as context:
        context.train()
    with RunContext.resume(folder / "run", silent=True):
        pass


def _run_child(request: Mapping[str, Any], out: int, err: int) -> NoReturn:
    """Is the child."""

    def prepare() -> None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
        os.chdir(request["cwd"])  # of this process alone
        os.environ.update(request["environ"])
        if request["memory"] is not None:
            limit = _virtual_size() + request["memory"]
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])

    become_maze(request["args"], prepare)


def _virtual_size() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    _serve()
