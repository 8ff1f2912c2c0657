"""Which kernel computes a policy: decided by its models and the device, never by a timing.

So the same configuration gives the same bits wherever it runs.
"""

from __future__ import annotations

import inspect

import torch

from maze_core.enums import KernelChoice
from maze_core.rl.autograd_kernel import AutogradKernel
from maze_core.rl.blocks import DenseModel
from maze_core.rl.critics import VALUE, Critic
from maze_core.rl.dense_kernel import DenseKernel
from maze_core.rl.kernels import Kernel
from maze_core.rl.policy import Policy


def make_kernel(
    policy: Policy, device: torch.device, critic: Critic | None = None, choice: KernelChoice = KernelChoice.auto
) -> Kernel:
    """Picks the dense kernel for models that offer `DenseModel` on the CPU, else autograd.

    Args:
        policy: Its networks.
        device: Where they live.
        critic: The networks that estimate values, or None.
        choice: ``autograd`` picks it in any case.
    """
    if choice is KernelChoice.auto and device.type == "cpu" and _is_dense(policy, critic):
        return DenseKernel(policy, critic)
    return AutogradKernel(policy, device, critic)


def _is_dense(policy: Policy, critic: Critic | None) -> bool:
    """True if all networks are chains of dense layers, with weights of their own that may all change."""
    in_policy = critic is not None and critic.in_policy
    networks = [
        (model, [*policy.actors.by_key[key].heads.output_sizes, *([VALUE] if in_policy else [])])
        for key, model in policy.models.items()
    ]
    networks += [] if critic is None else [(model, [VALUE]) for model in critic.models.values()]
    seen: set[torch.Tensor] = set()
    for model, heads in networks:
        if not inspect.ismethod(getattr(model, "dense_layers", None)):
            return False
        assert isinstance(model, DenseModel)
        spec = model.dense_layers()
        weights = [weight for layer in spec.layers for weight in (layer.weight, layer.bias)]
        if list(spec.output_sizes) != heads or set(weights) != set(model.parameters()):
            return False
        if len(set(weights)) < len(weights) or not seen.isdisjoint(weights):
            return False
        if not all(weight.requires_grad for weight in weights):
            return False
        seen.update(weights)
    return True
