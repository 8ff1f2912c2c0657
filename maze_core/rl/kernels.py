"""How a policy is computed: the one seam for speed.

Trainers and evaluation see a kernel and do not know which. `AutogradKernel` computes any model
with torch, on any device. `DenseKernel` computes chains of dense layers in NumPy on the CPU, where
at these sizes the cost of a torch call is many times the arithmetic. Which one a policy gets
depends on its models and the device only, never on a timing, so that results can be repeated.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call, vmap

from maze_core.enums import Activation
from maze_core.rl.actors import Rows, Turn, action_mask
from maze_core.rl.blocks import DenseModel
from maze_core.rl.policy import Policy
from maze_core.rl.spaces import Encoded, flatten

LOG = logging.getLogger("maze")

Float32 = NDArray[np.float32]


class Population(Protocol):
    """Many copies of a policy, each with its own parameters; copy i acts in env i."""

    def act(self, turn: Turn) -> Any:
        """The most probable action of each row's own copy, leaves [len(rows), ...]."""
        ...


class Kernel(Protocol):
    """Computes the decisions of a policy.

    Args:
        policy: Its networks. Changing its parameters in place changes the kernel's results.
        name: ``dense`` or ``autograd``.
    """

    policy: Policy
    name: str

    def act(self, turn: Turn) -> Any:
        """The most probable actions of one actor, leaves [len(rows), ...]."""
        ...

    def population(self, parameters: Float32) -> Population:
        """Copies of the policy with their own parameters, [P, D] as `policy.get_vector` orders them.

        The result for one member does not depend on which others are computed with it.
        """
        ...


def make_kernel(policy: Policy, device: torch.device) -> Kernel:
    """Picks the dense kernel for models that offer `DenseModel` on the CPU, else autograd."""
    if device.type == "cpu" and all(_is_dense(model) for model in policy.models.values()):
        return DenseKernel(policy)
    return AutogradKernel(policy, device)


def _is_dense(model: nn.Module) -> bool:
    return inspect.ismethod(getattr(model, "dense_layers", None))


def _mode(policy: Policy, turn: Turn, outputs: Mapping[str, Float32]) -> Any:
    return policy.actors.by_key[turn.step_key].heads.mode(outputs, action_mask(turn.observation))


class _DenseActor:
    """One actor's chain of layers: weights [in, out] or, for a population, [P, in, out]."""

    def __init__(
        self, weights: list[tuple[Float32, Float32]], activation: Activation, sizes: Mapping[str, int]
    ) -> None:
        self.weights, self.activation, self.sizes = weights, activation, sizes
        self._cuts = np.cumsum(list(sizes.values()))[:-1]

    def outputs(self, inputs: Float32) -> dict[str, Float32]:
        """Maps [B, in] (a population: [P, 1, in]) to ``{head: [B, size]}``."""
        hidden = inputs
        for index, (weight, bias) in enumerate(self.weights):
            hidden = np.matmul(hidden, weight)
            hidden += bias
            if index < len(self.weights) - 1:
                if self.activation is Activation.tanh:
                    np.tanh(hidden, out=hidden)
                else:
                    np.maximum(hidden, 0.0, out=hidden)
        hidden = hidden.reshape(len(hidden), -1)
        if len(self.sizes) == 1:
            return {next(iter(self.sizes)): hidden}
        return dict(zip(self.sizes, np.split(hidden, self._cuts, axis=1), strict=True))

    def rows(self, rows: NDArray[np.intp]) -> _DenseActor:
        """The chosen members of a population."""
        return _DenseActor([(weight[rows], bias[rows]) for weight, bias in self.weights], self.activation, self.sizes)


class DenseKernel:
    """NumPy forward passes of policies whose models are chains of dense layers.

    Args:
        policy: All its models offer `DenseModel`; their parameters lie on the CPU.
    """

    name = "dense"

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._actors: dict[str, _DenseActor] = {}
        self._places: dict[str, list[tuple[int, int, tuple[int, int]]]] = {}
        starts = _parameter_starts(policy)
        for key, model in policy.models.items():
            assert isinstance(model, DenseModel)
            spec = model.dense_layers()
            # Transposed views share memory with the torch parameters, so they are always current.
            weights = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in spec.layers]
            self._actors[key] = _DenseActor(weights, spec.activation, spec.output_sizes)
            self._places[key] = [
                (starts[id(layer.weight)], starts[id(layer.bias)], (layer.out_features, layer.in_features))
                for layer in spec.layers
            ]

    def act(self, turn: Turn) -> Any:
        """The most probable actions of one actor."""
        inputs = flatten(self.policy.encode(turn))
        return _mode(self.policy, turn, self._actors[turn.step_key].outputs(inputs))

    def population(self, parameters: Float32) -> Population:
        """Copies of the policy, computed in one batched product per layer."""
        members = {}
        for key, actor in self._actors.items():
            weights = []
            for weight, bias, (n_out, n_in) in self._places[key]:
                matrices = parameters[:, weight : weight + n_out * n_in].reshape(-1, n_out, n_in)
                weights.append(
                    (np.ascontiguousarray(matrices.transpose(0, 2, 1)), parameters[:, None, bias : bias + n_out])
                )
            members[key] = _DenseActor(weights, actor.activation, actor.sizes)
        return _DensePopulation(self.policy, members)


def _parameter_starts(module: nn.Module) -> dict[int, int]:
    starts, position = {}, 0
    for parameter in module.parameters():
        starts[id(parameter)] = position
        position += parameter.numel()
    return starts


class _DensePopulation:
    def __init__(self, policy: Policy, members: dict[str, _DenseActor]) -> None:
        self._policy, self._members = policy, members
        self._chosen: dict[str, tuple[Rows, _DenseActor]] = {key: (None, actor) for key, actor in members.items()}

    def act(self, turn: Turn) -> Any:
        rows, actor = self._chosen[turn.step_key]
        if rows is not turn.rows:  # as long as the rows are the same object, so is the gathered copy
            actor = self._members[turn.step_key] if turn.rows is None else self._members[turn.step_key].rows(turn.rows)
            self._chosen[turn.step_key] = (turn.rows, actor)
        inputs = flatten(self._policy.encode(turn))
        return _mode(self._policy, turn, actor.outputs(inputs[:, None, :]))


class AutogradKernel:
    """Torch forward passes of any model on any device.

    Args:
        policy: Its networks.
        device: Where they live; observations are moved there, actions back.
    """

    name = "autograd"

    def __init__(self, policy: Policy, device: torch.device) -> None:
        self.policy = policy
        self.device = device
        self.looped: set[str] = set()  # models that cannot be batched over a population

    def act(self, turn: Turn) -> Any:
        """The most probable actions of one actor."""
        with torch.inference_mode():
            outputs = self.policy.models[turn.step_key](self.encode(turn))
        return _mode(self.policy, turn, {head: value.cpu().numpy() for head, value in outputs.items()})

    def encode(self, turn: Turn) -> dict[str, Any]:
        """The turn's observations as tensors on the device."""
        return _tensors(self.policy.encode(turn), self.device)

    def population(self, parameters: Float32) -> Population:
        """Copies of the policy, batched with `torch.func.vmap` where the model allows it."""
        return _AutogradPopulation(self, torch.from_numpy(parameters).to(self.device))


def _tensors(encoded: Encoded, device: torch.device) -> dict[str, Any]:
    return {
        key: _tensors(value, device) if isinstance(value, dict) else torch.from_numpy(value).to(device)
        for key, value in encoded.items()
    }


class _AutogradPopulation:
    def __init__(self, kernel: AutogradKernel, parameters: torch.Tensor) -> None:
        self._kernel = kernel
        self._parameters: dict[str, dict[str, torch.Tensor]] = {key: {} for key in kernel.policy.models}
        position = 0
        for name, parameter in kernel.policy.named_parameters():
            _, key, inner = name.split(".", 2)
            block = parameters[:, position : position + parameter.numel()]
            # A gathered block is contiguous, so this one must be too: strides change the bits.
            shaped = block.reshape(-1, *parameter.shape)
            self._parameters[key][inner] = shaped.clone(memory_format=torch.contiguous_format)
            position += parameter.numel()

    def act(self, turn: Turn) -> Any:
        model = self._kernel.policy.models[turn.step_key]
        parameters = self._parameters[turn.step_key]
        if turn.rows is not None:
            index = torch.from_numpy(turn.rows).to(self._kernel.device)
            parameters = {name: value[index] for name, value in parameters.items()}
        with torch.no_grad():
            outputs = self._outputs(model, parameters, self._kernel.encode(turn))
        return _mode(self._kernel.policy, turn, {head: value.cpu().numpy() for head, value in outputs.items()})

    def _outputs(self, model: nn.Module, parameters: dict[str, torch.Tensor], encoded: dict[str, Any]) -> Any:
        def member(own: dict[str, torch.Tensor], observation: dict[str, Any]) -> dict[str, torch.Tensor]:
            row = _map(observation, lambda leaf: leaf[None])
            return {head: value[0] for head, value in functional_call(model, own, (row,)).items()}

        name = type(model).__name__
        if name not in self._kernel.looped:
            try:
                return vmap(member)(parameters, encoded)
            except (RuntimeError, ValueError, NotImplementedError) as error:
                self._kernel.looped.add(name)
                reason = str(error).splitlines()[0]
                LOG.warning("model %s cannot be batched over a population, so it is looped over: %s", name, reason)
        size = len(next(iter(parameters.values())))
        rows = [member({n: v[i] for n, v in parameters.items()}, _map(encoded, itemgetter(i))) for i in range(size)]
        return {head: torch.stack([row[head] for row in rows]) for head in rows[0]}


def _map(tree: Any, function: Any) -> Any:
    return {k: _map(v, function) for k, v in tree.items()} if isinstance(tree, Mapping) else function(tree)
