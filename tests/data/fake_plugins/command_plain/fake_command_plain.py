"""What it calls a command is a function."""

from maze_core import CommandSpec, hookimpl


@hookimpl
def maze_commands():
    yield CommandSpec(name="fake-plain", summary="A fake.", build=len)
