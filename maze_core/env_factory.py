"""Makes envs, wrapped as configured: one at a time, or many at once in the fastest form that fits."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import NormalizeReward, RecordEpisodeStatistics, TimeAwareObservation, TimeLimit

from maze_core.errors import EnvFaultError, MazeError, UserError
from maze_core.rl.actors import is_structured
from maze_core.rl.vector_env import (
    Announce,
    AnnouncedVectorEnv,
    AnyVectorEnv,
    InProcessVectorEnv,
    check_vector_env,
)
from maze_core.specs import Build, EnvSpec, WrapperSpec, resolve_build

COUNTING_WRAPPERS: dict[type[gymnasium.Wrapper[Any, Any, Any, Any]], str] = {
    NormalizeReward: "Use wrappers=return_normalization",
    RecordEpisodeStatistics: "Leave it out: Maze counts episodes itself",
    TimeAwareObservation: "Show the env step in the env's own observation",
    TimeLimit: "Use wrappers=time_limit, or put the limit into the env (no max_episode_steps in its registration)",
}
"""Wrappers of Gymnasium that take a sub-step for a step, and what to do instead."""


class EnvFactory:
    """Makes envs, wrapped as configured, one at a time or many at once.

    Args:
        spec: The env.
        config: Its options.
        wrappers: Wrappers with their options, the first innermost.
        repeats: Whether an episode in which an env raises is repeated in a new env.

    Attributes:
        announce: Is told env, episode seed and step before an env is called; None in a process that nobody watches.
    """

    def __init__(
        self, spec: EnvSpec, config: Any, wrappers: list[tuple[WrapperSpec, Any]], repeats: bool = False
    ) -> None:
        self.spec, self.config, self.wrappers, self._repeats = spec, config, wrappers, repeats
        self.announce: Announce | None = None

    def __call__(self, training: bool = True) -> gymnasium.Env[Any, Any]:
        """Builds one env.

        Args:
            training: False leaves out the wrappers that only shape what is learned from.

        Raises:
            EnvFaultError: If its constructor or that of a wrapper raises.
            UserError: If a Gymnasium wrapper would count the sub-steps of a structured env.
        """
        return self._scalar(self._wrappers(training), self.spec.build)

    def _scalar(self, wrappers: list[tuple[WrapperSpec, Any]], build: Build) -> gymnasium.Env[Any, Any]:
        env = self._guarded(self.spec, build, self.config)
        for spec, config in wrappers:
            env = self._guarded(spec, spec.build, env, config)
        refuse_counting_wrappers(env, self.spec.name)
        return env  # type: ignore[no-any-return]

    def _wrappers(self, training: bool) -> list[tuple[WrapperSpec, Any]]:
        return [(spec, config) for spec, config in self.wrappers if training or not spec.training_only]

    def _guarded(self, spec: EnvSpec | WrapperSpec, build: Build, *args: Any) -> Any:
        function = resolve_build(build)
        try:
            return function(*args)
        except MazeError:
            raise
        except (Exception, SystemExit) as error:
            raise EnvFaultError(
                f"{spec.kind} {spec.name!r} raised {type(error).__name__} in its constructor: {error}"
            ) from error

    def vector(self, num_envs: int, training: bool = True, inner: AnyVectorEnv | None = None) -> AnyVectorEnv:
        """Builds `num_envs` copies: the env's own vector form where it and all wrappers have one.

        Args:
            num_envs: How many, B.
            training: False leaves out the wrappers that only shape what is learned from.
            inner: Steps the copies as `base` would; None for `base`.
        """
        wrappers = self._wrappers(training)
        env = self.base(num_envs, training) if inner is None else inner
        native = inner is None and not isinstance(env.unwrapped, InProcessVectorEnv)
        for spec, config in wrappers[0 if native else _n_scalar(wrappers) :]:  # what they learn is shared by all copies
            assert spec.build_vector is not None
            env = self._guarded(spec, spec.build_vector, env, config)
        return check_vector_env(env, self.spec.name) if native else env

    def base(self, num_envs: int, training: bool, first: int = 0, total: int | None = None) -> AnyVectorEnv:
        """Builds what steps the copies: their own vector form, or one after the other with all wrappers of scalar form.

        Args:
            num_envs: How many.
            training: False leaves out the wrappers that only shape what is learned from.
            first: Number of the first one, if they are a part of a larger vector env.
            total: How many envs that has.
        """
        wrappers = self._wrappers(training)
        if self.spec.build_vector is not None and all(spec.build_vector for spec, _ in wrappers):
            env = self._guarded(self.spec, self.spec.build_vector, self.config, num_envs)
            if env is not None:
                return env if self.announce is None else AnnouncedVectorEnv(env, self.announce)
        return self._one_by_one(wrappers, self.spec.build, num_envs, first, total)

    def rendering(self, num_envs: int) -> AnyVectorEnv:
        """Builds copies for evaluation whose `unwrapped.envs` can be rendered; they are stepped one after the other.

        Observations, rewards and ends of episodes are those of `vector`, bit for bit.

        Args:
            num_envs: How many, B.
        """
        build = self.spec.build_rendering or self.spec.build
        return self.vector(num_envs, False, self._one_by_one(self._wrappers(False), build, num_envs))

    def _one_by_one(
        self, wrappers: list[tuple[WrapperSpec, Any]], build: Build, num_envs: int,
        first: int = 0, total: int | None = None,
    ) -> InProcessVectorEnv:  # fmt: skip
        n_scalar = _n_scalar(wrappers)
        _refuse_separate_states(wrappers, n_scalar)
        return InProcessVectorEnv(
            lambda: self._scalar(wrappers[:n_scalar], build), num_envs, self._repeats, self.announce, first, total
        )


def _n_scalar(wrappers: list[tuple[WrapperSpec, Any]]) -> int:
    """How many of the first wrappers go around each copy: up to the last one that has a scalar form only."""
    return max((i for i, (spec, _) in enumerate(wrappers, 1) if spec.build_vector is None), default=0)


def _refuse_separate_states(wrappers: list[tuple[WrapperSpec, Any]], last_scalar: int) -> None:
    """A wrapper around each copy would learn for that copy alone."""
    inner = [spec for spec, _ in wrappers[:last_scalar]]
    shared = [spec.name for spec in inner if spec.shares_state]
    if shared:
        rest = [spec.name for spec in inner if not spec.shares_state]
        works = ",".join([*rest, *shared, *(spec.name for spec, _ in wrappers[last_scalar:])])
        raise UserError(
            f"wrapper {shared[0]} learns from all copies of the env together, so {inner[-1].name}, which wraps each "
            f"copy, cannot come after it. Use wrappers={works}."
        )


def refuse_counting_wrappers(env: gymnasium.Env[Any, Any], name: str) -> None:
    """Refuses wrappers of Gymnasium that would count each sub-step of a structured env as a step.

    Args:
        env: The env with its wrappers.
        name: What the error calls it.

    Raises:
        UserError: If there is one.
    """
    while isinstance(env, gymnasium.Wrapper):
        inner = env.env
        instead = next((text for kind, text in COUNTING_WRAPPERS.items() if isinstance(env, kind)), None)
        if instead and is_structured(inner.observation_space, inner.action_space):
            raise UserError(
                f"env {name!r} is structured, and Gymnasium's {type(env).__name__} around it counts sub-steps. "
                f"{instead}."
            )
        if (
            type(env).__module__.startswith("gymnasium.")
            and is_structured(inner.observation_space, inner.action_space)
            and not is_structured(env.observation_space, env.action_space)
        ):
            raise UserError(
                f"env {name!r} is structured, and Gymnasium's {type(env).__name__} around it hides who acts. "
                "Wrap the observations of each step key in the env itself."
            )
        env = inner
