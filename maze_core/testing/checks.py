"""Runs checks without pytest, as ``maze plugins check`` does."""

from __future__ import annotations

import contextlib
import io
import logging
import traceback
import unittest
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from maze_core.plugins import Plugin
from maze_core.registry import Registry
from maze_core.testing.callbacks import CallbackConformance
from maze_core.testing.conformance import Checks, kept_randomness
from maze_core.testing.critics import CriticConformance
from maze_core.testing.envs import EnvConformance
from maze_core.testing.models import ModelConformance
from maze_core.testing.plugins import PluginConformance
from maze_core.testing.policies import PolicyConformance
from maze_core.testing.runners import RunnerConformance
from maze_core.testing.sweepers import SweeperConformance
from maze_core.testing.trainers import TrainerConformance
from maze_core.testing.wrappers import WrapperConformance

CLASSES: dict[str, type[Checks]] = {
    checks.what: checks
    for checks in (
        EnvConformance,
        WrapperConformance,
        ModelConformance,
        CriticConformance,
        TrainerConformance,
        RunnerConformance,
        PolicyConformance,
        CallbackConformance,
        SweeperConformance,
    )
}
"""The checks of each kind of thing."""

PREFIX = "test_"


@dataclass
class Report:
    """What the checks of one thing found.

    Args:
        what: The thing.
        n_checks: How many checks there were.
        n_skipped: How many had nothing to check.
        problems: What is wrong, each once.
        notes: What is worth knowing.
    """

    what: str
    n_checks: int = 0
    n_skipped: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def classes_for(registry: Registry, plugin: Plugin, named: tuple[str, ...], local_plugins: bool) -> list[type[Checks]]:
    """The checks of a plugin and of everything in it that can be selected.

    Args:
        registry: All specs.
        plugin: The plugin.
        named: Plugins that were named, as with ``--plugin``.
        local_plugins: Whether the project in the current directory is loaded.
    """
    usable = [spec for spec in plugin.specs if spec.kind in CLASSES and spec in registry.specs(spec.kind)]
    bases = [(PluginConformance, plugin.name), *((CLASSES[spec.kind], spec.name) for spec in usable)]
    attributes = {"plugins": named, "local_plugins": local_plugins}
    return [type(f"Check{base.__name__}", (base,), {"name": name, **attributes}) for base, name in bases]


def checks_of(checks: type[Checks], fast: bool = False) -> list[str]:
    """Names of the methods that check something, those of base classes first.

    Args:
        checks: A class of checks.
        fast: Whether those that take long are left out.
    """
    names = [name for base in reversed(checks.__mro__) for name in vars(base) if name.startswith(PREFIX)]
    return [name for name in dict.fromkeys(names) if not (fast and getattr(getattr(checks, name), "slow", False))]


def run_checks(checks: type[Checks], fast: bool = False) -> Iterator[Report]:
    """Runs all checks of a class; yields the report as it grows, before each check and at the end.

    Args:
        checks: A class of checks.
        fast: Whether those that take long are left out.
    """
    what = f"{checks.what} {checks.name}"
    report = Report(what)
    for name in checks_of(checks, fast):
        yield report
        report.n_checks += 1
        instance = checks()
        problem = _problem(instance, name, report)
        if problem is not None:
            problem = problem.removeprefix(f"{instance.label}: ")
            problem = problem if checks.what == PluginConformance.what else f"{what}: {problem}"
            report.problems += [] if problem in report.problems else [problem]
        report.notes += [note for note in instance.notes if note not in report.notes]
    yield report


def _problem(instance: Checks, name: str, report: Report) -> str | None:
    """What a check found wrong, or None."""
    try:
        with _quiet():
            getattr(instance, name)()
    except unittest.SkipTest:
        report.n_skipped += 1
    except AssertionError as error:
        return str(error)
    except Exception as error:  # whatever a plugin raises
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
        words = name.removeprefix(PREFIX).replace("_", " ")
        return f"{type(error).__name__} where it was checked that {words}: {error} ({where})"
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what is checked from printing, logging and warning."""
    log = logging.getLogger("maze")
    propagates, log.propagate = log.propagate, False
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
            kept_randomness(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.propagate = propagates
