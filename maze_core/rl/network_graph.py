"""What a network consists of: inputs, layers in the order of execution, outputs, and how they hang together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from textwrap import wrap
from typing import Any, Literal

import torch
from gymnasium import spaces
from torch import nn
from torch.overrides import TorchFunctionMode

from maze_core.rl.blocks import Dense
from maze_core.rl.torch_generator import torch_generator

BATCH = 2
"""Size of the batch of zeros; a leading dimension of this size is left out of the shapes shown."""

Kind = Literal["input", "layer", "shared", "plain", "output"]
"""Layers are ``shared`` if another network has parameters of theirs, ``plain`` if they have none."""


@dataclass(eq=False)
class NetworkNode:
    """An input, a layer, a function that joins branches, or an output.

    Args:
        kind: What it is.
        name: Its name in the network.
        type: Class of a layer.
        shape: Of what it puts out, without the batch.
        n_parameters: Weights that no earlier node has.
        notes: Further lines for a reader; of inputs and outputs one for each tensor.
        before: Where its tensors come from.
    """

    kind: Kind
    name: str
    type: str = ""
    shape: str = ""
    n_parameters: int = 0
    notes: tuple[str, ...] = ()
    before: list[NetworkNode] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """A description, the name first."""
        what = f"{self.type} → {self.shape}".strip() if self.shape else self.type
        count = f"{self.n_parameters:,} parameters" if self.n_parameters else ""
        return [self.name, *(line for line in (what, count) if line), *self.notes]


@dataclass(frozen=True)
class NetworkGraph:
    """A network as a graph.

    Args:
        nodes: In the order of execution; the numbers of parameters add up to `n_parameters`.
        n_parameters: Number of weights, each counted once.
        failure: Why zeros could not pass; then layers stand in the order of definition, and `before` means nothing.
    """

    nodes: list[NetworkNode]
    n_parameters: int
    failure: str = ""


def network_graph(model: nn.Module, space: spaces.Dict, shared_with: Mapping[int, list[str]]) -> NetworkGraph:
    """Sends zeros through a copy of a model, so that neither the model nor the random state changes.

    Args:
        model: Any module from the encoded observation to its outputs.
        space: Encoded observation space.
        shared_with: By id of a parameter, the other networks that have it.
    """
    n_parameters = _count(model.parameters())
    try:
        nodes, failure = _trace(model, space), ""
    except Exception as error:  # any model may fail on zeros, and can be described nevertheless
        nodes, failure = _inputs(_zeros(space, torch.device("cpu"))), f"{type(error).__name__}: {error}"
    _describe(nodes, model, shared_with)
    nodes += _not_called(nodes, model, shared_with, complete=bool(failure))
    nodes = _grouped(_grouped(nodes, "input"), "output")
    for node in nodes:
        if node.kind == "input" and not failure and not any(node in other.before for other in nodes):
            node.name += " (not used)"
    return NetworkGraph(nodes, n_parameters, failure)


class _Tracer(TorchFunctionMode):
    """Follows tensors from layer to layer: what a function computes comes from where its arguments come from."""

    def __init__(self, inputs: list[NetworkNode], tensors: list[torch.Tensor]) -> None:
        super().__init__()
        self.nodes = list(inputs)
        self._origins = {id(t): (t, [node]) for node, t in zip(inputs, tensors, strict=True)}  # kept, so that ids stay
        self._open: list[tuple[list[NetworkNode], int]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        target = args[0] if result is None and args else result  # None: x[i] = y
        origins = self.origins((args, kwargs))
        if origins and any(True for _ in _tensors(target)):
            if len(origins) > 1:
                name = getattr(func, "__name__", "join").strip("_")
                self.nodes.append(NetworkNode("plain", name, shape=_shape(target), before=origins))
                origins = self.nodes[-1:]
            self._mark(target, origins)
        return result

    def origins(self, value: object) -> list[NetworkNode]:
        """The nodes from which the tensors in a value come."""
        return list(dict.fromkeys(n for _, t in _tensors(value) for n in self._origins.get(id(t), (t, []))[1]))

    def _mark(self, value: object, origins: list[NetworkNode]) -> None:
        self._origins.update((id(t), (t, origins)) for _, t in _tensors(value))

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Runs before each module."""
        self._open.append((self.origins((args, kwargs)), len(self.nodes)))

    def leave(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        """Runs after each module; one that called no other is a layer. Without a known origin it follows the last."""
        before, n_nodes = self._open.pop()
        if all(node.kind != "layer" for node in self.nodes[n_nodes:]):
            del self.nodes[n_nodes:]
            self.nodes.append(NetworkNode("layer", name, shape=_shape(output), before=before or _last(self.nodes)))
            self._mark(output, self.nodes[-1:])


def _trace(model: nn.Module, space: spaces.Dict) -> list[NetworkNode]:
    devices = {parameter.device for parameter in model.parameters()} or {torch.device("cpu")}
    zeros = _zeros(space, next(iter(devices)))
    tracer = _Tracer(_inputs(zeros), [tensor for _, tensor in _tensors(zeros)])
    copy = deepcopy(model).eval()
    for name, module in copy.named_modules():
        if "parametrizations" not in name.split("."):
            module.register_forward_pre_hook(tracer.enter, with_kwargs=True)
            module.register_forward_hook(partial(tracer.leave, name))
    with torch_generator(devices=devices), torch.no_grad(), tracer:
        result = copy(zeros)
    nodes = list(tracer.nodes)
    for name, tensor in _tensors(result):
        origins = tracer.origins(tensor) or _last(tracer.nodes)
        nodes.append(NetworkNode("output", "", notes=(f"{name or 'output'} {_shape(tensor)}",), before=origins))
    for node in nodes[::-1]:  # functions that lead nowhere
        if node.kind == "plain" and not any(node in other.before for other in nodes):
            nodes.remove(node)
    return nodes


def _zeros(space: spaces.Dict, device: torch.device) -> dict[str, Any]:
    return {
        key: _zeros(sub, device)
        if isinstance(sub, spaces.Dict)
        else torch.zeros(BATCH, *(sub.shape or ()), device=device)
        for key, sub in space.items()
    }


def _inputs(zeros: Mapping[str, Any]) -> list[NetworkNode]:
    return [NetworkNode("input", "", notes=(f"{name} {_shape(tensor)}",)) for name, tensor in _tensors(zeros)]


def _last(nodes: list[NetworkNode]) -> list[NetworkNode]:
    """The last layer, or all inputs if there is none yet."""
    return nodes[-1:] if nodes and nodes[-1].kind != "input" else list(nodes)


def _tensors(value: object, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in nested containers, with dotted names."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (Mapping, list, tuple)):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _tensors(part, f"{name}.{key}" if name else str(key))


def _shape(value: object) -> str:
    shapes = [list(tensor.shape) for _, tensor in _tensors(value)]
    if not shapes:
        return ""
    first = str(shapes[0][1:]) if shapes[0][:1] == [BATCH] else f"{shapes[0]} for a batch of {BATCH}"
    return first if len(shapes) == 1 else f"{first} and {len(shapes) - 1} more"


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(0 if nn.parameter.is_lazy(parameter) else parameter.numel() for parameter in parameters)


def _describe(nodes: list[NetworkNode], model: nn.Module, shared_with: Mapping[int, list[str]]) -> None:
    """Adds types and parameters to the layers."""
    modules, seen = dict(model.named_modules()), set[int]()
    for node in nodes:
        if node.kind == "layer":
            _add_parameters(node, list(modules[node.name].parameters()), seen, shared_with)
            node.type = type(modules[node.name]).__name__ + _activations(modules).get(node.name, "")
            node.name = node.name or "(model)"


def _activations(modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """What follows the layers of `Dense`, whose activation is no module."""
    then = {
        id(layer): f", {dense.activation.name}"
        for dense in modules.values()
        if isinstance(dense, Dense)
        for layer in dense.linear_layers()[:-1]
    }
    return {name: then[id(module)] for name, module in modules.items() if id(module) in then}


def _add_parameters(
    node: NetworkNode, own: list[nn.Parameter], seen: set[int], shared_with: Mapping[int, list[str]]
) -> None:
    new = [parameter for parameter in own if id(parameter) not in seen]
    seen.update(id(parameter) for parameter in own)
    node.n_parameters = _count(new)
    others = dict.fromkeys(other for parameter in own for other in shared_with.get(id(parameter), ()))
    node.kind = "shared" if others else "layer" if own else "plain"
    node.notes = ("parameters counted above",) if len(new) < len(own) else () if own else ("no parameters",)
    node.notes += tuple(wrap(f"shared with {', '.join(others)}", 36)) if others else ()


def _not_called(
    nodes: list[NetworkNode], model: nn.Module, shared_with: Mapping[int, list[str]], complete: bool
) -> list[NetworkNode]:
    """What has parameters that are in no layer so far; all layers, in the order of definition, if `complete`."""
    modules = dict(model.named_modules())
    seen = {id(p) for node in nodes if node.type for p in modules[node.name.removeprefix("(model)")].parameters()}
    found: list[NetworkNode] = []
    for name, module in modules.items():
        own = dict(module.named_parameters(prefix=name, recurse=False))
        childless = next(module.children(), None) is None
        if any(id(parameter) not in seen for parameter in own.values()) or (complete and childless):
            node = NetworkNode("layer", (name or "(model)") if childless else ", ".join(own))
            node.type = type(module).__name__ if childless else "Parameter"
            _add_parameters(node, list(own.values()), seen, shared_with)
            node.notes += () if complete else ("not called",) if childless else ("outside of layers",)
            found.append(node)
    return found


def _grouped(nodes: list[NetworkNode], kind: Literal["input", "output"]) -> list[NetworkNode]:
    """Makes one node of inputs that go to the same layers, or of outputs of the same layers."""
    groups: dict[frozenset[NetworkNode], list[NetworkNode]] = {}
    for node in nodes:
        if node.kind == kind:
            links = node.before if kind == "output" else [other for other in nodes if node in other.before]
            groups.setdefault(frozenset(links), []).append(node)
    for first, *rest in groups.values():
        first.name = kind if not rest else f"{kind}s"
        first.notes += tuple(note for node in rest for note in node.notes)
        for node in nodes:
            node.before = [other for other in node.before if other not in rest]
    gone = {node for group in groups.values() for node in group[1:]}
    return [node for node in nodes if node not in gone]
