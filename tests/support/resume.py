"""Runs that are cut off and go on, and all that must be the same as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maze_core.api import RunContext
from maze_core.api import asked as api
from maze_core.config import ConfigRequest
from maze_core.protocols import RunSummary
from maze_core.registry import Registry
from maze_core.runs.checkpoints import CheckpointStore

CLOCK = Path(__file__).parents[1] / "data" / "clock"
"""A folder for ``--plugin``; see the docstring of its maze_plugins.py."""

SHORT: dict[str, Any] = {
    "seed": 3, "runner.n_epochs": 2, "runner.evaluation.n_episodes": 3, "runner.stop_at_reward": float("inf"),
    "algorithm.epoch_length": 2, "runner.checkpoint.every_updates": 1, "runner.checkpoint.keep": 1000,
}  # fmt: skip
"""A run of four updates that keeps a checkpoint after each."""

SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"algorithm.n_envs": 4, "algorithm.n_rollout_steps": 32, "algorithm.batch_size": 32,
            "algorithm.n_optimization_epochs": 2},
    "a2c": {"algorithm.n_envs": 4, "algorithm.n_rollout_steps": 11},
    "es": {"algorithm.n_rollouts_per_update": 8},
}  # fmt: skip
"""Options that make an update of an algorithm take some milliseconds."""

CLOCKS = {"train_s", "evaluation_s", "_wall_s"}
"""Counters of a run that are outside of all promises."""

SESSION_END = "_hparams_/session_end_info"
"""What a run writes after its last checkpoint, so that one that is killed between them does not have it."""


@dataclass(frozen=True)
class Recipe:
    """A run to be made as often as needed.

    Args:
        algorithm: es, ppo or a2c.
        overrides: Values by dotted path, besides `SHORT` and `SMALL`.
        groups: Further choices, such as env and wrappers.
        plugins: Local ones.
    """

    algorithm: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)
    plugins: Sequence[str] = ()

    def start(self, directory: Path) -> RunContext:
        """A new run."""
        overrides = {**SHORT, **SMALL[self.algorithm], **self.overrides}
        return RunContext(
            algorithm=self.algorithm, overrides=overrides, run_dir=directory, plugins=self.plugins, silent=True,
            **self.groups,
        )  # fmt: skip

    def train(self, directory: Path) -> Path:
        """A run from its beginning to its end; returns its directory."""
        with self.start(directory) as context:
            context.train()
        return directory


@contextmanager
def defaults_composed_once() -> Iterator[None]:
    """The default configuration, which a resumed run is compared with to say what to run next, is composed once.

    It takes three quarters of the time that a short run needs to go on.
    """
    composed: dict[Any, Any] = {}

    def configure(registry: Registry, request: ConfigRequest) -> Any:
        if request != ConfigRequest():
            return original(registry, request)
        key = tuple((plugin.name, plugin.location) for plugin in registry.plugins)
        if key not in composed:
            composed[key] = original(registry, request)
        return composed[key]

    original = api.configure  # type: ignore[attr-defined]
    with mock.patch.object(api, "configure", configure):
        yield


def go_on(directory: Path, plugins: Sequence[str] = (), **overrides: Any) -> RunSummary:
    """Resumes a run, and trains to its end; ``__`` in an override's name is a dot."""
    values = {key.replace("__", "."): value for key, value in overrides.items()}
    with RunContext.resume(directory, overrides=values, plugins=plugins, silent=True) as context:
        return context.train()


def ended(killed: Path, copy: Path) -> Path:
    """A copy of a run that was killed, gone on with to its end."""
    shutil.copytree(killed, copy)
    go_on(copy)
    return copy


def flip(file: Path, share: float = 0.5) -> None:
    """Flips a bit of the byte that lies at this share of a file."""
    data = bytearray(file.read_bytes())
    data[int(share * (len(data) - 1))] ^= 1
    file.write_bytes(data)


def account(directory: Path) -> str:
    """What the last resumed run told of itself."""
    lines = (directory / "log.txt").read_text().splitlines()
    return next(line for line in reversed(lines) if line.startswith("Resumed at"))


def store(directory: Path) -> CheckpointStore:
    return CheckpointStore(directory / "checkpoints")


def cut_off(directory: Path, copy: Path, after: int) -> Path:
    """A copy of a run as if it had been killed after a checkpoint, with all that it wrote until then and later.

    Weights at its end are left out, so that they are not found by mistake.
    """
    shutil.copytree(directory, copy)
    for number in store(copy).numbers():
        if number > after:
            shutil.rmtree(copy / "checkpoints" / f"{number:06d}")
    for name in ("state_dict.pt", "final_state_dict.pt"):
        (copy / name).unlink()
    return copy


def result(directory: Path) -> dict[str, Any]:
    """All that a run leaves and that must not depend on whether it was interrupted, by name."""
    found: dict[str, Any] = {}
    for name in ("state_dict.pt", "final_state_dict.pt"):
        weights = torch.load(directory / name, weights_only=True)
        found |= {f"{name} {key}": _bits(value) for key, value in weights.items()}
    for row in rows(directory):
        found[f"metrics.jsonl {row['epoch']} {row['stage']}"] = row
    found["metrics.jsonl rows"] = len(rows(directory))
    found |= {f"tensorboard {tag}": events for tag, events in tensorboard(directory).items() if tag != SESSION_END}
    normalization = directory / "normalization.json"
    found["normalization.json"] = normalization.read_text() if normalization.exists() else None
    newest = store(directory).newest()
    found["checkpoint"] = {**newest.summary, "config": None}  # which names the directory
    state = {key: part for key, part in newest.state["state"].items() if key != "callbacks"}
    found |= {f"checkpoint {path}": _bits(leaf) for path, leaf in _leaves(state) if path[10:] not in CLOCKS}
    return found


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In what two results differ."""
    return [key for key in {**one, **other} if key not in one or key not in other or one[key] != other[key]]


def rows(directory: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without the clock."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "time"} for line in lines]


def tensorboard(directory: Path) -> dict[str, list[Any]]:
    """Steps and values of each scalar and histogram, and steps of all else, as TensorBoard's own reader sees them."""
    reader = tensorboard_reader(directory).Reload()
    tags, found = reader.Tags(), dict[str, list[Any]](steps_of(reader))
    found |= {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in tags["scalars"]}
    for tag in tags["histograms"]:
        found[tag] = [(event.step, *vars(event.histogram_value).values()) for event in reader.Histograms(tag)]
    return found


def tensorboard_reader(directory: Path) -> EventAccumulator:
    """TensorBoard's own reader, which leaves nothing out; it reads what is new with each `Reload`."""
    kinds = ("scalars", "histograms", "images", "tensors")
    return EventAccumulator(str(directory), size_guidance=dict.fromkeys(kinds, 0), purge_orphaned_data=False)


def steps_of(reader: EventAccumulator) -> dict[str, list[int]]:
    """The steps of everything that it has read, by tag."""
    kinds = {"scalars": reader.Scalars, "histograms": reader.Histograms, "tensors": reader.Tensors,
             "images": reader.Images}  # fmt: skip
    return {tag: [event.step for event in events(tag)] for kind, events in kinds.items() for tag in reader.Tags()[kind]}


def leftovers(directory: Path) -> list[str]:
    """Temporary files and folders in a run directory."""
    return [str(path.relative_to(directory)) for path in directory.rglob("*") if ".tmp" in path.name]


def _bits(value: Any) -> Any:
    """A value with all that its bits say: tensors and arrays by type, shape and content."""
    if isinstance(value, torch.Tensor):
        return ("tensor", str(value.dtype), tuple(value.shape), _hash(value.contiguous().numpy()))
    if isinstance(value, np.ndarray):
        return ("array", str(value.dtype), value.shape, _hash(value))
    return repr(value)


def _hash(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list)):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            yield from _leaves(part, f"{path}/{key}")
        yield f"{path}/", len(value)
    else:
        yield path, value
