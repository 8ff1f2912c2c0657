"""Its command has the name of another."""

from maze_core import CommandSpec, hookimpl


@hookimpl
def maze_commands():
    yield CommandSpec(name="fake-count", summary="A fake.", build="fake:nothing")
