"""Fixtures of all tests, and the check that nothing leaks from one test into the next."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maze_core.errors import hide_nothing

FAKE_PLUGINS = Path(__file__).parent / "data" / "fake_plugins"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
OTHERS_VARIABLES = (
    "PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR", "KMP_DUPLICATE_LIB_OK", "PYGAME_HIDE_SUPPORT_PROMPT",
    "SDL_AUDIODRIVER",
)  # fmt: skip
"""Set by pytest, by torch when the first optimizer of a process is made, and when threadpoolctl, Gymnasium and
PettingZoo are imported.
"""


def pytest_configure() -> None:
    """Signals that a shell ignores for its background jobs are not ignored in tests, nor in what they start."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says aloud if pages were not opened in a browser: that is more than a skipped test."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", ())]
    for reason in sorted({str(reason[2]) for reason in skipped if "IN A BROWSER" in str(reason)}):
        terminalreporter.write_line(reason, red=True, bold=True)


def _process_state() -> dict[str, Any]:
    """What a test must leave as it was."""
    return {
        "working directory": Path.cwd(),
        "signal handlers": [signal.getsignal(number) for number in SIGNALS],
        "sys.path": list(sys.path),
        "environment": {name: value for name, value in os.environ.items() if name not in OTHERS_VARIABLES},
        "threads": {thread for thread in threading.enumerate() if not thread.daemon},
        "child processes": multiprocessing.active_children(),
    }


def _random_state() -> list[bytes]:
    """The state of the global generators, as far as they are imported."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    state = [] if numpy is None else [numpy.random.get_state()[1].tobytes()]  # type: ignore[index,union-attr]
    return state if torch is None else [*state, torch.get_rng_state().numpy().tobytes()]


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    before = _process_state()
    yield
    hide_nothing()
    after = _process_state()
    leaked = [name for name in before if before[name] != after[name]]
    assert not leaked, f"the test changed: {', '.join(leaked)}"


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; plugins loaded from it are forgotten, global generators must not move."""
    for name in ("MAZE_PLUGINS", "MAZE_DISABLE_PLUGINS", "MAZE_LOAD_PLUGINS", "MAZE_STRICT", "MAZE_PLUGIN_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path, modules, random_state = list(sys.path), set(sys.modules), _random_state()
    yield folder
    moved = random_state != _random_state()[: len(random_state)]
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith((str(tmp_path), str(FAKE_PLUGINS.parent))):
            del sys.modules[name]
    assert not moved, "the test moved a global random generator"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directories of small runs by name; each is trained once. See `support.trained`."""
    from support.trained import Runs

    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def install(workdir: Path) -> Callable[..., None]:
    """Makes fake distributions visible: ``install("good", "key_error")``; the first named is found first."""

    def install_fakes(*names: str) -> None:
        sys.path[:0] = [str(FAKE_PLUGINS / name) for name in names]

    return install_fakes
