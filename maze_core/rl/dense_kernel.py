"""Chains of dense layers in NumPy: forward passes, populations, and a hand-written backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from maze_core.enums import Activation
from maze_core.rl.actors import Rows, Turn, action_mask
from maze_core.rl.blocks import DenseModel, DenseSpec
from maze_core.rl.critics import Critic
from maze_core.rl.kernels import Float32, Loss, Samples, set_log_std_gradient
from maze_core.rl.parameters import FlatParameters
from maze_core.rl.policy import Policy, parameter_starts
from maze_core.rl.spaces import Encoded, flatten
from maze_core.rl.streams import Streams


class DenseNet:
    """The arithmetic of one chain of layers.

    Args:
        weights: For each layer weights [in, out] (of a population [P, in, out]) and bias.
        activation: The non-linearity between the layers.
        gradients: For each layer where its gradients go, [out, in] and [out]; empty if they do not matter.
    """

    def __init__(
        self,
        weights: Sequence[tuple[Float32, Float32]],
        activation: Activation,
        gradients: Sequence[tuple[Float32, Float32]] = (),
    ) -> None:
        self.weights, self.activation, self.gradients = weights, activation, gradients

    @staticmethod
    def of(spec: DenseSpec) -> DenseNet:
        """The network of torch layers; it shares memory with them, so it is always current."""
        gradients = [
            (layer.weight.grad.numpy(), layer.bias.grad.numpy())
            for layer in spec.layers
            if layer.weight.grad is not None and layer.bias.grad is not None
        ]
        weights = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in spec.layers]
        return DenseNet(weights, spec.activation, gradients)

    def outputs(self, inputs: Float32) -> Float32:
        """Maps [B, in] (of a population: [P, 1, in]) to [B, out]."""
        return self.layers(inputs)[-1]

    def layers(self, inputs: Float32) -> list[Float32]:
        """The inputs and the activations of every layer; the last are the outputs, [B, out]."""
        found = [inputs]
        for index, (weight, bias) in enumerate(self.weights):
            hidden = np.matmul(found[-1], weight)
            hidden += bias
            if index < len(self.weights) - 1:
                if self.activation is Activation.tanh:
                    np.tanh(hidden, out=hidden)
                else:
                    np.maximum(hidden, 0.0, out=hidden)
            found.append(hidden)
        found[-1] = found[-1].reshape(len(inputs), -1)
        return found

    def backward(self, layers: Sequence[Float32], d_outputs: Float32) -> None:
        """Writes the gradients of a loss.

        Args:
            layers: As `layers` returned them.
            d_outputs: Derivatives of the loss with respect to the outputs, [B, out]; overwritten.
        """
        d_hidden = d_outputs
        for index in range(len(self.weights) - 1, -1, -1):
            d_weight, d_bias = self.gradients[index]
            np.matmul(d_hidden.T, layers[index], out=d_weight)
            np.add.reduce(d_hidden, axis=0, out=d_bias)
            if index:
                d_inputs = np.matmul(d_hidden, self.weights[index][0].T)
                d_inputs *= self._slope(layers[index])
                d_hidden = d_inputs

    def _slope(self, activations: Float32) -> Any:
        if self.activation is Activation.tanh:
            slope = activations * activations
            return np.subtract(1.0, slope, out=slope)
        return activations > 0

    def rows(self, rows: NDArray[np.intp]) -> DenseNet:
        """The chosen members of a population."""
        return DenseNet([(weight[rows], bias[rows]) for weight, bias in self.weights], self.activation)


class DenseKernel:
    """Computes policies and critics whose models are chains of dense layers; see `Kernel`.

    Args:
        policy: All its models offer `DenseModel`; their weights lie on the CPU.
        critic: The same, or None.
    """

    name = "dense"

    def __init__(self, policy: Policy, critic: Critic | None = None) -> None:
        self.policy, self.critic = policy, critic
        self._parameters: FlatParameters | None = None
        self._bind()

    def _bind(self) -> None:
        self._policies = {key: DenseNet.of(_spec(model)) for key, model in self.policy.models.items()}
        critics: Mapping[str, nn.Module] = {} if self.critic is None else dict(self.critic.models.items())
        self._critics = {key: DenseNet.of(_spec(model)) for key, model in critics.items()}
        self._sizes = {key: actor.heads.size for key, actor in self.policy.actors.by_key.items()}

    @property
    def parameters(self) -> FlatParameters:
        """All weights of policy and critic, and their gradients."""
        if self._parameters is None:
            modules: list[nn.Module] = [self.policy] if self.critic is None else [self.policy, self.critic]
            self._parameters = FlatParameters(modules)
            self._bind()
        return self._parameters

    def act(self, turn: Turn) -> Any:
        """The most probable actions of one actor."""
        heads = self.policy.actors.by_key[turn.step_key].heads
        outputs = self.outputs(turn.step_key, self.policy.encode(turn))
        return heads.to_env(heads.mode(outputs, action_mask(turn.observation)))

    def outputs(self, step_key: str, observation: Encoded) -> Float32:
        """What the policy's network says about encoded observations, [n, size]."""
        outputs = self._policies[step_key].outputs(flatten(observation))
        return outputs[:, : self._sizes[step_key]]

    def values(self, step_key: str, observation: Encoded) -> Float32:
        """What the critic says about encoded observations, [n]."""
        assert self.critic is not None
        net = self._policies[step_key] if self.critic.in_policy else self._critics[step_key]
        return net.outputs(flatten(observation))[:, -1]

    def gradients(self, samples: Sequence[Samples], loss: Loss) -> None:
        """Writes the gradients of a loss into `parameters`."""
        self.parameters.gradients.zero_()
        for part in samples:
            self._gradients(part, loss)

    def _gradients(self, samples: Samples, loss: Loss) -> None:
        inputs, size = flatten(samples.observation), self._sizes[samples.step_key]
        policy = self._policies[samples.step_key]
        layers = policy.layers(inputs)
        critic, critic_layers, values = self._critics.get(samples.step_key), None, None
        if self.critic is not None and self.critic.in_policy:
            values = layers[-1][:, -1]
        elif critic is not None:
            critic_layers = critic.layers(samples.of_values(inputs)[0])
            values = critic_layers[-1][:, 0]
        derivatives = loss(samples, layers[-1][:, :size], values)
        d_outputs, d_values = derivatives.outputs, derivatives.values
        if critic is not None and critic_layers is not None and d_values is not None:
            critic.backward(critic_layers, d_values[:, None])
        elif self.critic is not None and self.critic.in_policy:
            column = np.zeros_like(layers[-1][:, -1:]) if d_values is None else d_values[:, None]
            d_outputs = np.concatenate((d_outputs, column), axis=1)
        policy.backward(layers, d_outputs)
        set_log_std_gradient(self.policy, samples.step_key, derivatives.log_std)

    @contextmanager
    def learning(self, streams: Streams, update: int) -> Iterator[None]:
        """No network differs between collecting and learning; what stops being finite is told by the optimizer."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            yield

    def population(self, parameters: Float32) -> DensePopulation:
        """Copies of the policy, computed in one batched product per layer."""
        starts = parameter_starts(self.policy)
        members = {}
        for key, model in self.policy.models.items():
            weights = []
            for layer in _spec(model).layers:
                weight, bias, n_out, n_in = starts[layer.weight], starts[layer.bias], *layer.weight.shape
                matrices = parameters[:, weight : weight + n_out * n_in].reshape(-1, n_out, n_in)
                weights.append(
                    (np.ascontiguousarray(matrices.transpose(0, 2, 1)), parameters[:, None, bias : bias + n_out])
                )
            members[key] = DenseNet(weights, _spec(model).activation)
        return DensePopulation(self.policy, members)


class DensePopulation:
    """Many copies of a policy of dense layers; see `Population`.

    Args:
        policy: The policy.
        members: For each step key the networks of all members.
    """

    def __init__(self, policy: Policy, members: dict[str, DenseNet]) -> None:
        self._policy, self._members = policy, members
        self._chosen: dict[str, tuple[Rows, DenseNet]] = {key: (None, net) for key, net in members.items()}

    def act(self, turn: Turn) -> Any:
        """The most probable action of each row's own copy."""
        rows, net = self._chosen[turn.step_key]
        if rows is not turn.rows:  # as long as the rows are the same object, so is the gathered copy
            net = self._members[turn.step_key] if turn.rows is None else self._members[turn.step_key].rows(turn.rows)
            self._chosen[turn.step_key] = (turn.rows, net)
        heads = self._policy.actors.by_key[turn.step_key].heads
        outputs = net.outputs(flatten(self._policy.encode(turn))[:, None, :])
        return heads.to_env(heads.mode(outputs[:, : heads.size], action_mask(turn.observation)))


def _spec(model: nn.Module) -> DenseSpec:
    assert isinstance(model, DenseModel)
    return model.dense_layers()
