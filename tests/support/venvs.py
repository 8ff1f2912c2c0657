"""Another virtual environment, which sees the packages of this one, so that nothing is downloaded."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.cli import Result

TESTS = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
ALONE = ("--no-deps", "--no-index", "--no-build-isolation")
"""What keeps pip from looking for anything elsewhere."""


@dataclass(frozen=True)
class Venv:
    """A virtual environment.

    Args:
        folder: Where it is.
    """

    folder: Path

    @staticmethod
    def make(folder: Path) -> Venv:
        """Makes one whose interpreter finds what is installed here, editable packages too."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "here.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
        return Venv(folder)

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    def install(self, *sources: Path | str) -> None:
        """Installs folders or wheels."""
        self._pip("install", *ALONE, *map(str, sources))

    def uninstall(self, *names: str) -> None:
        """Uninstalls distributions."""
        self._pip("uninstall", "--yes", *names)

    def _pip(self, *args: str) -> None:
        checked([*PIP, "--python", self.python, *args])

    def maze(self, *lines: str, cwd: Path) -> list[Result]:
        """What each of these command lines does there, one after the other in one process; see `support.inside`."""
        asked = json.dumps([shlex.split(line) for line in lines])
        told = self._run("-m", "support.inside", cwd=cwd, input=asked)
        return [Result(**result) for result in json.loads(told)]

    def pytest(self, folder: Path) -> str:
        """Runs the tests of a folder there."""
        return self._run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=folder)

    def _run(self, *args: str, **options: Any) -> str:
        return checked([self.python, *args], env={**os.environ, "PYTHONPATH": str(TESTS)}, **options)


def build_wheel(source: Path, folder: Path) -> Path:
    """Builds the wheel of a distribution."""
    checked([*PIP, "wheel", *ALONE, "--wheel-dir", str(folder), str(source)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def checked(command: list[str], **options: Any) -> str:
    """What a program prints that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)
