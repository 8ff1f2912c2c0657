"""Critics: estimates of the return that is still to come."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

VALUE = "value"
"""Name of the output that holds a value; models give it a single number."""


class Critic(nn.Module):
    """The networks that estimate values.

    Args:
        models: By step key a module from the encoded observation to ``{"value": [B, 1]}``.
        per_sub_step: True if every sub-step has a value of its own; False if an env step has one, that
            of the observation it begins with, and `models` has one entry, for the actor that begins.
        in_policy: True if the policy's networks put the value out themselves; `models` is then empty.
    """

    def __init__(self, models: Mapping[str, nn.Module], per_sub_step: bool, in_policy: bool = False) -> None:
        super().__init__()
        self.models = nn.ModuleDict(models)
        self.per_sub_step, self.in_policy = per_sub_step, in_policy

    def values_of(self, step_key: str) -> bool:
        """True if there are values for what this actor observes."""
        return self.in_policy or step_key in self.models
