"""It brings a command."""

from maze_core import CommandSpec, hookimpl


@hookimpl
def maze_commands():
    yield CommandSpec(name="fake-count", summary="Count things.", build="fake_command_line:count")
