"""Any model with torch, on any device."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, vmap

from maze_core.rl.actors import Turn, action_mask
from maze_core.rl.blocks import PaddedModel
from maze_core.rl.critics import VALUE, Critic
from maze_core.rl.kernels import Float32, Loss, Samples, set_log_std_gradient
from maze_core.rl.parameters import FlatParameters
from maze_core.rl.policy import Policy, parameter_starts
from maze_core.rl.spaces import Encoded, take_rows
from maze_core.rl.streams import Streams
from maze_core.rl.torch_generator import torch_generator

LOG = logging.getLogger("maze")


class AutogradKernel:
    """Computes any policy and critic; see `maze_core.rl.Kernel`.

    Args:
        policy: Its networks.
        device: Where they live; observations are moved there, what comes out is moved back.
        critic: The networks that estimate values, or None.
    """

    name = "autograd"

    def __init__(self, policy: Policy, device: torch.device, critic: Critic | None = None) -> None:
        self.policy, self.critic = policy, critic
        self.device = device
        self.looped: set[str] = set()  # models that cannot be batched over a population
        self._modules: list[nn.Module] = [policy] if critic is None else [policy, critic]
        models = [model for network in (policy, critic) if network is not None for model in network.models.values()]
        self._padded = {model: model for model in models if isinstance(model, PaddedModel)}
        self._parameters: FlatParameters | None = None
        self._plain_parts: list[nn.Module] | None = None

    @property
    def parameters(self) -> FlatParameters:
        """All weights of policy and critic, and their gradients."""
        if self._parameters is None:
            self._parameters = FlatParameters(self._modules)
        return self._parameters

    def act(self, turn: Turn) -> Any:
        """The most probable actions of one actor."""
        heads = self.policy.actors.by_key[turn.step_key].heads
        outputs = self.outputs(turn.step_key, self.policy.encode(turn))
        return heads.to_env(heads.mode(outputs, action_mask(turn.observation)))

    def outputs(self, step_key: str, observation: Encoded) -> Float32:
        """What the policy's network says about encoded observations, [n, size]."""
        with torch.inference_mode():
            return _array(self._joined(step_key, self._run(self.policy.models[step_key], observation)))

    def values(self, step_key: str, observation: Encoded) -> Float32:
        """What the critic says about encoded observations, [n]."""
        assert self.critic is not None
        model = (self.policy if self.critic.in_policy else self.critic).models[step_key]
        with torch.inference_mode():
            return _array(self._run(model, observation)[VALUE][:, 0])

    def _run(self, model: nn.Module, observation: Encoded) -> dict[str, torch.Tensor]:
        if model in self._padded:
            observation = self._padded[model].without_padding(observation)
        return model(tensors(observation, self.device))  # type: ignore[no-any-return]

    def _joined(self, step_key: str, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """All heads side by side."""
        parts = [outputs[head] for head in self.policy.actors.by_key[step_key].heads.heads]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def gradients(self, samples: Sequence[Samples], loss: Loss) -> None:
        """Writes the gradients of a loss into `parameters`."""
        self.parameters.gradients.zero_()
        for part in samples:
            self._add_gradients(part, loss)

    def _add_gradients(self, samples: Samples, loss: Loss) -> None:
        critic, key = self.critic, samples.step_key
        observation = samples.observation
        by_head = self._run(self.policy.models[key], observation)
        outputs, values = self._joined(key, by_head), None
        if critic is not None and critic.in_policy:
            values = by_head[VALUE][:, 0]
        elif critic is not None and critic.values_of(key):
            if samples.valued is not None:
                observation = take_rows(observation, samples.valued)
            values = self._run(critic.models[key], observation)[VALUE][:, 0]
        derivatives = loss(samples, _array(outputs.detach()), None if values is None else _array(values.detach()))
        pairs = [(outputs, derivatives.outputs)]
        if values is not None and derivatives.values is not None:
            pairs.append((values, derivatives.values))
        # The gradient of this sum is that of the loss. Handing the derivatives to `backward` would say the same, but
        # makes torch import sympy: 35 MB and, once, half a second.
        learned = [
            torch.dot(tensor.reshape(-1), self._tensor(derivative).reshape(-1))
            for tensor, derivative in pairs
            if tensor.requires_grad
        ]
        if learned:
            sum(learned[1:], learned[0]).backward()  # type: ignore[no-untyped-call]
        set_log_std_gradient(self.policy, key, derivatives.log_std)

    def _tensor(self, array: Float32) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)

    @contextmanager
    def learning(self, streams: Streams, update: int) -> Iterator[None]:
        """Puts the networks into training mode and seeds torch; both are restored."""
        with torch_generator(streams.seed("networks", update), [self.device]):
            self._set_training(True)
            try:
                with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # the optimizer tells of it
                    yield
            finally:
                self._set_training(False)

    def _set_training(self, training: bool) -> None:
        """What `nn.Module.train` does, in a small part of its time where no module has a way of its own."""
        if self._plain_parts is None:
            parts = [part for module in self._modules for part in module.modules()]
            plain = all(type(part).train is nn.Module.train and type(part).eval is nn.Module.eval for part in parts)
            self._plain_parts = parts if plain else []
        if self._plain_parts:
            for part in self._plain_parts:
                part.__dict__["training"] = training
        else:
            for module in self._modules:
                module.train(training)

    def population(self, parameters: Float32) -> AutogradPopulation:
        """Copies of the policy, batched with `torch.func.vmap` where the model allows it."""
        return AutogradPopulation(self, torch.from_numpy(parameters).to(self.device))


def _array(values: torch.Tensor) -> Float32:
    return values.cpu().numpy()


def tensors(encoded: Encoded, device: torch.device) -> dict[str, Any]:
    """Encoded observations as tensors on a device; on the CPU they share memory."""
    return {
        key: tensors(value, device) if isinstance(value, dict) else torch.from_numpy(value).to(device)
        for key, value in encoded.items()
    }


class AutogradPopulation:
    """Many copies of a policy; see `maze_core.rl.Population`.

    Args:
        kernel: The kernel of the policy.
        parameters: Of the members, [P, D].
    """

    def __init__(self, kernel: AutogradKernel, parameters: torch.Tensor) -> None:
        self._kernel = kernel
        self._parameters: dict[str, dict[str, torch.Tensor]] = {key: {} for key in kernel.policy.models}
        starts = parameter_starts(kernel.policy)
        for key, model in kernel.policy.models.items():
            for name, parameter in model.named_parameters(remove_duplicate=False):
                start = starts[parameter]
                shaped = parameters[:, start : start + parameter.numel()].reshape(-1, *parameter.shape)
                # A gathered block is contiguous, so this one must be too: strides change the bits.
                self._parameters[key][name] = shaped.clone(memory_format=torch.contiguous_format)

    def act(self, turn: Turn) -> Any:
        """The most probable action of each row's own copy."""
        kernel, key = self._kernel, turn.step_key
        parameters = self._parameters[key]
        if turn.rows is not None:
            index = torch.from_numpy(turn.rows).to(kernel.device)
            parameters = {name: value[index] for name, value in parameters.items()}
        observation = tensors(kernel.policy.encode(turn), kernel.device)
        with torch.no_grad():
            outputs = _array(kernel._joined(key, self._outputs(kernel.policy.models[key], parameters, observation)))
        heads = kernel.policy.actors.by_key[key].heads
        return heads.to_env(heads.mode(outputs, action_mask(turn.observation)))

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
