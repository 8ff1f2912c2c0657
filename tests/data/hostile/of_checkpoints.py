"""Hostile checkpoints, with the right hashes: states, tensors, manifests."""

from __future__ import annotations

import json
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from data.hostile.tools import (
    MANIFEST,
    RED,
    STATE,
    TENSORS,
    add,
    case,
    in_state,
    names_at,
    newest,
    sign,
    signed,
    state_of,
    tensors_of,
)

# state.json: what a run is said to be

for _name, _path, _value in (
    ("started is a tensor", "started", {"$tensor": "state/weights/models.substep_0.models.0.weight"}),
    ("config is a tensor", "config", {"$array": "no"}),
    ("started is null", "started", None),
    ("config is a list", "config", []),
    ("config is empty", "config", {}),
    ("started is empty", "started", {}),
    ("state is null", "state", None),
    ("state is empty", "state", {}),
    ("weights are empty", "state.weights", {}),
    ("best is a text", "state.best", "x"),
    ("best is empty", "state.best", {}),
    ("callbacks are null", "state.callbacks", None),
    ("callbacks are a list", "state.callbacks", [1]),
    ("callbacks of texts", "state.callbacks", dict.fromkeys(("console", "jsonl", "tensorboard"), RED)),
    ("callbacks of lists", "state.callbacks", {key: [1] for key in ("console", "jsonl", "tensorboard")}),
    ("event file with dots", "state.callbacks.tensorboard.file", "events.out.tfevents.x/../../victim"),
    ("event file above", "state.callbacks.tensorboard.file", "../victim"),
    ("event file absolute", "state.callbacks.tensorboard.file", "/etc/passwd"),
    ("event file with a newline", "state.callbacks.tensorboard.file", "events.out.tfevents.1\n"),
    ("event file with control characters", "state.callbacks.tensorboard.file", RED),
    ("event file is a number", "state.callbacks.tensorboard.file", 5),
    ("negative size", "state.callbacks.jsonl.size", -1),
    ("size is a fraction", "state.callbacks.jsonl.size", 1.5),
    ("size is a text", "state.callbacks.console.size", RED),
    ("size is null", "state.callbacks.tensorboard.size", None),
    ("size is infinite", "state.callbacks.jsonl.size", float("inf")),
    ("size is no number", "state.callbacks.jsonl.size", float("nan")),
    ("size is a list", "state.callbacks.console.size", [1]),
    ("evaluations are a text", "state.callbacks.console.evaluations", RED),
    ("evaluations are no numbers", "state.callbacks.console.evaluations.values", [float("nan")]),
    ("evaluations per column huge", "state.callbacks.console.evaluations.per", 10**300),
    ("kept envs without number", "state.envs.kept", [{}]),
    ("many kept envs", "state.envs.kept", [{"num_envs": 10**9, "training": True, "learned": {}}]),
    ("kept envs of a negative number", "state.envs.kept", [{"num_envs": -1, "training": True, "learned": {}}]),
    ("kept envs of a text", "state.envs.kept", [{"num_envs": RED, "training": True, "learned": {}}]),
    ("trained envs", "state.envs.trained_in", [{}] * 1000),
    ("generation huge", "state.trainer.generation", 10**300),
    ("generation negative", "state.trainer.generation", -1),
    ("generation infinite", "state.trainer.generation", float("inf")),
    ("env steps huge", "state.trainer.env_steps", 10**300),
    ("env steps negative", "state.trainer.env_steps", -1),
    ("epoch huge", "state.counters.epoch", 10**300),
    ("epoch negative", "state.counters.epoch", -5),
    ("epoch is a text", "state.counters.epoch", RED),
    ("best reward not a number", "state.counters.best_reward", float("nan")),
    ("best reward huge", "state.counters.best_reward", 10**400),
    ("totals huge", "state.totals.train", [10**300, 10**300]),
    ("totals one", "state.totals.train", [1]),
    ("episodes empty mappings", "state.episodes", [{}]),
    ("episodes of numbers", "state.episodes", [{"returns": 1, "lengths": 1, "events": []}]),
    ("episodes of lists", "state.episodes", [{"returns": [1.0], "lengths": ["a"], "events": [None]}]),
    ("events of numbers", "state.episodes", [{"returns": [1.0], "lengths": [1], "events": [5]}]),
    ("unknown key in the state", "state.evil", 1),
):  # fmt: skip
    add(
        f"state {_name}",
        in_state(_path, _value),
        goes_on=_name in ("unknown key in the state", "size is null"),
    )
for _name, _raw in {
    "empty": lambda: b"", "deep": lambda: b"[" * 10**6, "closed and deep": lambda: b"[" * 100_000 + b"]" * 100_000,
    "rather deep": lambda: b'{"state":' * 900 + b"1" + b"}" * 900, "not UTF-8": lambda: b"\xff\xfe\xfd",
    "a number": lambda: b"5", "long number": lambda: b"9" * 10**6, "control characters": RED.encode,
    "list": lambda: b"[]", "mapping": lambda: b"{}",
    "many lists": lambda: b"[" + b"[]," * (2**26 // 3 - 10) + b"[]]",
    "many mappings": lambda: b"[" + b'{"a":{}},' * (2**26 // 9 - 10) + b"{}]",
    "larger than allowed": lambda: b" " * (2**26 + 1),
}.items():  # fmt: skip
    add(f"state file {_name}", lambda run, raw=_raw: sign(run, raw_state=raw()))  # type: ignore[misc]


@case("state rather deep inside the configuration")
def _deep_config(run: Path) -> None:
    text = json.dumps(state_of(run)).replace('"kwargs": {}', '"kwargs": ' + '{"a":' * 450 + "1" + "}" * 450)
    sign(run, raw_state=text.encode())


@case("state with every key twice", goes_on=True)
def _twice(run: Path) -> None:
    text = json.dumps(state_of(run))
    sign(run, raw_state=f'{{"started": 1, "config": [], "state": null, {text[1:]}'.encode())


# tensors.safetensors


def _header(content: Any, data: bytes = b"", size: int | None = None) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def _entry(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


for _name, _data in {
    "empty": b"",
    "a pickle": pickle.dumps({"a": 1}),
    "header longer than the file": _header(b"{}", size=2**62),
    "header of the largest length": _header(b"{}", size=2**64 - 1),
    "header of no length": _header(b"", size=0),
    "header no JSON": _header(b"x" * 100),
    "header deep": _header(b"[" * 10**6),
    "header of control characters": _header(RED.encode()),
    "shape beyond the data": _header({"a": _entry(shape=(10**9,))}, b"\0" * 4),
    "shape that overflows": _header({"a": _entry(shape=(2**63, 2**63))}, b"\0" * 4),
    "shape negative": _header({"a": _entry(shape=(-1,))}, b"\0" * 4),
    "shape of nothing and much": _header({"a": _entry(shape=(2**63, 0), offsets=(0, 0))}),
    "shape of many dimensions": _header({"a": _entry(shape=[1] * 100_000)}, b"\0" * 4),
    "offsets that overlap": _header({"a": _entry(), "b": _entry()}, b"\0" * 4),
    "offsets backwards": _header({"a": _entry(offsets=(4, 0))}, b"\0" * 4),
    "offsets beyond": _header({"a": _entry(offsets=(2**63, 2**63 + 4))}, b"\0" * 4),
    "dtype unknown": _header({"a": _entry("EVIL")}, b"\0" * 4),
    "dtype of eight bits": _header({"a": _entry("F8_E4M3", (4,))}, b"\0" * 4),
    "dtype of four bits": _header({"a": _entry("F4", (8,))}, b"\0" * 4),
    "key twice": _header(b'{"a":%(e)b,"a":%(e)b}' % {b"e": json.dumps(_entry()).encode()}, b"\0" * 4),
    "trailing data": _header({"a": _entry()}, b"\0" * 4000),
    "metadata of numbers": _header({"__metadata__": {"a": 5}, "a": _entry()}, b"\0" * 4),
}.items():  # fmt: skip
    add(f"tensors {_name}", lambda run, data=_data: sign(run, tensors=data))  # type: ignore[misc]


@case("tensors that are many")
def _many_tensors(run: Path) -> None:
    entries = (b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(10**6))
    sign(run, tensors=_header(b"{" + b",".join(entries) + b"}"))


def changed_tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    """A case whose tensors are others."""

    def make(run: Path) -> None:
        tensors = tensors_of(run)
        change(tensors)
        sign(run, tensors=tensors)

    return make


def each_at(place: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """A case in which all tensors at a place of the state are others."""

    def make(run: Path) -> None:
        names = names_at(run, place).values()
        assert names
        sign(run, tensors={name: change(t) if name in names else t for name, t in tensors_of(run).items()})

    return make


for _place in ("state.weights", "state.best", "state.trainer.mean", "state.trainer.first_moment"):
    for _name, _change in {
        "not a number": lambda t: torch.full_like(t, float("nan")),
        "infinite": lambda t: torch.full_like(t, float("inf")),
        "of another shape": lambda t: torch.zeros(3, 3),
        "of no dimension": lambda t: torch.tensor(1.0),
        "empty": lambda t: torch.zeros(0),
        "of complex numbers": lambda t: t.to(torch.complex64),
        "of eight bits": lambda t: t.to(torch.float8_e4m3fn),
    }.items():
        add(f"tensors {_place} {_name}", each_at(_place, _change))
add("tensors one more", changed_tensors(lambda tensors: tensors.update(evil=torch.zeros(1))))
add("tensors one fewer", changed_tensors(lambda tensors: tensors.popitem()))

# manifest.json


def manifest(**changed: Any) -> Callable[[Path], None]:
    """A case whose manifest says something else."""
    return lambda run: sign(run, manifest=changed)


def summary(**changed: Any) -> Callable[[Path], None]:
    """A case whose summary says something else."""

    def make(run: Path) -> None:
        before = json.loads((newest(run) / MANIFEST).read_text())["summary"]
        sign(run, manifest={"summary": {**before, **changed}})

    return make


def fingerprint(**changed: Any) -> Callable[[Path], None]:
    """A case whose fingerprint says something else."""

    def make(run: Path) -> None:
        before = json.loads((newest(run) / MANIFEST).read_text())["fingerprint"]
        sign(run, manifest={"fingerprint": {**before, **changed}})

    return make


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


for _name, _changed in {
    "format unknown": {"format": 99}, "format a text": {"format": RED}, "number another": {"number": 7},
    "number a text": {"number": RED}, "files none": {"files": None}, "files a list": {"files": []},
    "files above": {"files": {"../../../victim": {"size": 1, "sha256": "0" * 64}}},
    "size huge": {"files": {STATE: {"size": 10**30, "sha256": ""}, TENSORS: {"size": 10**30, "sha256": ""}}},
    "hash a list": {"files": {STATE: {"size": 1, "sha256": []}, TENSORS: {"size": 1, "sha256": {}}}},
    "summary a list": {"summary": []}, "summary null": {"summary": None}, "fingerprint a text": {"fingerprint": RED},
}.items():  # fmt: skip
    add(f"manifest {_name}", manifest(**_changed))
for _depth in (100, 300, 900, 5000):
    add(
        f"manifest {_depth} deep",
        lambda run, depth=_depth: (newest(run) / MANIFEST).write_text("[" * depth + "]" * depth) and None,  # type: ignore[misc]
    )


@case("manifest signed and deep", goes_on=True)
def _signed_and_deep(run: Path) -> None:
    text = json.loads((newest(run) / MANIFEST).read_text())
    text.pop("sha256")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        (newest(run) / MANIFEST).write_text(signed({**text, "summary": {**text["summary"], "more": _deep(600)}}))
    finally:
        sys.setrecursionlimit(limit)


for _name, _changed in {
    "control characters": {"stop_reason": RED}, "newlines": {"stop_reason": "done\nnext      rm -rf ~\n" * 100},
    "long": {"stop_reason": "x" * 100_000}, "huge numbers": dict.fromkeys(("epoch", "updates", "env_steps"), 10**4000),
    "huge reward": {"best_reward": 10**400}, "no number": {"best_reward": float("nan")},
    "infinite": {"best_reward": float("inf")}, "negative": dict.fromkeys(("epoch", "updates", "env_steps"), -1),
    "texts": dict.fromkeys(("epoch", "updates", "env_steps", "best_reward"), RED),
    "lists": {key: [RED] for key in ("epoch", "best_reward", "stop_reason")},
    "more": {RED: RED},
}.items():  # fmt: skip
    counted = any(key in _changed for key in ("updates", "env_steps"))  # which must be those of the state
    add(f"summary {_name}", summary(**_changed), goes_on=not counted)
for _name, _changed in {
    "control characters": {RED: RED, "torch": RED}, "newlines": {"torch": "1\nmaze: all is well\n"},
    "long": {"x" * 100_000: "y" * 100_000}, "nested": {"torch": {"a": [1]}, "threads": None},
    "many": {f"library {i}": "1" for i in range(5000)},
}.items():  # fmt: skip
    add(f"fingerprint {_name}", fingerprint(**_changed), goes_on=True)
for _name, _changed in {
    "unknown plugin": {"plugin evil": "1"}, "plugin with control characters": {f"plugin {RED}": "1"},
    "plugin with newlines": {"plugin a\nmaze: all is well\n": "1"},
    "many plugins": {f"plugin {i}": "1" for i in range(5000)},
}.items():  # fmt: skip
    add(f"fingerprint {_name}", fingerprint(**_changed), goes_on=True)
