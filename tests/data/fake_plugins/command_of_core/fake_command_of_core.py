"""Its command would take the place of one of Maze."""

from maze_core import CommandSpec, hookimpl


@hookimpl
def maze_commands():
    yield CommandSpec(name="train", summary="A fake.", build="fake:nothing")
