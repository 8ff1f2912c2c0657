"""The critics that come with the core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from maze_core.builtins.config import (
    NoCriticConfig,
    PerSubStepCriticConfig,
    SharedCriticConfig,
    SharedEmbeddingCriticConfig,
)
from maze_core.rl.critics import Critic

MakeModel = Callable[[str], nn.Module]


def shared(config: SharedCriticConfig, step_keys: Sequence[str], make_model: MakeModel) -> Critic:
    """One value for each env step."""
    return Critic({step_keys[0]: make_model(step_keys[0])}, per_sub_step=False)


def per_sub_step(config: PerSubStepCriticConfig, step_keys: Sequence[str], make_model: MakeModel) -> Critic:
    """A value for each sub-step, by networks of their own."""
    return Critic({key: make_model(key) for key in step_keys}, per_sub_step=True)


def shared_embedding(config: SharedEmbeddingCriticConfig, step_keys: Sequence[str], make_model: Any) -> Critic:
    """A value for each sub-step, by the policy's networks."""
    return Critic({}, per_sub_step=True, in_policy=True)


def none(config: NoCriticConfig, step_keys: Sequence[str], make_model: Any) -> None:
    """No values."""
    return
