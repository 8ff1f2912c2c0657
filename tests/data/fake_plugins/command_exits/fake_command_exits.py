"""Its command ends the program when it is imported."""

from maze_core import CommandSpec, hookimpl


@hookimpl
def maze_commands():
    yield CommandSpec(name="fake-exits", summary="A fake.", build="fake_command_exits_line:command")
