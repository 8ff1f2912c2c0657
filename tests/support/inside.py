"""Executes command lines of Maze in one process, perhaps in another environment: JSON in, JSON out.

It reads a list of command lines, each a list of words, and writes what each did. Of a line that begins with ``TAB``
the output is what completes its last word.
"""

from __future__ import annotations

import json
import sys

from click.shell_completion import get_completion_class
from support.cli import Result, run_cli

from maze_core.cli import completion_command as completion_command
from maze_core.cli.main import maze


def execute(words: list[str]) -> Result:
    """What one command line does."""
    if words[0] != "TAB":
        return run_cli(*words)
    shell = get_completion_class("zsh")
    assert shell is not None
    items = shell(maze, {}, "maze", "_MAZE_COMPLETE").get_completions(words[1:-1], words[-1])
    return Result(0, "\n".join(item.value for item in items), "")


if __name__ == "__main__":
    json.dump([vars(execute(words)) for words in json.load(sys.stdin)], sys.stdout)
