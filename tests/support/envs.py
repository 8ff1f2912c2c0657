"""Small envs whose every number is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from support.spaces import allowed, mask_space, random_mask

from maze_core.rl.actors import StructuredEnv
from maze_core.rl.spaces import ACTION_MASK as MASK
from maze_core.rl.spaces import unbatch

PICK, PLACE = "pick", "place"
VALUES = np.linspace(-1, 1, 4, dtype=np.float32)


class TwoStepEnv(StructuredEnv):
    """Pick the most valuable item that is allowed, then place it where the target is.

    An env step has two sub-steps: `pick` sees the items' values and a mask that changes, and gets
    1 for the best allowed item; `place` sees a target and gets 1 minus its distance to it. So the
    best return is two per env step. The episode is truncated after its last env step.

    Args:
        n_steps: Env steps of an episode.
        varied: If True an episode has 1 to `n_steps` env steps, depending on its seed.
        uneven: If True the item 0 is not placed: the env step then has one sub-step only.
    """

    def __init__(self, n_steps: int = 5, *, varied: bool = False, uneven: bool = False) -> None:
        pick = spaces.Dict({"values": spaces.Box(-1, 1, (4,)), "action_mask": spaces.MultiBinary(4)})
        place = spaces.Box(-1, 1, (1,))
        super().__init__({PICK: (pick, spaces.Discrete(4)), PLACE: (place, spaces.Box(-1, 1, (1,)))})
        self.n_steps, self.varied, self.uneven = n_steps, varied, uneven
        self.observation: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps_left = int(self.np_random.integers(1, self.n_steps, endpoint=True)) if self.varied else self.n_steps
        return self._pick_turn(), {}

    def step(self, action: Mapping[str, Any]) -> Any:
        if self.observation["actor"] == 0:
            seen = self.observation[PICK]
            item, allowed = int(action[PICK]), seen["action_mask"].astype(bool)
            reward = float(allowed[item] and seen["values"][item] == seen["values"][allowed].max())
            if self.uneven and item == 0:
                return self._end_of_step(reward)
            target = self.np_random.uniform(-1, 1, 1).astype(np.float32)
            self.observation = self.turn_of(PLACE, target, new_step=False)
            return self.observation, reward, False, False, {}
        return self._end_of_step(1.0 - abs(float(action[PLACE][0]) - float(self.observation[PLACE][0])))

    def _end_of_step(self, reward: float) -> Any:
        self.steps_left -= 1
        return self._pick_turn(), reward, False, self.steps_left == 0, {}

    def _pick_turn(self) -> dict[str, Any]:
        mask = self.np_random.integers(0, 2, 4, dtype=np.int8)
        mask[self.np_random.integers(4)] = 1
        values = self.np_random.permutation(VALUES)
        self.observation = self.turn_of(PICK, {"values": values, "action_mask": mask}, new_step=True)
        return self.observation


def best_pick(observation: Any) -> Any:
    """The best items of a batch of `TwoStepEnv`'s pick observations, [B]."""
    return np.where(observation["action_mask"], observation["values"], -np.inf).argmax(axis=-1)


class CountdownEnv(gymnasium.Env[Any, Any]):
    """Lasts 1 to `longest` steps, as the seed decides; pays one plus what was acted, times a random number.

    Episodes of even length terminate, others are truncated. The observation is (steps taken, length).
    """

    observation_space = spaces.Box(0, 100, (2,))
    action_space = spaces.Discrete(2)

    def __init__(self, longest: int = 9) -> None:
        self.longest = longest

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps, self.length = 0, int(self.np_random.integers(1, self.longest, endpoint=True))
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        reward = (1.0 + float(action)) * float(self.np_random.random())
        ends, even = self.steps == self.length, self.length % 2 == 0
        return self._observation(), reward, ends and even, ends and not even, {}

    def _observation(self) -> Any:
        return np.array([self.steps, self.length], np.float32)


class FaultyEnv(CountdownEnv):
    """Raises ValueError where it is told to: in its ``constructor``, ``reset`` or ``step``."""

    def __init__(self, where: str, *, reward: float | None = None) -> None:
        super().__init__()
        self.where, self.reward = where, reward
        if where == "constructor":
            raise ValueError("the lamp is broken")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if self.where == "reset":
            raise ValueError("the lamp is broken")
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        if self.where == "step":
            raise ValueError("the lamp is broken")
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward if self.reward is None else self.reward, terminated, truncated, info


class MaskedEnv(gymnasium.Env[Any, Any]):
    """Three choices of which exactly one is allowed; another one than that raises ValueError."""

    observation_space = spaces.Dict({"step": spaces.Box(0, 9, (1,)), "action_mask": spaces.MultiBinary(3)})
    action_space = spaces.Discrete(3, start=5)

    def __init__(self, empty_at: int | None = None) -> None:
        self.empty_at = empty_at

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        if self.allowed[int(action) - 5] != 1:
            raise ValueError(f"action {action} is not allowed")
        self.steps += 1
        return self._observation(), 1.0, self.steps == 6, False, {}

    def _observation(self) -> Any:
        self.allowed = np.zeros(3, np.int8)
        if self.steps != self.empty_at:
            self.allowed[self.np_random.integers(3)] = 1
        return {"step": np.array([self.steps], np.float32), "action_mask": self.allowed}


class IdentityEnv(gymnasium.Env[Any, Any]):
    """Shows an action, and pays the share of its parts that is repeated; episodes have 100 steps.

    Args:
        space: Discrete, MultiDiscrete or MultiBinary; of the observations too.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = deepcopy(space), deepcopy(space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.action_space.seed(int(self.np_random.integers(2**31)))
        self.steps, self.shown = 0, self.action_space.sample()
        return self.shown, {}

    def step(self, action: Any) -> Any:
        reward = float(np.mean(action == self.shown))
        self.steps, self.shown = self.steps + 1, self.action_space.sample()
        return self.shown, reward, False, self.steps == 100, {}


class BanditEnv(gymnasium.Env[Any, Any]):
    """One choice, which pays what it is listed to pay; then the episode terminates.

    Args:
        pays: Reward of each choice.
        noise: Standard deviation around it.
    """

    observation_space = spaces.Box(0, 1, (1,))

    def __init__(self, pays: Sequence[float], noise: float = 0.0) -> None:
        self.pays, self.noise = pays, noise
        self.action_space = spaces.Discrete(len(pays))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action: Any) -> Any:
        reward = self.pays[int(action)] + self.noise * float(self.np_random.normal())
        return np.ones(1, np.float32), reward, True, False, {}


class TwoStateEnv(gymnasium.Env[Any, Any]):
    """Stay, or go to the other state: staying pays 1 in the first state and 2 in the second, going 0.

    Nothing ends by itself; episodes begin in the first state and are truncated after 8 steps. With discount
    g the second state is worth 2 / (1 - g), and the first one g times as much if going pays off (g > 1/2).
    """

    observation_space, action_space = spaces.Discrete(2), spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.state = self.steps = 0
        return self.state, {}

    def step(self, action: Any) -> Any:
        reward = 0.0 if action == 1 else 1.0 + self.state
        self.state, self.steps = self.state ^ int(action), self.steps + 1
        return self.state, reward, False, self.steps == 8, {}


class LinearQuadraticEnv(gymnasium.Env[Any, Any]):
    """Keep x at zero: it becomes ``A * x + u``, and costs ``x**2 + u**2``.

    Nothing ends by itself; episodes are truncated after 4 steps. One observes x and its square, so that
    the best policy and its values are linear.
    """

    A, LENGTH = 1.0, 4
    observation_space, action_space = spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-2, 2, (1,))

    @classmethod
    def best_gain(cls, gamma: float) -> float:
        """The k of the best action, ``u = -k * x``."""
        p = cls._value(gamma)
        return gamma * cls.A * p / (1 + gamma * p)

    @classmethod
    def best_std(cls, gamma: float, entropy_coef: float) -> float:
        """The best standard deviation of actions if their entropy counts, too."""
        return float(np.sqrt(entropy_coef / 2 / (1 + gamma * cls._value(gamma))))

    @classmethod
    def _value(cls, gamma: float) -> float:
        """The p of the best costs to come, ``p * x**2`` and a constant, from the Riccati equation."""
        p = 0.0
        for _ in range(200):
            p = 1 + gamma * cls.A**2 * p / (1 + gamma * p)
        return p

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.x, self.steps = float(self.np_random.uniform(-2, 2)), 0
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        u = float(action[0])
        cost = self.x**2 + u**2
        self.x, self.steps = self.A * self.x + u, self.steps + 1
        return self._observation(), -cost, False, self.steps == self.LENGTH, {}

    def _observation(self) -> Any:
        return np.array([self.x, self.x**2], np.float32)


class RandomEnv(gymnasium.Env[Any, Any]):
    """Random members of a space as observations, and random masks; every action is checked.

    Args:
        observation_space: What is observed.
        action_space: What is decided.
    """

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        mask = mask_space(action_space)
        self.action_space, self._seen = action_space, deepcopy(observation_space)
        self.observation_space = spaces.Dict({"seen": observation_space, **({} if mask is None else {MASK: mask})})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._seen.seed(seed)
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), f"{action} is not in {self.action_space}"
        assert allowed(self.action_space, self.mask, action), f"{action} is not allowed by {self.mask}"
        terminated, truncated = (self.np_random.random(2) < 0.2).tolist()
        return self._observation(), float(self.np_random.normal()), terminated, truncated, {}

    def _observation(self) -> Any:
        mask = random_mask(self.action_space, 1, self.np_random)
        self.mask = None if mask is None else unbatch(mask, 0)
        return {"seen": self._seen.sample(), **({} if mask is None else {MASK: self.mask})}
