"""Envs that can be rendered give the numbers of the fast form, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from support.build import NoOptions, registry

from maze_core.animations import frame_of
from maze_core.env_factory import EnvFactory
from maze_core.errors import EnvFaultError, UserError
from maze_core.rl import InProcessVectorEnv
from maze_core.rl.spaces import copied
from maze_core.rl.vector_env import AnyVectorEnv
from maze_core.specs import EnvSpec, WrapperSpec

Wrappers = list[tuple[str, dict[str, Any]]]

LIMIT = ("time_limit", {"max_env_steps": 11})
STACKING = ("observation_stacking", {"n_observations": 3})
REPEAT = ("action_repeat", {"n_repeats": 3})
SCALING = ("reward_scaling", {"scale": 2.0})
SIZES = ("cutting_2d", {})

CUTTING = ("cutting_2d_flat", "cutting_2d_struct", "cutting_2d_struct_masked")


def factory_of(env: str, wrappers: Wrappers, **options: Any) -> EnvFactory:
    spec = registry().get("env", env)
    assert isinstance(spec, EnvSpec)
    chosen = [(registry().get("wrapper", name), values) for name, values in wrappers]
    return EnvFactory(spec, spec.config(**options), [(each, each.config(**values)) for each, values in chosen])


def play(env: AnyVectorEnv, n_steps: int = 120) -> Iterator[Any]:
    """Random play; envs whose episode ended are reset with the next seeds."""
    env.action_space.seed(0)
    idle, seed = np.ones(env.num_envs, bool), 0
    for _ in range(n_steps):
        if idle.any():
            seeds = [seed + row for row in range(env.num_envs)]
            yield copied(env.reset(seed=seeds, options={"reset_mask": idle})[0])
            seed += env.num_envs
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        yield copied((observation, reward, terminated, truncated))
        idle = terminated | truncated


def leaves(value: Any) -> list[np.ndarray]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    if isinstance(value, tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [np.asarray(value)]


def bits(env: AnyVectorEnv) -> list[tuple[str, bytes]]:
    return [(str(leaf.dtype), leaf.tobytes()) for seen in play(env) for leaf in leaves(seen)]


@pytest.mark.parametrize(
    ("env", "wrappers", "options"),
    [
        ("gym_env", [], {}),
        ("gym_env", [LIMIT, STACKING], {}),
        ("gym_env", [REPEAT, SCALING], {}),
        ("gym_env", [LIMIT], {"name": "MountainCar-v0"}),
        *((name, [], {"max_steps": 20, "max_pieces_in_inventory": 4}) for name in CUTTING),
        *((name, [SIZES, LIMIT], {"max_pieces_in_inventory": 4}) for name in CUTTING),
    ],
)
def test_what_is_rendered_is_what_the_fast_form_would_do(env: str, wrappers: Wrappers, options: dict[str, Any]) -> None:
    factory = factory_of(env, wrappers, **options)
    fast, rendering = factory.vector(3, training=False), factory.rendering(3)
    assert isinstance(rendering.unwrapped, InProcessVectorEnv)
    assert isinstance(fast.unwrapped, InProcessVectorEnv) == (options.get("name") == "MountainCar-v0")
    assert fast.single_observation_space == rendering.single_observation_space
    assert bits(fast) == bits(rendering)


@pytest.mark.parametrize(
    ("env", "options", "shape"),
    [
        ("gym_env", {}, (400, 600, 3)),
        *((name, {"max_pieces_in_inventory": 4}, (480, 640, 3)) for name in CUTTING),
    ],
)
def test_every_copy_shows_its_own_episode(env: str, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    rendering = factory_of(env, [LIMIT], **options).rendering(2)
    rendering.reset(seed=[0, 1])
    images = [frame_of(copy, env) for copy in rendering.unwrapped.envs]
    assert [image.shape for image in images] == [shape, shape]
    rendering.action_space.seed(0)
    for _ in range(20):
        rendering.step(rendering.action_space.sample())
    after = [frame_of(copy, env) for copy in rendering.unwrapped.envs]
    assert all((a != b).any() for a, b in zip(images, after, strict=True))
    assert (after[0] != after[1]).any()
    rendering.close()


class Plain(gymnasium.Env[Any, Any]):
    """An env that remembers how it was built."""

    observation_space, action_space = spaces.Box(0, 9, (1,)), spaces.Discrete(2)

    def __init__(self, built: str = "plain") -> None:
        self.built = built

    def reset(self, **_: Any) -> Any:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), 1.0, False, False, {}

    def render(self) -> Any:
        return self.built


class Around(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper that has a scalar form only."""


def around(name: str, **options: Any) -> tuple[WrapperSpec, Any]:
    return WrapperSpec(name=name, summary="", config=NoOptions, build=lambda env, _: Around(env), **options), None


def plain(wrappers: list[tuple[WrapperSpec, Any]], **options: Any) -> EnvFactory:
    spec = EnvSpec(name="plain", summary="", config=NoOptions, build=lambda _: Plain(), **options)
    return EnvFactory(spec, None, wrappers)


def test_an_env_without_a_form_to_be_rendered_is_built_as_always() -> None:
    assert frame_of(plain([]).rendering(1).unwrapped.envs[0], "plain") == "plain"


def test_an_env_is_built_in_the_form_to_be_rendered_if_it_has_one() -> None:
    factory = plain([], build_rendering=lambda _: Plain("rendered"), build_vector=lambda _, n: pytest.fail("fast form"))
    assert [frame_of(env, "plain") for env in factory.rendering(2).unwrapped.envs] == ["rendered", "rendered"]
    assert factory().built == "plain"


def test_scalar_wrappers_go_around_each_copy_and_those_of_training_are_left_out() -> None:
    (env,) = plain([around("one"), around("shaping", training_only=True)]).rendering(1).unwrapped.envs
    assert isinstance(env, Around)
    assert isinstance(env.env, Plain)


def test_what_would_learn_for_one_copy_alone_is_refused() -> None:
    with pytest.raises(UserError, match="wrapper learning learns from all copies of the env together"):
        plain([around("learning", shares_state=True), around("last")]).rendering(2)


def test_calls_of_envs_to_be_rendered_are_announced() -> None:
    told: list[tuple[int, int | None, int]] = []
    factory = plain([])
    factory.announce = lambda *call: told.append(call)
    factory.rendering(1).reset(seed=[5])
    assert told == [(0, None, -1), (0, 5, 0)]


def test_an_env_that_cannot_be_built_in_that_form_is_named() -> None:
    def broken(_: Any) -> Any:
        raise OSError("no display")

    with pytest.raises(EnvFaultError, match="env 'plain' raised OSError in its constructor: no display"):
        plain([], build_rendering=broken).rendering(1)
