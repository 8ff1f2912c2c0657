"""Who acts: a policy with networks, by its most probable actions or drawn ones; and checks of any that does."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from gymnasium import Space, spaces

from maze_core.errors import MazeError, PluginError, UserError
from maze_core.rl.actors import Actors, Turn, action_mask
from maze_core.rl.kernels import Kernel
from maze_core.rl.spaces import batch_size


class _Acts(Protocol):
    def act(self, turn: Turn) -> Any: ...


class CheckedPolicy:
    """A policy, perhaps somebody's own, whose errors name it: whatever it raises, and what are no actions.

    Args:
        policy: Who acts.
        actors: For whom. The first actions of each are looked at.
        name: What errors call it.
    """

    def __init__(self, policy: _Acts, actors: Actors, name: str) -> None:
        self.policy, self._actors, self._name = policy, actors, name
        self._seen: set[str] = set()

    def act(self, turn: Turn) -> Any:
        """What the policy does.

        Raises:
            PluginError: If it raises, or does what the actor cannot.
        """
        try:
            actions = self.policy.act(turn)
            if turn.step_key not in self._seen:
                space = self._actors.by_key[turn.step_key].action_space
                _check_actions(space, actions, batch_size(turn.observation), "its actions")
                self._seen.add(turn.step_key)
            return actions
        except (MazeError, MemoryError):
            raise
        except Exception as error:
            raise PluginError(
                f"{self._name} cannot act as actor {turn.step_key!r}: {type(error).__name__}: {error}"
            ) from error


class _DrawingPolicy(CheckedPolicy):
    def begin(self, generator: np.random.Generator) -> None:
        """From now on randomness comes from here."""
        policy: Any = self.policy
        policy.begin(generator)


def checked_policy(policy: Any, actors: Actors, name: str) -> CheckedPolicy:
    """The policy with checks; it draws actions if the policy does.

    Raises:
        PluginError: If it cannot act.
    """
    if not callable(getattr(policy, "act", None)):
        raise PluginError(
            f"{name} cannot act: {type(policy).__name__} has no method act; maze_core.Acting says what it returns."
        )
    draws = callable(getattr(policy, "begin", None))
    return (_DrawingPolicy if draws else CheckedPolicy)(policy, actors, name)


def _check_actions(space: Space[Any], actions: Any, n: int, path: str) -> None:
    """Checks that actions are a batch, leaves [n, ...].

    Raises:
        ValueError: If they are not.
    """
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            _check_actions(part, actions[key], n, f"{path}[{key!r}]")
        return
    if isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            _check_actions(part, actions[index], n, f"{path}[{index}]")
        return
    array = np.asarray(actions)
    whole = not isinstance(space, spaces.Box)
    if array.shape != (n, *(space.shape or ())) or array.dtype.kind not in ("biu" if whole else "biuf"):
        kind = "whole numbers" if whole else "numbers"
        raise ValueError(
            f"{path} are {array.dtype} {list(array.shape)} for {n} observations; needed: {kind} "
            f"{[n, *(space.shape or ())]}"
        )


class KernelPolicy:
    """Acts as a kernel's policy says.

    Args:
        kernel: Computes the policy.
        deterministic: Whether it takes the most probable actions; else they are drawn.
        generator: Where randomness comes from; `begin` may change it.

    Raises:
        UserError: If actions are to be drawn, and the deviations of some were never learned.
    """

    def __init__(
        self, kernel: Kernel, deterministic: bool = True, generator: np.random.Generator | None = None
    ) -> None:
        self.actors = kernel.policy.actors
        self._kernel, self._deterministic = kernel, deterministic
        self._generator = generator or np.random.default_rng(0)
        for key, actor in self.actors.by_key.items():
            if not deterministic and actor.heads.n_log_stds and key not in kernel.policy.log_stds:
                raise UserError(
                    f"the actions of actor {key!r} cannot be drawn: the algorithm that trained the policy learned no "
                    "deviations of them. Use its most probable actions (deterministic)."
                )

    def begin(self, generator: np.random.Generator) -> None:
        """From now on randomness comes from here."""
        self._generator = generator

    def act(self, turn: Turn) -> Any:
        """The actions of one actor, leaves [len(rows), ...]."""
        if self._deterministic:
            return self._kernel.act(turn)
        policy, heads = self._kernel.policy, self.actors.by_key[turn.step_key].heads
        outputs = self._kernel.outputs(turn.step_key, policy.encode(turn))
        noise = heads.noise(self._generator, (batch_size(turn.observation),))
        drawn = heads.sample(outputs, policy.log_std(turn.step_key), noise, action_mask(turn.observation))
        return heads.to_env(drawn)
