"""What all hostile cases are made with: a real run, the right hashes for wrong contents, links and pipes.

What lies outside of the run directory (`VICTIM`) must never change, and what would show that code ran
(`CANARY`) must never appear.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load, save

CANARY = "MAZE_TEST_CANARY"
"""An environment variable that names a file, which appears if code ran."""

TOUCH = f'touch "${CANARY}"'
"""The command that makes it appear."""

VICTIM = "victim"
"""A file beside the run directory that must stay as it is."""

VICTIM_TEXT = "what a user would not want to lose\n" * 100
SECRET = "MAZE_TEST_SECRET"
"""An environment variable whose value must be told nowhere."""

RED = "\x1b[31mred\x07\u202e"
STATE, TENSORS, MANIFEST = "state.json", "tensors.safetensors", "manifest.json"


@dataclass(frozen=True)
class Case:
    """Something that a stranger could do to a run directory.

    Args:
        make: Does it; gets the run directory.
        goes_on: The run goes on, because what is hostile has no effect; else it is refused.
        weights: It concerns ``state_dict.pt``, which only ``input_dir`` reads.
        inside: It works, if at all, for who is inside of the directory.
    """

    make: Callable[[Path], None]
    goes_on: bool = False
    weights: bool = False
    inside: bool = False


CASES: dict[str, Case] = {}


def case(name: str, **options: Any) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Registers what a function does as a case."""

    def register(make: Callable[[Path], None]) -> Callable[[Path], None]:
        assert name not in CASES, name
        CASES[name] = Case(make, **options)
        return make

    return register


# The run that everything begins with


def make_base(run: Path, *overrides: str, algorithm: str = "es") -> Path:
    """A small run that was killed after its second update."""
    from maze_core.api import RunContext
    from maze_core.runs.train import TrainingLoop

    class KilledError(BaseException):
        """Nothing catches it."""

    small = {
        "es": ["algorithm.n_rollouts_per_update=2"],
        "ppo": ["algorithm.n_envs=2", "algorithm.n_rollout_steps=8", "algorithm.batch_size=8",
                "algorithm.n_optimization_epochs=1", "algorithm.epoch_length=1"],
        "a2c": ["algorithm.n_envs=2", "algorithm.n_rollout_steps=8", "algorithm.epoch_length=1"],
    }[algorithm]  # fmt: skip
    common = [
        f"algorithm={algorithm}", "seed=1", f"run_dir={run}", "model.hidden_sizes=[4]", "runner.n_epochs=3",
        "runner.evaluation.n_episodes=1", "runner.checkpoint.every_updates=1", "runner.stop_at_reward=inf",
    ]  # fmt: skip
    save, saved = TrainingLoop.save, 0

    def save_twice(loop: TrainingLoop) -> None:
        nonlocal saved
        save(loop)
        saved += 1
        if saved == 3:
            raise KilledError

    TrainingLoop.save = save_twice  # type: ignore[method-assign]
    try:
        with RunContext(overrides=[*common, *small, *overrides], silent=True) as context:
            context.train()
    except KilledError:
        pass
    finally:
        TrainingLoop.save = save  # type: ignore[method-assign]
    assert checkpoints(run)
    return run


def place(base: Path, home: Path) -> Path:
    """A copy of a run, with only its newest checkpoint, a victim beside it; returns the run."""
    home.mkdir(parents=True)
    (home / VICTIM).write_text(VICTIM_TEXT)
    run = home / "run"
    shutil.copytree(base, run, symlinks=True)
    for number in checkpoints(run)[:-1]:
        shutil.rmtree(run / "checkpoints" / number)
    return run


# Tools


def checkpoints(run: Path) -> list[str]:
    """Names of all checkpoints."""
    return sorted(path.name for path in (run / "checkpoints").iterdir() if path.name.isdecimal())


def newest(run: Path) -> Path:
    """The newest checkpoint."""
    return run / "checkpoints" / checkpoints(run)[-1]


def state_of(run: Path) -> dict[str, Any]:
    """The JSON part of the newest checkpoint."""
    content: dict[str, Any] = json.loads((newest(run) / STATE).read_text())
    return content


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    """The tensors of the newest checkpoint, by the names that the state has for them."""
    return load((newest(run) / TENSORS).read_bytes())


def names_at(run: Path, path: str) -> dict[str, str]:
    """Names of the tensors at a place of the state, by the last key of their own place."""
    node: Any = state_of(run)
    for key in path.split("."):
        node = node[key]
    found = {path.rpartition(".")[2]: node} if "$tensor" in node else node
    return {key: value["$tensor"] for key, value in found.items()}


def sign(
    run: Path,
    *,
    state: Any = None,
    tensors: bytes | Mapping[str, torch.Tensor] | None = None,
    manifest: Mapping[str, Any] | None = None,
    raw_state: bytes | None = None,
) -> None:
    """Gives the newest checkpoint other contents, and a manifest that fits them."""
    path = newest(run)
    if state is not None:
        raw_state = json.dumps(state).encode()
    if raw_state is not None:
        (path / STATE).write_bytes(raw_state)
    if tensors is not None:
        (path / TENSORS).write_bytes(tensors if isinstance(tensors, bytes) else save(dict(tensors)))
    record = json.loads((path / MANIFEST).read_text())
    record["files"] = {name: _signature(path / name) for name in (TENSORS, STATE)}
    record["number"] = int(path.name)
    record |= manifest or {}
    record.pop("sha256", None)
    (path / MANIFEST).write_text(signed(record))


def signed(record: Mapping[str, Any]) -> str:
    """A manifest with its own hash."""
    digest = hashlib.sha256((json.dumps(record, indent=1) + "\n").encode()).hexdigest()
    return json.dumps({**record, "sha256": digest}, indent=1) + "\n"


def _signature(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def configure(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the configuration everywhere where it is recorded."""
    data = yaml.safe_load((run / "config.yaml").read_text())
    changed = change(data)
    data = changed if isinstance(changed, dict) else data
    (run / "config.yaml").write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    sign(run, state={**state_of(run), "started": data, "config": data})


def put(data: dict[str, Any], path: str, value: Any) -> None:
    """Sets a value by dotted path."""
    *keys, last = path.split(".")
    for key in keys:
        data = data[key]
    data[last] = value


def setting(path: str, value: Any) -> Callable[[Path], None]:
    """A case whose configuration has another value."""
    return lambda run: configure(run, lambda data: put(data, path, value))


def in_state(path: str, value: Any) -> Callable[[Path], None]:
    """A case whose state has another value."""

    def make(run: Path) -> None:
        state = state_of(run)
        put(state, path, value)
        sign(run, state=state)

    return make


def yaml_text(text: str, whole: bool = False) -> Callable[[Path], None]:
    """A case whose config.yaml has further lines, or only these."""

    def make(run: Path) -> None:
        file = run / "config.yaml"
        file.write_text(text if whole else file.read_text() + text, encoding="utf-8")

    return make


def replaced(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """A case in which something else stands in the place of a file."""

    def change(run: Path) -> None:
        path = newest(run) / name.removeprefix("newest/") if name.startswith("newest/") else run / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        make(path)

    return change


def home_of(path: Path) -> Path:
    """Where victim and canary are."""
    while path.name != "run":
        path = path.parent
    return path.parent


def add(name: str, make: Callable[[Path], None], **options: Any) -> None:
    """Registers a case."""
    case(name, **options)(make)


def link_to(target: str) -> Callable[[Path], None]:
    """Makes a link; `target` is relative to the home of the case, or absolute."""
    return lambda path: path.symlink_to(target if target.startswith("/") else home_of(path) / target)


def hard_link(path: Path) -> None:
    """Makes another name of the victim."""
    os.link(home_of(path) / VICTIM, path)


def sparse(size: int) -> Callable[[Path], None]:
    """Makes a file of this size in which nothing was written."""

    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def full_folder(path: Path) -> None:
    """Makes a folder that is not empty."""
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").touch()
