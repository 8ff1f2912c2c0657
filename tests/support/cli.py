"""The command line, in this process: what it prints, and the code it ends with."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

from maze_core.cli.main import maze, maze_run


@dataclass(frozen=True)
class Result:
    """What a command did."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def run_cli(*args: str) -> Result:
    """Runs ``maze <args>``."""
    return _captured(lambda: maze.main(list(args), prog_name="maze"))


def run_maze_run(*args: str) -> Result:
    """Runs ``maze-run <args>``."""
    with mock.patch.object(sys, "argv", ["maze-run", *args]):
        return _captured(maze_run)


def _captured(run: Any) -> Result:
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run()
        except SystemExit as ended:
            code = ended.code
    assert code is None or isinstance(code, int), code
    return Result(code or 0, out.getvalue(), err.getvalue())
