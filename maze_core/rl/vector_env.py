"""Many copies of an env stepped together, with resets that the caller decides.

The contract of every vector env in Maze, on top of `gymnasium.vector.VectorEnv`:

- it never resets by itself (`AutoresetMode.DISABLED`), so the observation that ends an episode is
  the true final one and every stored row is a real step;
- ``reset(seed=[one per env], options={"reset_mask": bool [B]})`` resets exactly the chosen envs,
  each with its own seed, so every episode is known by its seed;
- an env whose episode ended, or that was never reset, is *idle*: its action is ignored, its reward
  is 0, its flags are False, until it is reset.

This module is the only one that knows Gymnasium's autoreset modes. Arrays that are returned, and the
actions that a vector env is given, are valid until the next call: who keeps them copies them. Scalar
envs in an `InProcessVectorEnv` get actions of their own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import Env, Wrapper
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import concatenate, iterate
from numpy.typing import NDArray

from maze_core.errors import EnvFaultError, MazeError, PluginError
from maze_core.rl.spaces import copied, misfit

LOG = logging.getLogger("maze")

CONSTRUCTED = -1
"""Stands for a step while an env is constructed."""

Announce = Callable[[int, "int | None", int], None]
AnyVectorEnv = VectorEnv[Any, Any, Any]
Step = tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


@runtime_checkable
class PreparesEpisodes(Protocol):
    """A vector env that is faster if it knows which episodes are to come."""

    def prepare_episodes(self, env: int, seeds: NDArray[np.int64]) -> None:
        """Is told the seeds of the next episodes of an env, in order, the first before it begins.

        It is a hint: nothing that the env does may depend on it, and other episodes may come.
        """
        ...


class InProcessVectorEnv(SyncVectorEnv):
    """Scalar envs, stepped one after the other in this process.

    Args:
        make_env: Constructs one env.
        num_envs: How many, B.
        repeats: Whether an episode in which an env raises is repeated in a new env, once for each step.
        announce: Is told env, episode seed and step before an env is constructed, reset or stepped.
        first: Number of the first env in a larger vector env, of which this is a part.
        total: How many envs that has.

    Raises:
        EnvFaultError: If an env raises, in its constructor or later; the message names what it was
            doing. Errors that Maze raises on purpose pass unchanged.

    Attributes:
        busy: Which env is at work since when (`time.monotonic`), and on which episode seed; None if none is.
    """

    def __init__(
        self, make_env: Callable[[], Env[Any, Any]], num_envs: int, repeats: bool = False,
        announce: Announce | None = None, first: int = 0, total: int | None = None,
    ) -> None:  # fmt: skip
        self._make_env, self._repeats, self._announce = make_env, repeats, announce
        self._first, self._total = first, num_envs if total is None else total
        makers = [partial(self._construct, index) for index in range(num_envs)]
        super().__init__(makers, copy=False, autoreset_mode=AutoresetMode.DISABLED)
        self._idle = np.ones(num_envs, bool)
        self._seeds: list[int | None] = [None] * num_envs
        self._options: list[dict[str, Any] | None] = [None] * num_envs
        self._steps = [0] * num_envs
        self._actions: list[list[Any]] = [[] for _ in range(num_envs)]  # of the present episodes, if they are repeated
        self.busy: tuple[int, float, int | None] | None = None

    def _construct(self, index: int) -> Env[Any, Any]:
        if self._announce is not None:
            self._announce(self._first + index, None, CONSTRUCTED)
        return _constructed(self._make_env)

    def _begin(self, index: int) -> None:
        """An env is about to be called."""
        seed = self._seeds[index]
        self.busy = (self._first + index, time.monotonic(), seed)
        if self._announce is not None:
            self._announce(self._first + index, seed, self._steps[index])

    @property
    def all_idle(self) -> bool:
        """Whether no env is in an episode."""
        return bool(self._idle.all())

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the envs in ``options["reset_mask"]`` (all without it), each with its own seed."""
        remaining = dict(options or {})
        mask = remaining.pop("reset_mask", np.ones(self.num_envs, bool))
        seeds = [None] * self.num_envs if seed is None else list(seed)
        infos: dict[str, Any] = {}
        for index in np.flatnonzero(mask).tolist():
            self._seeds[index], self._options[index] = seeds[index], remaining or None
            self._steps[index] = 0
            self._actions[index].clear()
            self._begin(index)
            try:
                observation, info = self.envs[index].reset(seed=seeds[index], options=remaining or None)
                self._env_obs[index] = copied(observation) if self._repeats else observation
            except MazeError:
                raise
            except (Exception, SystemExit) as error:
                info = self._repeated(index, "reset", error)
            infos = self._with_info(infos, info, index) if info else infos
        self.busy = None
        if any(observation is None for observation in self._env_obs):
            self._fill_missing()
        self._idle = self._idle & ~mask
        return self._batch(), infos

    def _fill_missing(self) -> None:
        """Gives envs that were never reset some observation, so that a batch can be built."""
        some = next(observation for observation in self._env_obs if observation is not None)
        self._env_obs = [some if observation is None else observation for observation in self._env_obs]

    def step(self, actions: Any) -> Step:
        """Steps every env that is not idle."""
        self._rewards[:] = 0.0
        self._terminations[:] = False
        self._truncations[:] = False
        infos: dict[str, Any] = {}
        for index, action in enumerate(iterate(self.action_space, copied(actions))):  # an env may keep its action
            if self._idle[index]:
                continue
            self._begin(index)
            try:
                info = self._took_step(index, self.envs[index].step(action))
            except MazeError:
                raise
            except (Exception, SystemExit) as error:
                info = self._repeated(index, f"step {self._steps[index]} with action {action}", error, action)
            infos = self._with_info(infos, info, index) if info else infos
            self._steps[index] += 1
            if self._repeats:
                self._actions[index].append(action)
        self.busy = None
        self._idle |= self._terminations | self._truncations
        return self._batch(), self._rewards.copy(), self._terminations.copy(), self._truncations.copy(), infos

    def _with_info(self, infos: dict[str, Any], info: dict[str, Any], index: int) -> dict[str, Any]:
        try:
            return self._add_info(infos, info, index)
        except Exception as error:
            raise EnvFaultError(
                f"env {self._name(index)!r} gave an info that does not fit those of other envs or steps "
                f"(env {self._first + index} of {self._total}, episode seed {self._seeds[index]}): {error}"
            ) from error

    def _took_step(self, index: int, outcome: Any) -> dict[str, Any]:
        """Stores what a step of one env returned, and hands on its info."""
        observation, reward, terminated, truncated, info = outcome
        self._env_obs[index] = copied(observation) if self._repeats else observation
        self._rewards[index] = reward
        self._terminations[index], self._truncations[index] = terminated, truncated
        return info  # type: ignore[no-any-return]

    def _repeated(self, index: int, doing: str, error: BaseException, *action: Any) -> dict[str, Any]:
        """Lets a new env do what one raised at, after the same seed and actions; returns its info.

        Raises:
            EnvFaultError: If nothing is to be repeated, or it raises again.
        """
        if not self._repeats or self._seeds[index] is None:
            raise self._fault(index, doing, error) from error
        LOG.warning("%s The episode is repeated in a new env.", self._fault(index, doing, error))
        try:
            self.envs[index].close()
        except Exception as problem:  # it is broken anyway
            LOG.warning("env %d raised %s when it was closed: %s", self._first + index, type(problem).__name__, problem)
        try:
            learned = [state() for state in _offers(self.envs[index], "state_dict")]
            env = self.envs[index] = self._construct(index)
            before = self._env_obs[index]
            self._env_obs[index], info = env.reset(seed=self._seeds[index], options=self._options[index])
            for taken in self._actions[index]:
                info = self._took_step(index, env.step(taken))
            for load, state in zip(_offers(env, "load_state_dict"), learned, strict=True):
                load(state)  # what wrappers learned over episodes
            if not action:
                return info
            if not data_equivalence(before, copied(self._env_obs[index]), exact=True):
                raise RuntimeError("the same seed and actions led elsewhere")
            return self._took_step(index, env.step(action[0]))
        except MazeError:
            raise
        except (Exception, SystemExit) as again:
            raise self._fault(index, f"{doing}, and again in a new env", again) from again

    def _batch(self) -> Any:
        """All observations, leaves [B, ...]; written into the same arrays each time."""
        try:
            self._observations = concatenate(self.single_observation_space, self._env_obs, self._observations)
        except Exception as error:
            raise self._misfit(error) from error
        return self._observations

    def _misfit(self, error: Exception) -> EnvFaultError:
        """Which env gave an observation that does not fit its space, and which part of it."""
        for index, observation in enumerate(self._env_obs):
            found = misfit(self.single_observation_space, observation, "observation")
            if found:
                return EnvFaultError(
                    f"env {self._name(index)!r} broke its contract (episode seed {self._seeds[index]}): {found}."
                )
        return EnvFaultError(f"an env {self._name(0)!r} gave an observation that does not fit its space: {error}")

    def _fault(self, index: int, doing: str, error: BaseException) -> EnvFaultError:
        """Whatever an env raised, as an error that names it."""
        return EnvFaultError(
            f"env {self._name(index)!r} raised {type(error).__name__} in {doing} "
            f"(env {self._first + index} of {self._total}, episode seed {self._seeds[index]}): {error}"
        )

    def _name(self, index: int) -> str:
        spec = self.envs[index].spec
        return spec.id if spec is not None else type(self.envs[index].unwrapped).__name__


def _offers(env: Any, method: str) -> list[Callable[..., Any]]:
    """This method of an env and its wrappers, from the outermost, as far as they have it."""
    found = []
    while env is not None:
        if hasattr(type(env), method):
            found.append(getattr(env, method))
        env = env.env if isinstance(env, Wrapper) else None
    return found


def _constructed(make_env: Callable[[], Env[Any, Any]]) -> Env[Any, Any]:
    try:
        return make_env()
    except MazeError:
        raise
    except (Exception, SystemExit) as error:
        raise EnvFaultError(f"the env raised {type(error).__name__} in its constructor: {error}") from error


class AnnouncedVectorEnv(VectorWrapper[Any, Any, Any]):
    """Tells of each call of an env's own vector form.

    Args:
        env: The vector env.
        announce: As for `InProcessVectorEnv`; which env and which episode is not known.
    """

    def __init__(self, env: AnyVectorEnv, announce: Announce) -> None:
        super().__init__(env)
        self._announce = announce

    def reset(self, **arguments: Any) -> Any:
        """Resets the envs."""
        self._announce(0, None, 0)
        return self.env.reset(**arguments)

    def step(self, actions: Any) -> Any:
        """Steps the envs."""
        self._announce(0, None, 0)
        return self.env.step(actions)


def check_vector_env(env: AnyVectorEnv, name: str) -> AnyVectorEnv:
    """Returns the vector env that a plugin built, if it keeps the contract of this module.

    Raises:
        PluginError: If it would reset by itself.
    """
    if env.metadata.get("autoreset_mode") != AutoresetMode.DISABLED:
        raise PluginError(
            f"the vector form of env {name!r} resets by itself; set "
            "metadata['autoreset_mode'] = AutoresetMode.DISABLED and take options['reset_mask'] in reset."
        )
    return env


def prepare_episodes(env: AnyVectorEnv, row: int, seeds: NDArray[np.int64]) -> None:
    """Tells a vector env which episodes one of its envs will begin next, if it is faster for knowing them.

    Args:
        env: A vector env that keeps the contract of this module.
        row: Which env.
        seeds: Of its next episodes, in order.
    """
    inner = env.unwrapped
    if isinstance(inner, PreparesEpisodes):
        inner.prepare_episodes(row, seeds)


def reset_envs(env: AnyVectorEnv, rows: NDArray[np.intp], seeds: Sequence[int]) -> Any:
    """Starts a new episode in the chosen envs.

    Args:
        env: A vector env that keeps the contract of this module.
        rows: Which envs.
        seeds: One for each of them.

    Returns:
        Observations of all envs, leaves [B, ...].
    """
    mask = np.zeros(env.num_envs, bool)
    mask[rows] = True
    by_env: list[int] = [0] * env.num_envs
    for row, seed in zip(rows, seeds, strict=True):
        by_env[row] = seed
    return env.reset(seed=by_env, options={"reset_mask": mask})[0]  # type: ignore[arg-type]  # lists are allowed
