"""In which envs something is checked: the one that is named, or the toys that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from maze_core.env_factory import EnvFactory
from maze_core.errors import MazeError
from maze_core.rl.actors import Actors
from maze_core.testing import toys
from maze_core.testing.configurations import composed, config_at
from maze_core.testing.conformance import Conformance

Made = TypeVar("Made")


class InEnvs(Conformance):
    """Base of the checks of what works in some envs, and may refuse others."""

    def env_factories(self, names: Sequence[str]) -> Iterator[tuple[str, EnvFactory]]:
        """What makes these envs, each with its name."""
        for name in names:
            spec: Any = self.registry.get("env", name)
            yield name, EnvFactory(spec, spec.config(), [])

    def tried(self, make: Callable[[EnvFactory], Made]) -> list[tuple[str, Made]]:
        """What can be made, by name of the env that it is made for: `env`, or the first of these that it takes.

        That is toys that show numbers, the toy that shows images, the envs of its own plugin, or those of others.

        Args:
            make: Makes it, or raises if it is not meant for such an env.
        """
        if self.env is not None:
            return self._in_named_env(make)
        refused: dict[str, str] = {}
        for names in ((toys.FLAT, toys.STRUCTURED, toys.VECTOR), (toys.IMAGES,), *self._other_envs()):
            made = []
            for name, factory in self.env_factories(names):
                try:
                    made.append((name, make(factory)))
                except Exception as error:  # it may be made for other observations
                    refused[name] = self._reason(error).splitlines()[0]
            if made:
                return made
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in refused.items())
        return self.fail(f"it takes none of these envs; name one that it is made for with env = ...:\n{reasons}")

    def _in_named_env(self, make: Callable[[EnvFactory], Made]) -> list[tuple[str, Made]]:
        name, factory = self._named_env()
        try:
            return [(name, make(factory))]
        except Exception as error:
            self.fail(f"in env {name!r}: {self._reason(error)}")

    def _reason(self, error: Exception) -> str:
        """Why something cannot be made."""
        if isinstance(error, (MazeError, AssertionError)):
            return str(error).removeprefix(f"{self.label}: ")
        return f"it raised {type(error).__name__}: {error}"

    def _named_env(self) -> tuple[str, EnvFactory]:
        with self.telling("env"):
            name = self.env if isinstance(self.env, str) else next(iter(self.env))
            spec: Any = self.registry.get("env", name)
            fields = {} if isinstance(self.env, str) else self.env[name]
            configured = composed(self.registry, {"env": name}, {f"env.{key}": value for key, value in fields.items()})
            return name, EnvFactory(spec, config_at(configured, spec), [])

    def _other_envs(self) -> tuple[list[str], list[str]]:
        """The envs that its own plugin brings, and those of others."""
        own: list[str] = []
        others: list[str] = []
        plugin = self.registry.owner(self.spec)
        for spec in self.registry.specs("env"):
            owner = self.registry.owner(spec)
            if owner.name != toys.PLUGIN:
                (own if owner is plugin else others).append(spec.name)
        return own, others


def actors_of(factory: EnvFactory) -> Actors:
    """The actors of an env."""
    env = factory()
    actors = Actors(env.observation_space, env.action_space)
    env.close()
    return actors
