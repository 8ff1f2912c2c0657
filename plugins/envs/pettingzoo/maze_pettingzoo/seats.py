"""Which agents share a step key: those that see and decide the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from maze_pettingzoo.sight import Sight

ALL = "player"
"""Step key where all agents have the same spaces."""

RESERVED = ("actor", "agent", "new_step")


@dataclass(frozen=True)
class Seat:
    """The place of an agent among all.

    Args:
        step_key: Its kind: agents with the same spaces have the same.
        index: Its number among those of its kind.
    """

    step_key: str
    index: int


def seats_of(sights: Mapping[str, Sight]) -> dict[str, Seat]:
    """The seat of each agent; kinds are in the order of their first agents.

    Args:
        sights: What each agent sees and decides, in the order of the game.
    """
    kinds: list[tuple[Sight, list[str]]] = []
    for agent, sight in sights.items():
        alike = (members for other, members in kinds if _same(sight, other))
        members = next(alike, None)
        if members is None:
            kinds.append((sight, members := []))
        members.append(agent)
    names = _names([members[0] for _, members in kinds])
    return {
        agent: Seat(name, index) for name, (_, members) in zip(names, kinds, strict=True)
        for index, agent in enumerate(members)
    }  # fmt: skip


def _same(one: Sight, other: Sight) -> bool:
    return bool(one.observation_space == other.observation_space and one.action_space == other.action_space)


def _names(firsts: list[str]) -> list[str]:
    """A step key for each kind, from the name of its first agent without its number."""
    if len(firsts) == 1:
        return [ALL]
    stems = [re.sub(r"_?\d+$", "", first) for first in firsts]
    usable = len(set(stems)) == len(stems) and all(s.isidentifier() and s not in RESERVED for s in stems)
    return stems if usable else [f"{ALL}_{number}" for number in range(len(firsts))]
