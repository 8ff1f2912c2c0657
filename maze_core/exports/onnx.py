"""Policies as ONNX models, one for each actor, which are compared with the policy before they are written."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from maze_core.errors import UserError, printable
from maze_core.exports.actor_module import ActorModule
from maze_core.exports.comparison import Run, agreement
from maze_core.rl.policy import Policy
from maze_core.runs.files import read_file, write_file

FORMAT = "1"
OPSET = 20
MAX_BYTES = 2**31
"""More than Protocol Buffers can hold."""

LEAST_AGREEMENT = 0.99
"""Share of observations on which policy and model must agree: a network may magnify rounding."""


def write_onnx(policy: Policy, folder: Path) -> list[Path]:
    """Writes one ONNX model for each actor: `<step_key>.onnx`, with encoding, normalisation and mask inside.

    A model does not check what it is given: an observation that is not finite or leaves its space, and a mask that
    allows nothing, lead to some action.

    Args:
        policy: What is written; it stays as it is.
        folder: Where to; files of these names are replaced.

    Returns:
        The files, in the order of the step keys.

    Raises:
        UserError: If a package is missing, ONNX cannot express a model, or, where onnxruntime is installed, a model
            decides otherwise than the policy. Nothing is written then.
        StorageError: If a file cannot be written.
    """
    _require("onnx", "onnxscript")
    for key in policy.actors.step_keys:
        if Path(key).name != key:
            raise UserError(f"actor {key!r} cannot be written as ONNX: a file cannot have this name.")
    models = {key: _model(ActorModule(policy, key), key) for key in policy.actors.step_keys}
    if find_spec("onnxruntime"):
        for key, model in models.items():
            _refuse_another(policy, key, model)
    files = []
    for key, model in models.items():
        files.append(folder / f"{key}.onnx")
        write_file(files[-1], lambda file, model=model: file.write(model))  # type: ignore[misc]
    return files


def check_onnx(policy: Policy, folder: Path, n_observations: int = 1000, seed: int = 0) -> dict[str, float]:
    """Compares ONNX models with the policy that they were written from, on random observations.

    Actions agree if rounding explains their difference: if the network prefers none of two values of a choice by
    more than 1e-5, or if the action lies, give or take 1e-5, between those that the policy takes for outputs that
    are 1e-5 smaller and larger. All these numbers are absolute and relative.

    Args:
        policy: The policy.
        folder: Where `write_onnx` wrote.
        n_observations: How many members of each actor's observation space are compared, in batches of several sizes.
        seed: Of the observations.

    Returns:
        The share of observations on which both agree, by step key.

    Raises:
        UserError: If onnxruntime is missing or cannot run a model, or there is nothing to compare.
        NothingUsableError: If a model cannot be read.
    """
    _require("onnxruntime")
    if n_observations < 1:
        raise UserError(f"n_observations={n_observations} is not allowed: it must be a whole number >= 1.")
    models = {key: read_file(folder / f"{key}.onnx", MAX_BYTES) for key in policy.actors.step_keys}
    return {key: agreement(policy, key, _runner(key, model), n_observations, seed) for key, model in models.items()}


def _require(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        names = " and ".join(missing)
        raise UserError(f'ONNX models need {names}, which is not installed. Next: pip install "maze-core[onnx]"')


def _model(actor: ActorModule, step_key: str) -> bytes:
    """The ONNX model of one actor, serialised."""
    inputs = actor.examples()
    batch = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    try:
        with _quiet(), _plain_attention(), torch.no_grad():
            # Only `strict` follows len() of a tensor without taking the size of this batch for the size of all.
            program = torch.export.export(actor, (inputs,), dynamic_shapes=(batch,), strict=True)
            exported = torch.onnx.export(
                program, dynamic_shapes=(batch,), dynamo=True, verbose=False, opset_version=OPSET
            )
            assert exported is not None
            return _finished(exported, actor, step_key)
    except Exception as error:  # what is raised here has no common base
        raise UserError(
            f"model {type(actor.model).__name__} of actor {step_key!r} cannot be written as ONNX ({_reason(error)}). "
            "Compose its forward of tensor operations that ONNX has, for any number of rows and without `if` on values."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it neither torch nor ONNX says anything."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Within it torch computes its attention by operations that ONNX has, and not by a single fast one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _reason(error: BaseException) -> str:
    """What the first cause of an error says, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return printable(shorten(f"{type(error).__name__}: {error}", 150, placeholder=" ..."))


def _finished(exported: torch.onnx.ONNXProgram, actor: ActorModule, step_key: str) -> bytes:
    """With names for inputs and outputs, and without what torch notes about the code on this machine."""
    model, graph = exported.model, exported.model.graph
    inner: list[Any] = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    for index, value in enumerate(inner):  # nothing inside may have the name of an observation
        value.name = f"{index}:{value.name}"
    leaves = actor.leaves
    names = {"inputs": [leaf.name for leaf in leaves.inputs], "outputs": [leaf.name for leaf in leaves.decided]}
    for values, wanted in ((graph.inputs, names["inputs"]), (graph.outputs, names["outputs"])):
        for value, name in zip(values, wanted, strict=True):
            value.name = name
    noted: list[Any] = [model, graph, *graph.inputs, *inner, *graph.all_nodes()]
    for part in noted:
        part.metadata_props.clear()
    model.metadata_props.update({"maze.format": FORMAT, "maze.step_key": step_key, "maze.names": json.dumps(names)})
    return bytes(exported.model_proto.SerializeToString())


def _refuse_another(policy: Policy, step_key: str, model: bytes) -> None:
    share = agreement(policy, step_key, _runner(step_key, model))
    if share < LEAST_AGREEMENT:
        raise UserError(
            f"the ONNX model of actor {step_key!r} decides as the policy does for only {share:.1%} of random "
            f"observations, so nothing was written. See that forward of {type(policy.models[step_key]).__name__} "
            "treats all rows alike, whatever the size of the batch, and draws no random numbers."
        )


def _runner(step_key: str, model: bytes) -> Run:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base
        raise UserError(f"onnxruntime cannot run the ONNX model of actor {step_key!r} ({_reason(error)}).") from error
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))
