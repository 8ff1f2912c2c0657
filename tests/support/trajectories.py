"""Recordings of small envs, and how they are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import gymnasium
import numpy as np
from maze_cutting_2d.config import FlatCuttingConfig, MaskedCuttingConfig
from maze_cutting_2d.envs import FlatCutting, StructuredCutting
from maze_cutting_2d.vector_envs import VectorFlatCutting, VectorStructuredCutting
from maze_gym_env.cartpole import SeededCartPoleVectorEnv
from support.envs import CountdownEnv, TwoStepEnv
from support.structured_envs import MineEnv, PorterEnv

from maze_core.rl import Actors, InProcessVectorEnv, RandomPolicy, reset_envs
from maze_core.rl.episodes import EPISODE_EVENTS, EpisodeEvents
from maze_core.rl.trajectories import RecordingVectorEnv, Trajectory

MAKERS: dict[str, tuple[Callable[[], Any], Callable[[int], Any] | None]] = {
    "pendulum": (lambda: gymnasium.make("Pendulum-v1", max_episode_steps=30), None),
    "cartpole": (lambda: gymnasium.make("CartPole-v1"), lambda n: SeededCartPoleVectorEnv(n, 500)),
    "countdown": (CountdownEnv, None),
    "flat cutting": (lambda: FlatCutting(FlatCuttingConfig()), lambda n: VectorFlatCutting(FlatCuttingConfig(), n)),
    "masked cutting": (
        lambda: StructuredCutting(MaskedCuttingConfig()), lambda n: VectorStructuredCutting(MaskedCuttingConfig(), n),
    ),
    "two steps": (lambda: TwoStepEnv(varied=True, uneven=True), None),
    "agents": (PorterEnv, None),
    "uneven": (MineEnv, None),
}  # fmt: skip
"""By name: one env, and its own vector form where it has one."""


def vector(name: str, native: bool, n_envs: int) -> Any:
    make, make_vector = MAKERS[name]
    return make_vector(n_envs) if native and make_vector else InProcessVectorEnv(make, n_envs)


def record(env: Any, seeds: Sequence[int], separate_agents: bool = False) -> list[Trajectory]:
    """Random episodes with these seeds, each begun where one ended; by seed."""
    recording, waiting, found = RecordingVectorEnv(env), list(seeds), {}
    actors = Actors(env.single_observation_space, env.single_action_space, separate_agents=separate_agents)
    policy, live = RandomPolicy(actors, np.random.default_rng(0)), np.zeros(env.num_envs, bool)
    begin = np.arange(min(env.num_envs, len(waiting)))
    while True:
        if len(begin):
            observation = reset_envs(recording, begin, [waiting.pop(0) for _ in begin])
            live[begin] = True
        if not live.any():
            return [found[seed] for seed in seeds]
        decisions = [(turn, policy.act(turn)) for turn in actors.turns(observation, np.flatnonzero(live), live)]
        observation, _, terminated, truncated, _ = recording.step(actors.env_actions(env.num_envs, decisions))
        ended = np.flatnonzero(terminated | truncated)
        found |= {recording.finished[row].seed: recording.finished[row] for row in ended.tolist()}
        live[ended] = False
        begin = ended[: len(waiting)]


def assert_same(one: Any, other: Any) -> None:
    """Equal in all bits, types and shapes, and order."""
    assert type(one) is type(other), (one, other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif isinstance(one, Trajectory):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    else:
        assert one == other or (one != one and other != other)


class Odd:
    def __repr__(self) -> str:
        return "odd" * 1000


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class TellingEnv(CountdownEnv):
    """Three steps; tells something else in each."""

    LAST: Any = EpisodeEvents({"Group/a/mean_episode_total": 1.5, "Group/b:x y/histogram": np.array([1, 2])})

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        observation, _ = super().reset(seed=seed)
        self.length, self.shared = 3, ["first"]
        return observation, {"hello": "world"} if seed == 0 else {}

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, _ = super().step(action)
        self.shared[0] = f"step {self.steps}"
        infos: list[dict[str, Any]] = [
            {"count": 7, "lives": np.float32(0.1), "ok": True, "shared": self.shared, "nothing": None,
             "nested": {"inner": np.array([1.5, math.nan]), "$float": "nan", "deep": {"x": math.inf}}},
            {},
            {"odd": Odd(), "silent": Silent(), "raw": b"x", "both": (1, {2: "z"}), EPISODE_EVENTS: self.LAST},
        ]  # fmt: skip
        return observation, reward, terminated, truncated, infos[self.steps - 1]


def told(seeds: Sequence[int] = (0, 1)) -> list[Trajectory]:
    return record(InProcessVectorEnv(TellingEnv, len(seeds)), seeds)
