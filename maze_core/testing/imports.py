"""Which heavy packages a plugin imports when it is only listed."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

from maze_core.plugins import Plugin

HEAVY = ("torch", "gymnasium", "numpy", "hydra", "omegaconf")
"""What listing and completing must not wait for."""

CODE = """
import importlib, json, runpy, sys
sys.path[:] = json.loads(sys.argv[1])
found, heavy = {}, json.loads(sys.argv[3])
for name in json.loads(sys.argv[2]):
    runpy.run_path(name) if name.endswith(".py") else importlib.import_module(name)
    found[name] = [package for package in heavy if package in sys.modules]
print("\\n" + json.dumps(found))
"""


def is_file(plugin: Plugin) -> bool:
    """Whether a plugin is a single file, such as ``maze_plugins.py``, in which all code may stand."""
    return plugin.location.endswith(".py")


def heavy_imports(plugin: Plugin) -> dict[str, list[str]]:
    """The heavy packages that modules import which are needed to list a plugin, by module.

    Raises:
        RuntimeError: If they cannot be imported in another process.
    """
    own = plugin.location.partition(":")[0]
    configs = {spec.config.__module__ for spec in plugin.specs if getattr(spec, "config", None) is not None}
    modules = (own,) if is_file(plugin) else (*sorted(configs - {own}), own)
    return {module: heavy for module, heavy in _imported(modules, tuple(sys.path)).items() if heavy}


@cache
def _imported(modules: tuple[str, ...], path: tuple[str, ...]) -> dict[str, list[str]]:
    arguments = [json.dumps(part) for part in (path, modules, HEAVY)]
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{', '.join(modules)} cannot be imported in a new process:\n{done.stderr.strip()}")
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found
