"""Observations that are images: drawn, prepared, stacked, and learned from."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray
from support.envs import TwoStepEnv
from support.projects import write

from maze_core import RunContext
from maze_core.builtins.config import PixelPreparationConfig, RenderObservationConfig
from maze_core.builtins.wrappers.pixels import PixelPreparation, RenderObservation
from maze_core.errors import ConfigError, EnvFaultError, UserError

BYTES = (0, 255, np.uint8)


class ImageEnv(gymnasium.Env[Any, Any]):
    """Shows the same image at each step."""

    def __init__(self, image: NDArray[Any], low: float, high: float, dtype: Any) -> None:
        self.image = image.astype(dtype)
        self.observation_space = spaces.Box(low, high, image.shape, dtype)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return self.image, {}

    def step(self, action: Any) -> Any:
        return self.image, 1.0, False, False, {}


def prepared(image: NDArray[Any], bounds: tuple[float, float, Any] = BYTES, **options: Any) -> NDArray[Any]:
    """What is observed; the same after reset and step, and inside its space."""
    env = PixelPreparation(ImageEnv(image, *bounds), PixelPreparationConfig(**options))
    first, then = env.reset(seed=1)[0], env.step(0)[0]
    np.testing.assert_array_equal(first, then)
    assert env.observation_space.contains(first)
    assert isinstance(first, np.ndarray)
    return first


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# pixel_preparation


def test_colours_become_brightness() -> None:
    image = np.zeros((2, 2, 3))
    image[0, 0], image[0, 1], image[1, 0], image[1, 1] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    seen = prepared(image, height=None, width=None)
    assert seen.shape == (2, 2, 1)
    np.testing.assert_allclose(seen.ravel(), [0.299, 0.587, 0.114, 1.0], atol=1e-6)


def test_a_smaller_image_has_the_mean_of_each_area() -> None:
    image = noise(6, 8, 3)
    seen = prepared(image, grey=False, height=3, width=4)
    expected = image.reshape(3, 2, 4, 2, 3).mean(axis=(1, 3)) / 255
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_a_larger_image_repeats_pixels() -> None:
    image = noise(2, 3, 1)
    seen = prepared(image, height=4, width=6)
    np.testing.assert_allclose(seen, np.kron(image[:, :, 0], np.ones((2, 2)))[:, :, None] / 255, rtol=1e-6)


def test_without_scaling_bytes_stay_bytes_and_are_rounded() -> None:
    image = np.array([[[10], [11]], [[11], [11]]])
    seen = prepared(image, scale=False, height=1, width=1)
    assert (seen.dtype, seen.ravel().tolist()) == (np.uint8, [11])


@pytest.mark.parametrize(("scale", "expected"), [(True, [0.0, 0.75, 1.0]), (False, [-1.0, 0.5, 1.0])])
def test_scaling_takes_the_bounds_of_the_space(scale: bool, expected: list[float]) -> None:
    image = np.array([[-1.0, 0.5, 1.0]])
    seen = prepared(image, (-1.0, 1.0, np.float32), scale=scale, height=None, width=None)
    assert (seen.dtype, seen.shape, seen.ravel().tolist()) == (np.float32, (1, 3, 1), expected)


@pytest.mark.parametrize("grey", [True, False])
def test_channels_come_last_wherever_they_were(grey: bool) -> None:
    image = noise(8, 6, 3)
    first = prepared(image.transpose(2, 0, 1), grey=grey, height=4, width=3)
    np.testing.assert_array_equal(first, prepared(image, grey=grey, height=4, width=3))


@pytest.mark.parametrize("value", [0, 255])
def test_extreme_images_stay_inside_the_space(value: int) -> None:
    assert np.unique(prepared(np.full((96, 96, 3), value))).tolist() == [value / 255]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (4,)),
        spaces.Box(0, 255, (8, 8, 2), np.uint8),
        spaces.Box(0, 255, (4, 8, 8, 3), np.uint8),
        spaces.Discrete(3),
        spaces.Dict({"image": spaces.Box(0, 255, (8, 8, 3), np.uint8)}),
    ],
    ids=["vector", "two channels", "stack", "discrete", "dict"],
)
def test_what_is_no_single_image_is_refused(space: spaces.Space[Any]) -> None:
    env = ImageEnv(noise(8, 8, 3), *BYTES)
    env.observation_space = space  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"pixel_preparation prepares single images .*render_observation before it"):
        PixelPreparation(env, PixelPreparationConfig())


def test_a_structured_env_has_no_single_image() -> None:
    with pytest.raises(UserError, match=r"pixel_preparation .* are those of a structured env"):
        PixelPreparation(TwoStepEnv(), PixelPreparationConfig())


def test_pixels_without_bounds_cannot_be_scaled() -> None:
    with pytest.raises(UserError, match="pixel_preparation needs the bounds of pixel values"):
        prepared(noise(8, 8, 3), (-np.inf, np.inf, np.float32))


@pytest.mark.parametrize("field", ["height", "width"])
def test_an_image_has_at_least_one_pixel(field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}=0 is not allowed: it must be null or a whole number >= 1"):
        PixelPreparationConfig(**{field: 0})


# render_observation


class DrawingEnv(ImageEnv):
    """Draws how many steps were taken, and shows something else."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self) -> None:
        super().__init__(np.zeros(2), 0.0, 1.0, np.float32)
        self.steps, self.seeds = 0, list[int | None]()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.steps = 0
        self.seeds.append(seed)
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        self.steps += 1
        return super().step(action)

    def render(self) -> Any:
        return np.full((5, 7, 3), self.steps, np.uint8)


def test_the_frame_is_what_is_observed() -> None:
    env = RenderObservation(DrawingEnv(), RenderObservationConfig())
    assert env.observation_space == spaces.Box(0, 255, (5, 7, 3), np.uint8)
    seen = [env.reset(seed=5)[0], env.step(0)[0], env.step(0)[0]]
    assert [frame.mean() for frame in seen] == [0, 1, 2]
    assert env.unwrapped.seeds[-1] == 5  # type: ignore[attr-defined]


def test_an_env_that_does_not_render_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match=r"its render_mode is None\. Use env\.kwargs\.render_mode=rgb_array\."):
        RenderObservation(gymnasium.make("CartPole-v1"), RenderObservationConfig())


def test_what_is_no_frame_is_the_fault_of_the_env() -> None:
    env = DrawingEnv()
    env.render = lambda: None  # type: ignore[method-assign]
    with pytest.raises(EnvFaultError, match=r"render\(\) gave NoneType, and a frame is uint8 \(H, W, 3\)"):
        RenderObservation(env, RenderObservationConfig())


def test_parts_that_must_not_get_lost_are_kept_from_being_hidden() -> None:
    env = DrawingEnv()
    env.observation_space = spaces.Dict({"action_mask": spaces.MultiBinary(2)})  # type: ignore[assignment]
    with pytest.raises(UserError, match="would hide the action_mask"):
        RenderObservation(env, RenderObservationConfig())
    structured = TwoStepEnv()
    structured.render_mode = "rgb_array"
    with pytest.raises(UserError, match="would hide whose turn it is"):
        RenderObservation(structured, RenderObservationConfig())


# Training

BRIGHT_SIDE = '''
"""An env that shows images."""

from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium import spaces

from maze_core import EnvSpec, hookimpl


@dataclass(kw_only=True)
class BrightSideConfig:
    """Point to the bright side of an image."""


class BrightSide(gymnasium.Env):
    """Pays 1 for each step in which the action is the side, left or right, that is bright."""

    def __init__(self, config):
        self.observation_space = spaces.Box(0, 255, (16, 16, 3), np.uint8)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.image(), {}

    def step(self, action):
        self.steps += 1
        reward = float(action == self.side)
        return self.image(), reward, False, self.steps == 5, {}

    def image(self):
        self.side = int(self.np_random.integers(2))
        image = self.np_random.integers(0, 100, (16, 16, 3), dtype=np.uint8)
        image[:, 8 * self.side : 8 * self.side + 8] += 120
        return image


@hookimpl
def maze_envs():
    """An env that shows images."""
    yield EnvSpec(name="bright_side", summary="", config=BrightSideConfig, build=BrightSide)
'''
SMALL = {"pixel_obs": {"n_channels": [4], "kernel_sizes": [4], "strides": [4], "hidden_sizes": []}}
SIZE = {"wrappers.pixel_preparation.height": 8, "wrappers.pixel_preparation.width": 8}


def test_a_policy_learns_from_pixels(workdir: Any) -> None:
    write(workdir / "maze_plugins.py", BRIGHT_SIDE)
    overrides = {
        **SIZE, "wrappers.observation_stacking.n_observations": 2, "algorithm.n_rollouts_per_update": 20,
        "runner.n_epochs": 10, "runner.patience": None, "runner.stop_at_reward": 5.0,
    }  # fmt: skip
    with RunContext(
        env="bright_side", wrappers="pixel_obs", model=SMALL, callbacks=[], seed=1, overrides=overrides
    ) as rc:
        assert rc.env_factory().observation_space.shape == (2, 8, 8, 1)
        rc.train()
        assert rc.evaluate(20)["BaseEnvEvents/reward/mean"] > 4.5  # at random 2.5


@pytest.mark.usefixtures("workdir")
def test_a_rendered_cartpole_is_observed_as_a_stack_of_frames() -> None:
    env = {"gym_env": {"name": "CartPole-v1", "kwargs": {"render_mode": "rgb_array"}}}
    with RunContext(env=env, wrappers=["render_observation", "pixel_obs"], model="pixel_obs", callbacks=[]) as rc:
        frames = rc.env_factory().reset(seed=1)[0]
        assert (frames.shape, frames.dtype) == ((4, 84, 84, 1), np.float32)
        assert 0 <= frames.min() < frames.max() <= 1
        assert rc.compute_action(frames) in (0, 1)


@pytest.mark.long
@pytest.mark.usefixtures("workdir")
def test_car_racing_trains_from_pixels() -> None:
    overrides = {
        "wrappers.time_limit.max_env_steps": 30, "algorithm.n_rollouts_per_update": 4,
        "runner.n_epochs": 2, "runner.evaluation.n_episodes": 2,
    }  # fmt: skip
    with RunContext(
        env={"gym_env": {"name": "CarRacing-v3"}}, wrappers=["time_limit", "pixel_obs"], model="pixel_obs",
        callbacks=[], seed=1, overrides=overrides,
    ) as rc:  # fmt: skip
        before = rc.policy.models.state_dict()["substep_0.dense.layers.0.weight"].clone()
        rc.train()
        assert not before.equal(rc.policy.models.state_dict()["substep_0.dense.layers.0.weight"])
        env = rc.env_factory()
        assert env.action_space.contains(rc.compute_action(env.reset(seed=1)[0]))
        env.close()
