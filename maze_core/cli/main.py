"""Entry points ``maze`` and ``maze-run``: a group of lazily imported commands, and how errors end."""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from click.shell_completion import shell_complete

from maze_core.cli.options import as_block
from maze_core.errors import MazeError, StorageError, did_you_mean, masked

COMMANDS = {
    "train": "Train a policy.",
    "rollout": "Run a policy in episodes: a trained one, a heuristic, or random actions.",
    "export": "Write a trained policy for use elsewhere.",
    "resume": "Go on with a run that was stopped or killed.",
    "runs": "List runs: which are running, finished, killed or damaged.",
    "config": "Show the configuration that a command would run with.",
    "list": "List what can be selected.",
    "info": "Explain one thing that can be selected, with all its options.",
    "plugins": "List, show and check plugins.",
    "completion": "Complete commands, options, keys and names with TAB.",
}
"""Commands with their short help, so that ``maze --help`` imports none of them."""

COMPLETE = "_MAZE_COMPLETE"
"""Set by a shell that asks what completes a word."""

CLOSED_PIPE = 128 + 13


class ReaderGoneError(Exception):
    """Nobody reads the output any more, as in ``maze train | head -1``."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used, and whose errors are one or two lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"maze_core.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Finds the command, or says which one is nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(
                f"no command {args[0]!r}.{did_you_mean(args[0], COMMANDS)} Known: {', '.join(COMMANDS)}."
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

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
    command = "train" if _names_training(args) else "rollout"
    if COMPLETE in os.environ:
        words = os.environ.get("COMP_WORDS", "").split()
        command = "train" if _names_training(words) else "rollout"
        complete(maze.get_command(click.Context(maze), command) or maze, "maze-run")
    maze.main([command, *args], prog_name="maze-run")


def _names_training(args: Sequence[str]) -> bool:
    """Whether a command line names a configuration other than that of rollouts."""
    for number, arg in enumerate(args):
        option, _, value = arg.partition("=")
        if option in ("-cn", "--config-name"):
            value = value or next(iter(args[number + 1 :]), "")
            return value.removesuffix(".yaml") != "conf_rollout"
    return False
