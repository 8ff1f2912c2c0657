"""Its command cannot be imported."""

from maze_core import CommandSpec, hookimpl


@hookimpl
def maze_commands():
    yield CommandSpec(name="fake-broken", summary="A fake.", build="fake_nowhere:command")
