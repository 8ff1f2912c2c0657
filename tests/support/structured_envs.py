"""Structured envs whose best return is known: agents that come and go, and env steps of every length.

As a plugin, ``plugins=["support.structured_envs"]``, this module offers them as `porters` and `mine`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from maze_core import EnvSpec, hookimpl
from maze_core.rl import StructuredEnv, Turn

CARRY, CHOOSE, DIG = "carry", "choose", "dig"
Actions = NDArray[np.intp]


class PorterEnv(StructuredEnv):
    """Three porters put parcels on shelves, one after the other, and each goes home when it has none left.

    In an env step every porter that is there has one turn, as an agent of its own under the one step
    key `carry`: it puts a parcel on one of three shelves, or it goes home. Who went home does not come
    back, so later env steps have fewer sub-steps. The porters have one, two and three parcels, in
    random order; one of them, random too, joins with the second env step only.

    A parcel arrives if it is put on the shelf that this porter likes best among those that are free:
    the mask shows which, new ones with every turn. On any other shelf it breaks. Each porter has its
    own likes, `LIKES`, so that who does not look at `porter` breaks parcels. Whoever goes home is
    paid 1 for each of its parcels that arrived, and each turn costs 0.1. All of it reaches the team as
    one reward, with the last sub-step of the env step. The episode terminates when all have gone
    home, and is truncated after `MAX_STEPS` env steps. A porter sees who it is, how many parcels it has
    left and how many arrived (`own`), and how many the others have left or were not paid for
    (`others`), which is all that a value depends on, but for some turns.

    The best return is the same in every episode. A parcel costs a turn, 0.1, and brings 1 if it
    arrives, so all six must. Then each porter needs one more turn, to be paid; any further one costs
    and brings nothing: 6 - 0.1 * (6 + 3) = 5.1. That takes five env steps at most, one to join and four
    turns of who has three parcels, so the best player is never cut off.
    """

    BEST_RETURN = 5.1
    N_PORTERS, N_SHELVES, MAX_STEPS = 3, 3, 10
    HOME = N_SHELVES
    LIKES = np.array([(3, 2, 1), (1, 2, 3), (2, 3, 1)])
    """How much each porter likes each shelf, [porter, shelf]."""

    def __init__(self) -> None:
        seen = {
            "porter": spaces.Discrete(self.N_PORTERS),
            "own": spaces.Box(0, 3, (2,)),
            "others": spaces.Box(0, 6, (1,)),
            "action_mask": spaces.MultiBinary(self.N_SHELVES + 1),
        }
        super().__init__({CARRY: (spaces.Dict(seen), spaces.Discrete(self.N_SHELVES + 1))}, self.N_PORTERS)
        self.observation: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.left = 1 + self.np_random.permutation(self.N_PORTERS)
        self.unpaid = np.zeros(self.N_PORTERS, np.int64)
        self.there = np.ones(self.N_PORTERS, bool)
        self.late = self.np_random.integers(self.N_PORTERS)
        self.there[self.late] = False
        self.steps = 0
        return self._begin_step(), {}

    def step(self, action: Mapping[str, Any]) -> Any:
        self._carry(self.turns.pop(0), int(action[CARRY]))
        if self.turns:
            return self._show(new_step=False), 0.0, False, False, {}
        reward = float(self.unpaid[~self.there].sum()) - 0.1 * self.n_turns
        self.unpaid[~self.there] = 0
        self.steps += 1
        self.there[self.late] |= self.steps == 1
        if not self.there.any():
            return self.observation, reward, True, False, {}
        return self._begin_step(), reward, False, self.steps == self.MAX_STEPS, {}

    def _carry(self, porter: int, choice: int) -> None:
        if choice == self.HOME:
            self.there[porter] = False
        elif self.left[porter]:
            free = self.observation[CARRY]["action_mask"][: self.HOME]
            self.left[porter] -= 1
            self.unpaid[porter] += choice == (free * self.LIKES[porter]).argmax()

    def _begin_step(self) -> dict[str, Any]:
        self.turns: list[int] = np.flatnonzero(self.there).tolist()
        self.n_turns = len(self.turns)
        return self._show(new_step=True)

    def _show(self, *, new_step: bool) -> dict[str, Any]:
        porter = self.turns[0]
        mask = self.np_random.integers(0, 2, self.N_SHELVES + 1, dtype=np.int8)
        mask[[self.np_random.integers(self.N_SHELVES), self.HOME]] = 1
        parcels = np.stack((self.left, self.unpaid), axis=1).astype(np.float32)
        own, others = parcels[porter], np.delete(parcels, porter, axis=0).sum(keepdims=True)[0]
        seen = {"porter": np.int64(porter), "own": own, "others": others, "action_mask": mask}
        self.observation = self.turn_of(CARRY, seen, new_step=new_step, agent=porter)
        return self.observation


class MineEnv(StructuredEnv):
    """Choose the shaft whose treasure lies higher, and dig exactly as deep.

    An env step begins with `choose`, which sees how deep a treasure lies in each of two shafts, and
    picks one. A treasure on the surface, depth 0, is taken at once: this env step has one sub-step.
    Into any other shaft one goes down to depth 1, and `dig` sees how much deeper the treasure lies
    and decides: go on, or stop and take what is here, which ends the env step. So it has 1 to 4
    sub-steps, as the depths and the decisions have it. Depth 3 is bedrock, where the mask forbids to
    go on; who tries ends the env step with nothing. A treasure is worth 1, and each `dig` sub-step
    costs 0.2. An episode has six env steps, in which each pair of different depths from 0 to 3 occurs
    once, in random order, and terminates.

    The best return is the same in every episode. A treasure at depth d costs 0.2 * d if one stops
    there, so it is always worth digging for, and the higher one is worth more. Of the six pairs three
    have their higher treasure at depth 0, two at 1 and one at 2: 3 * 1 + 2 * 0.8 + 0.6 = 5.2.
    """

    BEST_RETURN = 5.2
    DEEPEST, STOP, GO_ON = 3, 0, 1

    def __init__(self) -> None:
        depth = spaces.Box(-self.DEEPEST, self.DEEPEST, (1,))
        dig = spaces.Dict({"below": depth, "action_mask": spaces.MultiBinary(2)})
        choose = spaces.Box(0, self.DEEPEST, (2,))
        super().__init__({CHOOSE: (choose, spaces.Discrete(2)), DIG: (dig, spaces.Discrete(2))})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        depths = range(self.DEEPEST + 1)
        pairs = [(upper, lower) for upper in depths for lower in depths if upper < lower]
        self.pairs = self.np_random.permuted(self.np_random.permutation(pairs), axis=1)
        self.steps, self.at = 0, 0
        return self._choose_turn(), {}

    def step(self, action: Mapping[str, Any]) -> Any:
        if self.at == 0:
            self.treasure = int(self.pairs[self.steps, int(action[CHOOSE])])
            if self.treasure == 0:
                return self._end_of_step(1.0)
            self.at = 1
            return self._dig_turn(), 0.0, False, False, {}
        if action[DIG] == self.STOP:
            return self._end_of_step(float(self.at == self.treasure) - 0.2)
        if self.at == self.DEEPEST:
            return self._end_of_step(-0.2)
        self.at += 1
        return self._dig_turn(), -0.2, False, False, {}

    def _end_of_step(self, reward: float) -> Any:
        self.steps, self.at = self.steps + 1, 0
        over = self.steps == len(self.pairs)
        return self._choose_turn(), reward, over, False, {}

    def _choose_turn(self) -> dict[str, Any]:
        shown = self.pairs[min(self.steps, len(self.pairs) - 1)]
        return self.turn_of(CHOOSE, shown.astype(np.float32), new_step=True)

    def _dig_turn(self) -> dict[str, Any]:
        mask = np.array([1, self.at < self.DEEPEST], np.int8)
        seen = {"below": np.array([self.treasure - self.at], np.float32), "action_mask": mask}
        return self.turn_of(DIG, seen, new_step=False)


def best_actions(turn: Turn, likes: NDArray[np.int64] = PorterEnv.LIKES) -> Actions:
    """What the best player does in `PorterEnv` and in `MineEnv`, [len(rows)].

    Args:
        turn: A turn of either.
        likes: What it takes for `PorterEnv.LIKES`.
    """
    seen = turn.observation
    if turn.step_key == CARRY:
        free = seen["action_mask"][:, : PorterEnv.HOME]
        liked = (free * likes[seen["porter"]]).argmax(axis=1)
        return np.where(seen["own"][:, 0] > 0, liked, PorterEnv.HOME)
    if turn.step_key == CHOOSE:
        return np.asarray(seen.argmin(axis=1))
    return np.where(seen["below"][:, 0] > 0, MineEnv.GO_ON, MineEnv.STOP)


@dataclass(kw_only=True)
class PorterConfig:
    """Agents that come and go."""


@dataclass(kw_only=True)
class MineConfig:
    """Env steps of every length."""


@hookimpl
def maze_envs() -> Iterator[EnvSpec]:
    """Both envs."""
    yield EnvSpec(name="porters", summary="Agents come and go.", config=PorterConfig, build=lambda _: PorterEnv())
    yield EnvSpec(name="mine", summary="Env steps of every length.", config=MineConfig, build=lambda _: MineEnv())
