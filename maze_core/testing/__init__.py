"""For authors of plugins: checks that what they write keeps the contracts that Maze relies on.

```python
from maze_core.testing import EnvConformance

class TestMyEnv(EnvConformance):
    name = "my_env"
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maze_core.testing.callbacks import CallbackConformance
    from maze_core.testing.critics import CriticConformance
    from maze_core.testing.env_checker import check_env
    from maze_core.testing.envs import EnvConformance
    from maze_core.testing.models import ModelConformance
    from maze_core.testing.plugins import PluginConformance
    from maze_core.testing.policies import PolicyConformance
    from maze_core.testing.runners import RunnerConformance
    from maze_core.testing.sweepers import SweeperConformance
    from maze_core.testing.trainers import TrainerConformance
    from maze_core.testing.wrappers import WrapperConformance

__all__ = [
    "CallbackConformance", "CriticConformance", "EnvConformance", "ModelConformance", "PluginConformance",
    "PolicyConformance", "RunnerConformance", "SweeperConformance", "TrainerConformance", "WrapperConformance",
    "check_env",
]  # fmt: skip

_LAZY = {
    "CallbackConformance": "callbacks",
    "CriticConformance": "critics",
    "EnvConformance": "envs",
    "ModelConformance": "models",
    "PluginConformance": "plugins",
    "PolicyConformance": "policies",
    "RunnerConformance": "runners",
    "SweeperConformance": "sweepers",
    "TrainerConformance": "trainers",
    "WrapperConformance": "wrappers",
    "check_env": "env_checker",
}
"""In which module each is; the toys must be found without importing what they are for."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"maze_core.testing.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'maze_core.testing' has no attribute {name!r}")
