"""What stands for the live objects that a run was given, where its policy does without them."""

from __future__ import annotations

import dataclasses
import keyword
import re
from collections.abc import Collection, Mapping
from typing import Any

from maze_core.errors import UserError
from maze_core.registry import LIVE, Registry, kind_of
from maze_core.run_config import RunnerConfig
from maze_core.specs import SPEC_TYPES, Spec


def absent_specs(registry: Registry, data: Mapping[str, Any], unneeded: Collection[str]) -> list[Spec]:
    """Specs by which a recorded configuration can be read, although objects that it names are not there.

    Args:
        registry: All specs that are.
        data: The configuration, perhaps a stranger's.
        unneeded: Groups whose objects nobody will use.
    """
    named, found = data.get("components"), dict[tuple[str, str], Spec]()
    for path, name in named.items() if isinstance(named, dict) else ():
        kind, is_live = kind_of(str(path)), isinstance(name, str) and name.startswith(LIVE)
        if kind and is_live and str(path).split(".")[0] in unneeded and name not in registry.names(kind):
            spec_type = next(spec_type for spec_type in SPEC_TYPES if spec_type.kind == kind)
            config = _config_like(data, str(path), (RunnerConfig,) if kind == "runner" else ())
            found[(kind, name)] = spec_type(name=name, summary="An absent object.", config=config, build=_absent)
    return list(found.values())


def _config_like(data: Mapping[str, Any], path: str, bases: tuple[Any, ...]) -> type:
    """A config with the fields that stand at a path of a configuration, besides those of its base."""
    node: Any = data
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    names = [str(name) for name in node if re.fullmatch(r"[A-Za-z]\w*", str(name))] if isinstance(node, dict) else []
    taken = {field.name for base in bases for field in dataclasses.fields(base)}
    more = [name for name in names if not keyword.iskeyword(name) and name not in taken]
    fields = [(name, Any, dataclasses.field(default=None)) for name in more]
    namespace = {"__doc__": "Of an object that is absent."}
    return dataclasses.make_dataclass("AbsentConfig", fields, bases=bases, namespace=namespace, kw_only=True)


def _absent(*arguments: Any) -> Any:
    raise UserError("what stands here is an object of another Python program, which did not give it to this one.")
