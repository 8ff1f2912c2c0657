"""Makes envs, wrapped as configured: one at a time, or many at once in the fastest form that fits."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import NormalizeReward, RecordEpisodeStatistics, TimeAwareObservation, TimeLimit

from maze_core.errors import EnvFaultError, MazeError, UserError
from maze_core.rl.actors import is_structured
from maze_core.rl.vector_env import AnyVectorEnv, InProcessVectorEnv, check_vector_env
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
    """

    def __init__(
        self, spec: EnvSpec, config: Any, wrappers: list[tuple[WrapperSpec, Any]], repeats: bool = False
    ) -> None:
        self.spec, self.config, self.wrappers, self._repeats = spec, config, wrappers, repeats

    def __call__(self, training: bool = True) -> gymnasium.Env[Any, Any]:
        """Builds one env.

        Args:
            training: False leaves out the wrappers that only shape what is learned from.

        Raises:
            EnvFaultError: If its constructor or that of a wrapper raises.
            UserError: If a Gymnasium wrapper would count the sub-steps of a structured env.
        """
        return self._scalar(self._wrappers(training))

    def _scalar(self, wrappers: list[tuple[WrapperSpec, Any]]) -> gymnasium.Env[Any, Any]:
        env = self._guarded(self.spec, self.spec.build, self.config)
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
        except Exception as error:
            raise EnvFaultError(
                f"{spec.kind} {spec.name!r} raised {type(error).__name__} in its constructor: {error}"
            ) from error

    def vector(self, num_envs: int, training: bool = True) -> AnyVectorEnv:
        """Builds `num_envs` copies: the env's own vector form where it and all wrappers have one."""
        wrappers = self._wrappers(training)
        if self.spec.build_vector is not None and all(spec.build_vector for spec, _ in wrappers):
            env = self._guarded(self.spec, self.spec.build_vector, self.config, num_envs)
            if env is not None:
                for spec, config in wrappers:
                    assert spec.build_vector is not None
                    env = self._guarded(spec, spec.build_vector, env, config)
                return check_vector_env(env, self.spec.name)
        last_scalar = max((i for i, (spec, _) in enumerate(wrappers, 1) if spec.build_vector is None), default=0)
        _refuse_separate_states(wrappers, last_scalar)
        built: AnyVectorEnv = InProcessVectorEnv(lambda: self._scalar(wrappers[:last_scalar]), num_envs, self._repeats)
        for spec, config in wrappers[last_scalar:]:  # what they learn is then shared by all copies
            assert spec.build_vector is not None
            built = self._guarded(spec, spec.build_vector, built, config)
        return built


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
