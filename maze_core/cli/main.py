"""Entry points ``maze`` and ``maze-run``: a group of lazily imported commands, and how errors end."""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem, shell_complete, split_arg_string

from maze_core.cli import plugin_commands
from maze_core.cli.complete import root_of
from maze_core.cli.options import as_block
from maze_core.errors import MazeError, StorageError, masked
from maze_core.presets import CORE_CONF
from maze_core.run_config import RolloutConfig

COMMANDS = {
    "init": "Make a project of your own in this folder.",
    "train": "Train a policy.",
    "sweep": "Look for good values of options.",
    "rollout": "Run a policy in episodes: a trained one, a heuristic, or random actions.",
    "export": "Write a trained policy for use elsewhere.",
    "resume": "Go on with a run that was stopped or killed.",
    "reproduce": "Run what a run recorded again: do the same numbers come out?",
    "compare": "Compare groups of runs over their seeds.",
    "report": "Write a page about runs, with curves: one file that everybody can open.",
    "runs": "List runs: which are running, finished, killed or damaged.",
    "board": "Show runs in TensorBoard.",
    "config": "Show the configuration that a command would run with.",
    "list": "List what can be selected.",
    "info": "Explain one thing that can be selected, with all its options.",
    "plugins": "List, show, check and begin plugins.",
    "completion": "Complete commands, options, keys and names with TAB.",
}
"""Commands with their short help, so that ``maze --help`` imports none of them."""

COMPLETE = "_MAZE_COMPLETE"
"""Set by a shell that asks what completes a word."""

CLOSED_PIPE = 128 + 13


class ReaderGoneError(Exception):
    """Nobody reads the output any more, as in ``maze train | head -1``."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used, and whose errors are one or two lines.

    Plugins are loaded only for names that are none of Maze's own, and for lists of all commands.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return [*COMMANDS, *plugin_commands.summaries(tell=False)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name not in COMMANDS:
            return plugin_commands.imported(plugin_commands.known(ctx, cmd_name, COMMANDS))
        module = importlib.import_module(f"maze_core.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Completes commands and options without importing a command."""
        commands = COMMANDS | plugin_commands.summaries(tell=False)
        items = [CompletionItem(name, help=text) for name, text in commands.items() if name.startswith(incomplete)]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        added = plugin_commands.summaries(tell=True)
        if added:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(list(added.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; a reader of its output that went away is not left to click, which exits with 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Runs a command line; every error of the user ends in one or two lines and its exit code."""
        if COMPLETE in os.environ:
            complete(self, "maze")
        return run_guarded(super().main, list(sys.argv[1:] if args is None else args), **extra)


def complete(command: click.Command, program: str) -> NoReturn:
    """Answers a shell that asks what completes a word, or for the script that asks."""
    importlib.import_module("maze_core.cli.completion_command")  # registers our form of click's shells
    sys.exit(shell_complete(command, {}, program, COMPLETE, os.environ[COMPLETE]))


class _Block(logging.Formatter):
    """Writes warnings in the form of all messages of the program."""

    def format(self, record: logging.LogRecord) -> str:
        """The message as a block."""
        return as_block(super().format(record))


def run_guarded(main: Any, args: list[str], **extra: Any) -> NoReturn:
    """Runs a click main function and exits with the documented code, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without UTF-8 shows ? instead of failing
            stream.reconfigure(errors="replace")
    messages = logging.StreamHandler(sys.stderr)
    messages.setFormatter(_Block())
    logging.basicConfig(handlers=[messages])
    try:
        sys.exit(main(args=args, **{**extra, "standalone_mode": False}) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except ReaderGoneError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout at exit
        sys.exit(CLOSED_PIPE)
    except (click.exceptions.Abort, click.ClickException, MemoryError, MazeError, OSError) as error:
        if "--debug" in args and isinstance(error, (MazeError, OSError)):
            print(as_block(traceback.format_exc()).removeprefix("maze: "), file=sys.stderr)
        _fail(*_told(error))
    except Exception:
        trace = traceback.format_exc()
        if masked(trace) == trace:
            raise
        print(masked(trace), file=sys.stderr)
        sys.exit(1)


def _told(error: Exception) -> tuple[str, int]:
    """What is said about an error, and its exit code."""
    if isinstance(error, click.exceptions.Abort):
        return "interrupted", 130
    if isinstance(error, click.ClickException):
        return error.format_message(), 2
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {error}. Choose smaller sizes.", 1
    return str(error), error.exit_code if isinstance(error, MazeError) else StorageError.exit_code


def _fail(message: str, code: int) -> NoReturn:
    """Prints an error on stderr and ends the program."""
    print(as_block(message), file=sys.stderr)
    sys.exit(code)


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with:  maze train env=gym_env env.name=CartPole-v1",
)
@click.version_option(package_name="maze-core", prog_name="maze")
def maze() -> None:
    """Maze: train, inspect and extend reinforcement learning policies through plugins."""


def maze_run() -> None:
    """Entry point ``maze-run``: ``maze-run -cn conf_train ...`` is ``maze train ...``, without -cn ``maze rollout``."""
    args = sys.argv[1:]
    if COMPLETE in os.environ:
        line = split_arg_string(os.environ.get("COMP_LINE") or os.environ.get("COMP_WORDS", ""))
        command = maze.get_command(click.Context(maze), _verb(line[1:]))
        complete(command or maze, "maze-run")
    maze.main([_verb(args), *args], prog_name="maze-run")


def _verb(args: Sequence[str]) -> str:
    """The command that a command line of ``maze-run`` stands for: the root configuration that it names decides."""
    named = {"-cn": "conf_rollout", "-cd": ""}
    for arg, following in zip(args, [*args[1:], ""], strict=True):
        option, equals, value = arg.partition("=")
        key = {"--config-name": "-cn", "--config-dir": "-cd"}.get(option, option)
        if key in named:
            named[key] = value if equals else following
    places = ([Path(named["-cd"]).expanduser()] if named["-cd"] else []) + [Path("conf"), CORE_CONF]
    return "rollout" if root_of(named["-cn"].removesuffix(".yaml"), places) is RolloutConfig else "train"
