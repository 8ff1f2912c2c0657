"""What the kit finds of wrappers, and that it finds nothing where there is nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import Wrapper, spaces
from gymnasium.vector import VectorWrapper
from support.conformance import failures, options

from maze_core import UserError, WrapperSpec
from maze_core.testing import WrapperConformance


class Plain(Wrapper):
    """Changes nothing."""

    def __init__(self, env: Any, config: Any) -> None:
        super().__init__(env)


class VectorPlain(VectorWrapper):
    """Changes nothing, for many."""

    def __init__(self, env: Any, config: Any) -> None:
        super().__init__(env)


class LeavesSpace(Plain):
    """Shows what lies in no space."""

    def step(self, action: Any) -> Any:
        observation, *rest = self.env.step(action)
        return {**observation, "more": 1}, *rest


class CountsEpisodes(Plain):
    """Pays more in later episodes."""

    n = 0

    def reset(self, **arguments: Any) -> Any:
        self.n += 1
        return self.env.reset(**arguments)

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        return observation, reward + self.n, *rest


class Learns(CountsEpisodes):
    """The same, and says so."""

    def state_dict(self) -> dict[str, Any]:
        return {"n": self.n}

    def load_state_dict(self, state: Any) -> None:
        self.n = state["n"]


class Forgets(Learns):
    """Does not take its state over."""

    def load_state_dict(self, state: Any) -> None:
        pass


class OddState(Learns):
    """Has a state that cannot be saved."""

    def state_dict(self) -> dict[str, Any]:
        return {"n": {1}}


class OtherOrder(Plain):
    """Puts the actors into another order."""

    def __init__(self, env: Any, config: Any) -> None:
        super().__init__(env, config)
        space = env.observation_space
        self.observation_space = spaces.Dict([*space.spaces.items()][::-1])


class CutsSubSteps(Plain):
    """Counts sub-steps."""

    def reset(self, **arguments: Any) -> Any:
        self.n = 0
        return self.env.reset(**arguments)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.n += 1
        return observation, reward, terminated, truncated or (self.n >= 3 and not terminated), info


class ShowsLess(Plain):
    """Shows other values."""

    def step(self, action: Any) -> Any:
        observation, *rest = self.env.step(action)
        return {**observation, "values": observation["values"] / 2}, *rest


class VectorPaysMore(VectorPlain):
    """Pays otherwise than the scalar form."""

    def step(self, actions: Any) -> Any:
        observation, rewards, *rest = self.env.step(actions)
        return observation, rewards + 1, *rest


def refuses_all(env: Any, config: Any) -> Any:
    raise UserError("no env is good enough.")


def not_finite(config: Any, actors: Any) -> Any:
    return np.zeros(3)


def spec(build: Any = Plain, **fields: Any) -> WrapperSpec:
    return WrapperSpec(name="subject", summary="A wrapper.", config=options(), build=build, **fields)


FLAT, STRUCTURED = {"env": "toy_flat"}, {"env": "toy_structured"}


@pytest.mark.parametrize(
    ("subject", "attributes", "check", "words"),
    [
        (spec(LeavesSpace), FLAT, "test_what_comes_out_lies_in_its_spaces", "around env 'toy_flat': observation has"),
        (spec(refuses_all), {}, "test_what_comes_out_lies_in_its_spaces", "takes none of these envs"),
        (spec(refuses_all), FLAT, "test_what_comes_out_lies_in_its_spaces", "in env 'toy_flat': no env is good enough"),
        (spec(CountsEpisodes), FLAT, "test_a_seed_says_all", "a used one differs with seed 3: another reward"),
        (spec(OtherOrder), STRUCTURED, "test_structure_is_kept", "the actors are place, pick instead of pick, place"),
        (spec(CutsSubSteps), STRUCTURED, "test_env_steps_are_counted", "in the middle of an env step"),
        (spec(ShowsLess, changes_observation=False), FLAT, "test_does_what_its_spec_says", "changes_observation=False"),
        (spec(CutsSubSteps, training_only=True), FLAT, "test_does_what_its_spec_says", "training_only=True"),
        (spec(build_vector=VectorPaysMore), FLAT, "test_vector_form_is_like_the_scalar_one", "rewards"),
        (spec(Forgets), FLAT, "test_what_it_learns_can_be_saved", "the state of a used one shows another reward"),
        (spec(OddState), FLAT, "test_what_it_learns_can_be_saved", "has a set at 'n'"),
        (spec(not_finite, in_policy=True), {}, "test_acts_inside_the_policy", "returned a ndarray"),
    ],
    ids=lambda value: None,
)
def test_of_a_wrapper_it_finds(subject: WrapperSpec, attributes: dict[str, Any], check: str, words: str) -> None:
    assert words in failures(WrapperConformance, subject, only=check, **attributes).get(check, "nothing")


@pytest.mark.parametrize(
    "fields", [{"build_vector": VectorPlain, "changes_observation": False}, {"build": Learns}], ids=["plain", "learns"]
)
def test_a_wrapper_that_keeps_the_contract_passes(fields: dict[str, Any]) -> None:
    assert failures(WrapperConformance, spec(**fields)) == {}


def test_a_toy_that_it_is_not_made_for_is_to_be_refused() -> None:
    class NeedsVectors(Plain):
        """Halves vectors."""

        def step(self, action: Any) -> Any:
            observation, *rest = self.env.step(action)
            return observation / 2, *rest

    (message,) = failures(WrapperConformance, spec(NeedsVectors), only="test_env_steps_are_counted").values()
    assert message.splitlines() == [
        "wrapper 'subject': around env 'toy_flat': it raised TypeError: unsupported operand type(s) for /: 'dict' and "
        "'int'",
        "If it is not made for such envs, let its constructor raise UserError.",
    ]
