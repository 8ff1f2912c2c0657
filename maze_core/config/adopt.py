"""What a rollout takes over from a run: its env, its wrappers, and all that its policy is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from maze_core.config.compose import Composition
from maze_core.config.overrides import EXPERIMENT
from maze_core.errors import UserError
from maze_core.registry import LIST_GROUPS, Registry

ADOPTED = ("env", "wrappers", "model", "critic", "algorithm")
"""Groups that a rollout takes over, unless an option of them is asked for."""

TRAINED = "trained"
"""The policy that a run trained."""


def adopt(
    registry: Registry, composition: Composition, base: DictConfig, choices: dict[str, Any], groups: Sequence[str]
) -> None:
    """Puts what a run was configured with into the configuration of a rollout.

    Args:
        registry: All specs.
        composition: Of the rollout; its groups that were asked for stay, what was appended comes last.
        base: Of the run.
        choices: Its options, by group.
        groups: What is taken over.

    Raises:
        UserError: If an experiment is asked for, which would choose the same things.
    """
    if composition.choices.get(EXPERIMENT):
        raise UserError(
            f"experiment={composition.choices[EXPERIMENT]} chooses an env and more, and so does the run. "
            "Leave out one of the two."
        )
    cfg = composition.cfg
    with open_dict(cfg):
        for group in groups:
            if group not in composition.asked:
                more = dict(_entries(cfg[group])) if group in composition.appended else {}
                cfg[group] = base._get_node(group)
                appended = composition.choices[group] if more else []
                composition.choices[group] = [*choices[group], *appended] if group in LIST_GROUPS else choices[group]
                for key, entry in more.items():
                    cfg[group][_free_key(cfg[group], key)] = entry
        if "policy" not in composition.asked:
            cfg["policy"] = OmegaConf.structured(registry.get("policy", TRAINED).config)
            composition.choices["policy"] = TRAINED


def _entries(node: DictConfig) -> Iterator[tuple[str, Any]]:
    return ((str(key), node._get_node(key)) for key in node)


def _free_key(node: DictConfig, key: str) -> str:
    """This key, or with the first number behind it that is not taken."""
    taken, number = key, 2
    while taken in node:
        taken, number = f"{key}_{number}", number + 1
    return taken


def refuse_networks(composition: Composition) -> None:
    """Refuses options of networks where no run is named whose policy has them.

    Raises:
        UserError: If there is one.
    """
    groups = composition.root.optional_groups
    named = [f"{group}={composition.choices[group]}" for group in groups if group in composition.asked]
    named += [item.text for item in composition.values if item.key.split(".")[0] in groups]
    if named:
        raise UserError(f"{named[0]} belongs to a trained policy. Name the run that trained one: --run RUN_DIR")
