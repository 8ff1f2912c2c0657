"""Small plugins that violate one thing, and what the conformance kit says of them."""

from __future__ import annotations

import contextlib
import itertools
import sys
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from maze_core.hookspecs import HOOKS, hookimpl
from maze_core.specs import Offer, Spec
from maze_core.testing.checks import checks_of
from maze_core.testing.conformance import Checks

NUMBERS = itertools.count()


@dataclass(kw_only=True)
class Options:
    """No options; derive one class for each spec."""


def options() -> type:
    """A config class of its own."""
    return dataclass(kw_only=True)(type("OwnOptions", (Options,), {"__doc__": "No options.", "__module__": __name__}))


@contextlib.contextmanager
def plugin_with(*specs: Offer) -> Iterator[str]:
    """A module that offers specs; returns its name, as for ``--plugin``."""
    module = ModuleType(f"conformance_subject_{next(NUMBERS)}")
    for hook, spec_type in HOOKS.items():
        own = [spec for spec in specs if type(spec) is spec_type]
        if own:
            setattr(module, hook, hookimpl(lambda own=own: iter(own)))
    sys.modules[module.__name__] = module
    try:
        yield module.__name__
    finally:
        del sys.modules[module.__name__]


def failures(checks: type[Checks], *specs: Spec, only: str = "", **attributes: Any) -> dict[str, str]:
    """What fails, message by name of the check.

    Args:
        checks: The class of checks.
        specs: What a plugin offers; the first one is checked.
        only: Name of the only check to run; empty for all but imports, since another process has no such module.
        attributes: Of the class.
    """
    with plugin_with(*specs) as plugin:
        subclass = type("Subject", (checks,), {"name": specs[0].name, "plugins": (plugin,), **attributes})
        names = [only] if only else [name for name in checks_of(subclass) if name != "test_imports_are_light"]
        return {name: message for name in names if (message := failure(subclass, name)) is not None}


def failure(checks: type[Checks], name: str) -> str | None:
    """What one check fails with, or None."""
    try:
        getattr(checks(), name)()
    except unittest.SkipTest:
        return None
    except AssertionError as error:
        return str(error)
    return None
