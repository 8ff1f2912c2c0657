"""The extension points of Maze. A plugin is a module with some of these functions.

Each hook takes no argument, has no side effect and yields specs; it is called once, when the
plugin is loaded. Mark an implementation with `hookimpl`:

```python
from maze_core import EnvSpec, hookimpl
from my_project.config import MyEnvConfig

@hookimpl
def maze_envs():
    yield EnvSpec(name="my_env", summary="My problem.", config=MyEnvConfig, build="my_project.env:MyEnv")
```
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from maze_core.specs import (
    CallbackSpec,
    CommandSpec,
    CriticSpec,
    EnvSpec,
    ModelSpec,
    Offer,
    PolicySpec,
    RunnerSpec,
    SweeperSpec,
    TrainerSpec,
    WrapperSpec,
)

PROJECT_NAME = "maze"
"""Name of the entry-point group in which packages announce their plugins."""

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def maze_envs() -> Iterable[EnvSpec]:  # type: ignore[empty-body]
    """Environments, selected by ``env=``."""


@hookspec
def maze_wrappers() -> Iterable[WrapperSpec]:  # type: ignore[empty-body]
    """Env wrappers, selected in order by ``wrappers=``, the first innermost."""


@hookspec
def maze_models() -> Iterable[ModelSpec]:  # type: ignore[empty-body]
    """Networks, selected by ``model=``."""


@hookspec
def maze_critics() -> Iterable[CriticSpec]:  # type: ignore[empty-body]
    """Estimates of values, selected by ``critic=``."""


@hookspec
def maze_trainers() -> Iterable[TrainerSpec]:  # type: ignore[empty-body]
    """Training algorithms, selected by ``algorithm=``."""


@hookspec
def maze_runners() -> Iterable[RunnerSpec]:  # type: ignore[empty-body]
    """Places where envs and evaluations execute, selected by ``runner=``."""


@hookspec
def maze_policies() -> Iterable[PolicySpec]:  # type: ignore[empty-body]
    """Who acts in a rollout, selected by ``policy=``: random ones, heuristics, what was trained."""


@hookspec
def maze_callbacks() -> Iterable[CallbackSpec]:  # type: ignore[empty-body]
    """Receivers of a run's progress, selected by ``callbacks=``."""


@hookspec
def maze_sweepers() -> Iterable[SweeperSpec]:  # type: ignore[empty-body]
    """What proposes values for `maze sweep`, selected by ``sweeper=``."""


@hookspec
def maze_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Commands of click, each run as ``maze <name>`` and imported only then.

    ```python
    @hookimpl
    def maze_commands():
        yield CommandSpec(name="stock", summary="Count the stock.", build="my_project.stock:command")
    ```
    """


HOOKS: dict[str, type[Offer]] = {
    "maze_envs": EnvSpec,
    "maze_wrappers": WrapperSpec,
    "maze_models": ModelSpec,
    "maze_critics": CriticSpec,
    "maze_trainers": TrainerSpec,
    "maze_runners": RunnerSpec,
    "maze_policies": PolicySpec,
    "maze_callbacks": CallbackSpec,
    "maze_sweepers": SweeperSpec,
    "maze_commands": CommandSpec,
}
"""Which type of spec each hook yields."""
