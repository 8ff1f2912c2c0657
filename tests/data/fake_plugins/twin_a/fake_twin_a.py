"""It offers `twin`, as another plugin does, and an env of its own."""

from dataclasses import dataclass

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class TwinConfig:
    """No options."""


@dataclass(kw_only=True)
class OwnConfig:
    """No options."""


@hookimpl
def maze_envs():
    yield EnvSpec(name="twin", summary="A fake.", config=TwinConfig, build="fake:nothing")
    yield EnvSpec(name="only_twin_a", summary="A fake.", config=OwnConfig, build="fake:nothing")
