"""What the kit finds of envs, and that it finds nothing where there is nothing."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from support.conformance import failures, options, plugin_with

from maze_core import EnvSpec, MissingPackageError
from maze_core.rl import InProcessVectorEnv
from maze_core.testing import EnvConformance
from maze_core.testing.checks import run_checks
from maze_core.testing.toy_envs import FlatToy, ImagesToy


class GlobalRandomness(FlatToy):
    """Draws from NumPy's global generator."""

    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return observation, float(np.random.random()), *rest


class Remembers(FlatToy):
    """Counts on from one episode to the next."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.count = 0

    def step(self, action: Any) -> Any:
        self.count += 1
        observation, reward, *rest = super().step(action)
        return observation, reward + (self.count > 150), *rest


class OldLimit(FlatToy):
    """Says terminated where a time limit cut it off."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated or truncated, False, {**info, "TimeLimit.truncated": truncated}


class Writes(FlatToy):
    """Writes into what it returned."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.values = np.zeros(4, np.float32)

    def seen(self) -> Any:
        self.values[:] = self.shelf.values
        return {**super().seen(), "values": self.values}


class OutOfBounds(FlatToy):
    """Leaves its space."""

    def seen(self) -> Any:
        return {**super().seen(), "values": 3 * self.shelf.values}


class KeepsThread(FlatToy):
    """Leaves a thread."""

    ended = threading.Event()

    def reset(self, **arguments: Any) -> Any:
        self.ended.clear()
        threading.Thread(target=self.ended.wait, args=(60,), daemon=True, name="left").start()
        return super().reset(**arguments)


class ClosesOnce(FlatToy):
    """Cannot be closed twice."""

    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class VectorToys(InProcessVectorEnv):
    """A vector form of scalar envs, which a test breaks."""

    def __init__(self, config: Any, num_envs: int) -> None:
        super().__init__(lambda: FlatToy(config), num_envs)


class ResetsAll(VectorToys):
    """Ignores reset_mask."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)


class PaysIdle(VectorToys):
    """Pays envs that idle."""

    def step(self, actions: Any) -> Any:
        idle = self._idle.copy()
        observation, rewards, *rest = super().step(actions)
        return observation, rewards + idle, *rest


class OtherType(VectorToys):
    """Shows float64."""

    def step(self, actions: Any) -> Any:
        observation, *rest = super().step(actions)
        return {**observation, "values": observation["values"].astype(np.float64)}, *rest


class ResetsItself(VectorEnv[Any, Any, Any]):
    """Has another autoreset mode."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, config: Any, num_envs: int) -> None:
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = FlatToy.observation_space, FlatToy.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)


class SharesState(VectorToys):
    """Returns the arrays that it goes on with as its state."""

    count = 0

    def get_state(self) -> Any:
        return {"observation": self._observations}

    def set_state(self, state: Any) -> Any:
        return state["observation"], np.ones(self.num_envs, bool)


class OtherWhenRendered(ImagesToy):
    """Plays another episode when it is rendered."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=None if seed is None else seed + 1)


class RendersNothing(ImagesToy):
    """Renders what is no image."""

    def render(self) -> Any:
        return np.zeros((4, 4))


def spec(build: Any = FlatToy, **fields: Any) -> EnvSpec:
    return EnvSpec(name="subject", summary="A toy.", config=options(), build=build, **fields)


@pytest.mark.parametrize(
    ("subject", "check", "words"),
    [
        (spec(OutOfBounds), "test_keeps_the_contract", "observation.values does not lie in its space"),
        (spec(GlobalRandomness), "test_a_seed_says_all", "two fresh envs differ: another reward"),
        (spec(Remembers), "test_a_used_env_is_like_a_fresh_one", "with seed 3 a used env gave another reward"),
        (spec(OldLimit), "test_episodes_end_and_say_how", "a time limit cut off says terminated; return truncated"),
        (spec(Writes), "test_observations_stay_as_they_were", "was changed after it was returned"),
        (spec(KeepsThread), "test_close_leaves_nothing", "there is still thread left"),
        (spec(ClosesOnce), "test_close_leaves_nothing", "close() a second time raised RuntimeError"),
        (spec(build_vector=ResetsAll), "test_vector_form_is_like_the_scalar_one", "is not like 3 scalar envs, in tick"),
        (spec(build_vector=PaysIdle), "test_vector_form_is_like_the_scalar_one", "which idles"),
        (spec(build_vector=OtherType), "test_vector_form_is_like_the_scalar_one", "float64 instead of float32"),
        (spec(build_vector=ResetsItself), "test_vector_form_is_like_the_scalar_one", "resets by itself"),
        (spec(build_vector=SharesState), "test_vector_form_keeps_its_state", "Copy all arrays of a state"),
        (spec(ImagesToy, build_rendering=OtherWhenRendered), "test_rendered_form_plays_the_same", "another episode"),
        (spec(ImagesToy, build_rendering=RendersNothing), "test_rendered_form_plays_the_same", "render() gave float64"),
    ],
    ids=lambda value: None,
)
def test_of_an_env_it_finds(subject: EnvSpec, check: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maze_core.testing.leftovers.PATIENCE_S", 0.05)
    found = failures(EnvConformance, subject, only=check)
    KeepsThread.ended.set()
    assert words in found.get(check, "nothing")


@pytest.mark.parametrize(
    "fields", [{}, {"build_vector": VectorToys}, {"build_rendering": ImagesToy, "build": ImagesToy}]
)
def test_an_env_that_keeps_the_contract_passes(fields: dict[str, Any]) -> None:
    assert failures(EnvConformance, spec(**fields)) == {}


def test_what_is_no_failure_is_noted() -> None:
    class Endless(FlatToy):
        """Shows the same for ever."""

        def step(self, action: Any) -> Any:
            observation, reward, _, _, info = super().step(action)
            return observation, reward, False, False, info

    subject = EnvConformance()
    subject.name, subject.fresh = "subject", lambda: Endless(None)  # type: ignore[method-assign]
    subject.test_episodes_end_and_say_how()
    assert subject.notes == ["no episode ended within 200 env steps; wrappers=time_limit ends them"]


def test_an_env_whose_package_is_not_installed_fails_nothing_and_is_noted() -> None:
    def build(_: Any) -> Any:
        raise MissingPackageError("env subject needs a package.\nNext: pip install it")

    with plugin_with(spec(build=build)) as plugin:
        own = {"name": "subject", "plugins": (plugin,), "test_imports_are_light": lambda _: None}
        *_, last = run_checks(type("Subject", (EnvConformance,), own))
    assert last.problems == []
    assert last.notes == ["env subject needs a package.\nNext: pip install it"]
    assert 0 < last.n_skipped < last.n_checks


class TestToyFlat(EnvConformance):
    name = "toy_flat"


class TestToyStructured(EnvConformance):
    name = "toy_structured"


class TestToyVector(EnvConformance):
    name = "toy_vector"


class TestToyImages(EnvConformance):
    name = "toy_images"
    n_env_steps = 50
