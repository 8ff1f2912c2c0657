"""Agents that come and go, and env steps of every length: they are learned, and masks are always kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import VectorWrapper
from maze_cutting_2d.config import Demand, GreedyConfig, MaskedCuttingConfig
from maze_cutting_2d.policies import GreedyPolicy
from maze_cutting_2d.vector_envs import VectorStructuredCutting
from maze_es.es import Members, evaluate_members
from numpy.typing import NDArray
from support.build import CPU, NoOptions, make_actor_critic_job, make_job, registry
from support.structured_envs import CARRY, CHOOSE, DIG, MineEnv, PorterEnv, best_actions

from maze_core import EnvSpec, RunContext
from maze_core.build import RunWorkspace
from maze_core.enums import NormalizationMethod
from maze_core.env_factory import EnvFactory
from maze_core.networks import build_policy
from maze_core.rl import (
    Actors,
    Collector,
    InProcessVectorEnv,
    ObservationNormalization,
    Policy,
    RandomPolicy,
    Streams,
    Turn,
    make_kernel,
    reset_envs,
    run_episodes,
    set_vector,
)
from maze_core.rl.spaces import repeat, unbatch
from maze_core.runs.evaluate import evaluate_slice
from maze_core.runs.normalize import sample_statistics
from maze_core.runs.threads import limited_threads

Play = Generator[None, None, None]
Env = type[PorterEnv] | type[MineEnv]
ENVS: dict[str, Env] = {"porters": PorterEnv, "mine": MineEnv}
EVERY_ENV = pytest.mark.parametrize("name", ENVS)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks are small here."""
    with limited_threads(True):
        yield


def actors_of(env: Any) -> Actors:
    return Actors(env.observation_space, env.action_space)


def returns_of(make_env: Env, act: Callable[[Turn], Any], n_episodes: int = 200) -> NDArray[np.float64]:
    """What a player gets in the episodes with the seeds from 0 on."""
    return run_episodes(InProcessVectorEnv(make_env, n_episodes), actors_of(make_env()), act, range(n_episodes)).returns


def random_player(make_env: Env) -> Callable[[Turn], Any]:
    return RandomPolicy(actors_of(make_env()), np.random.default_rng(0)).act


def env_steps_of(make_env: Env, act: Callable[[Turn], Any], seed: int) -> list[list[tuple[str, int]]]:
    """Who acts in an episode: for each env step the step keys and agents of its sub-steps."""
    env, steps, over = make_env(), [], False
    actors = actors_of(env)
    observation, _ = env.reset(seed=seed)
    while not over:
        (turn,) = actors.turns(repeat(observation, 1), None, np.ones(1, bool))
        if observation["new_step"]:
            steps.append([])
        steps[-1].append((turn.step_key, int(observation["agent"])))
        observation, _, terminated, truncated, _ = env.step({turn.step_key: unbatch(act(turn), 0)})
        over = terminated or truncated
    return steps


# The envs


@EVERY_ENV
@pytest.mark.filterwarnings("ignore")  # gymnasium's checker warns about the unusual form of the spaces
def test_gymnasium_accepts_the_env(name: str) -> None:
    check_env(ENVS[name](), skip_render_check=True)


@EVERY_ENV
def test_the_best_player_gets_the_best_return_in_every_episode(name: str) -> None:
    np.testing.assert_allclose(returns_of(ENVS[name], best_actions), ENVS[name].BEST_RETURN)


@EVERY_ENV
def test_random_play_is_far_below_the_best_return_and_never_above_it(name: str) -> None:
    returns = returns_of(ENVS[name], random_player(ENVS[name]))
    assert returns.mean() < ENVS[name].BEST_RETURN / 3
    assert returns.max() <= ENVS[name].BEST_RETURN


@EVERY_ENV
def test_every_env_step_begins_with_the_same_actor(name: str) -> None:
    act = random_player(ENVS[name])
    assert len({step[0][0] for seed in range(20) for step in env_steps_of(ENVS[name], act, seed)}) == 1


def test_porters_take_turns_one_joins_late_and_who_went_home_stays_there() -> None:
    for seed in range(20):
        there = [[agent for _, agent in step] for step in env_steps_of(PorterEnv, best_actions, seed)]
        assert all(agents == sorted(agents) for agents in there)
        assert [len(agents) for agents in there[:2]] == [2, 3]
        assert all(set(after) <= set(before) for before, after in pairwise(there[1:]))
        assert len(there[-1]) < 3


def test_a_porter_may_go_home_at_once_and_has_no_further_turn() -> None:
    def first_leaves(turn: Turn) -> Any:
        return np.where(turn.observation["porter"] == 0, PorterEnv.HOME, best_actions(turn))

    for seed in range(20):
        agents = [agent for step in env_steps_of(PorterEnv, first_leaves, seed) for _, agent in step]
        assert agents.count(0) == 1


def test_porters_that_never_go_home_are_cut_off() -> None:
    there = env_steps_of(PorterEnv, lambda turn: turn.observation["action_mask"].argmax(axis=1), seed=0)
    assert [len(agents) for agents in there] == [2] + [3] * (PorterEnv.MAX_STEPS - 1)


def test_env_steps_of_the_mine_have_one_to_four_sub_steps() -> None:
    steps = [step for seed in range(20) for step in env_steps_of(MineEnv, random_player(MineEnv), seed)]
    assert {len(step) for step in steps} == {1, 2, 3, 4}
    assert {key for step in steps for key, _ in step[1:]} == {DIG}


def test_the_mines_of_a_batch_are_in_different_sub_steps() -> None:
    env = InProcessVectorEnv(MineEnv, 8)
    observation = reset_envs(env, np.arange(8), range(8))
    observation = env.step({CHOOSE: np.zeros(8, np.int64), DIG: np.zeros(8, np.int64)})[0]
    assert [turn.step_key for turn in actors_of(MineEnv()).turns(observation, None, np.ones(8, bool))] == [CHOOSE, DIG]


# Learning


ENOUGH = 0.97
"""Share of the best return that shows that an env is understood: overlooking anything costs more.

The next test shows it of the cheapest mistakes. What is left are states that hardly ever occur.
"""


def confusing(porter: int, one: int, other: int) -> Callable[[Turn], Any]:
    """A player to whom one porter seems to like a shelf as it likes another."""
    likes = PorterEnv.LIKES.copy()
    likes[porter, [one, other]] = likes[porter, [other, one]]
    return lambda turn: best_actions(turn, likes)


def misled(turn: Turn) -> Any:
    """A player that takes the wrong shaft of the pair that differs least."""
    wrong = turn.step_key == CHOOSE and (turn.observation.min(axis=1) == 2)
    return np.where(wrong, 1 - best_actions(turn), best_actions(turn))


FLAWED: dict[str, tuple[Env, Callable[[Turn], Any]]] = {
    "the least liked shelves of porter 0": (PorterEnv, confusing(0, 1, 2)),
    "the least liked shelves of porter 1": (PorterEnv, confusing(1, 0, 1)),
    "the least liked shelves of porter 2": (PorterEnv, confusing(2, 0, 2)),
    "who it is": (PorterEnv, lambda turn: best_actions(turn, np.tile(PorterEnv.LIKES[2], (3, 1)))),
    "the least different shafts": (MineEnv, misled),
}
"""Players that get one thing wrong."""


@pytest.mark.parametrize("flaw", FLAWED)
def test_a_player_that_gets_one_thing_wrong_does_not_get_enough(flaw: str) -> None:
    make_env, act = FLAWED[flaw]
    assert returns_of(make_env, act).mean() < ENOUGH * make_env.BEST_RETURN


ALGORITHMS: dict[str, Mapping[str, Any]] = {
    "ppo": {"n_envs": 16, "n_rollout_steps": 16, "n_optimization_epochs": 8, "lr": 0.01, "gamma": 1.0,
            "entropy_coef": 0.01},
    "a2c": {"n_envs": 16, "n_rollout_steps": 8, "optimizer": "adam", "lr": 0.02, "gamma": 1.0, "entropy_coef": 0.01,
            "normalize_advantages": True, "epoch_length": 25},
    "es": {"n_rollouts_per_update": 100, "noise_stddev": 0.3, "lr": 0.15, "l2_penalty": 0.0, "epoch_length": 5},
}  # fmt: skip


def learned_return(name: str, algorithm: str, folder: Path, seed: int, critic: str = "shared") -> float:
    """What the deterministic policy gets after a run, on episodes that neither trained nor selected it."""
    with RunContext(
        env=name, algorithm={algorithm: ALGORITHMS[algorithm]}, critic=critic, callbacks=[], seed=seed,
        model={"flatten_concat": {"hidden_sizes": [] if algorithm == "es" else [16]}},
        runner={"local": {"n_epochs": 40, "patience": None, "stop_at_reward": 0.99 * ENVS[name].BEST_RETURN}},
        overrides={"runner.evaluation.n_episodes": 50}, plugins=["support.structured_envs"], local_plugins=False,
        run_dir=folder / "run",
    ) as run:  # fmt: skip
        run.train()
        return run.evaluate(100)["BaseEnvEvents/reward/mean"]


@pytest.mark.learning
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@EVERY_ENV
def test_every_algorithm_reaches_the_best_return(name: str, algorithm: str, seed: int, tmp_path: Path) -> None:
    assert learned_return(name, algorithm, tmp_path, seed) > ENOUGH * ENVS[name].BEST_RETURN


@pytest.mark.learning
@pytest.mark.parametrize("critic", ["per_sub_step", "shared_embedding"])
@EVERY_ENV
def test_ppo_reaches_the_best_return_with_every_other_critic(name: str, critic: str, tmp_path: Path) -> None:
    assert learned_return(name, "ppo", tmp_path, 0, critic) > ENOUGH * ENVS[name].BEST_RETURN


# Masks


@dataclass
class Counts:
    """What happened in a `CountingVectorEnv`: sub-steps, those with a mask, and those with a forbidden action."""

    sub_steps: int = 0
    masked: int = 0
    forbidden: int = 0


class CountingVectorEnv(VectorWrapper[Any, Any, Any]):
    """Holds each action of a structured env against the mask that was shown for it.

    Args:
        env: What is watched.
        counts: Where to count.
        blind: True shows masks that allow everything, and counts by the true ones.
    """

    def __init__(self, env: Any, counts: Counts, *, blind: bool = False) -> None:
        super().__init__(env)
        self._counts, self._blind = counts, blind
        self._live = np.zeros(env.num_envs, bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        observation, info = self.env.reset(seed=seed, options=options)
        self._live |= (options or {}).get("reset_mask", True)
        return self._shown(observation), info

    def step(self, actions: Any) -> Any:
        for index, (key, space) in enumerate(self.single_action_space.spaces.items()):
            rows = np.flatnonzero(self._live & (self._acting == index))
            self._counts.sub_steps += len(rows)
            if self._masks[key] is not None:
                self._counts.masked += len(rows)
                self._counts.forbidden += int(forbidden(space, self._masks[key], actions[key])[rows].sum())
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        self._live &= ~(terminated | truncated)
        return self._shown(observation), rewards, terminated, truncated, infos

    def _shown(self, observation: Any) -> Any:
        """Keeps a copy of whose turn it is and of all masks."""
        parts = {key: observation[key] for key in self.single_action_space.spaces}
        masks = {key: part.get("action_mask") if isinstance(part, dict) else None for key, part in parts.items()}
        self._acting, self._masks = observation["actor"].copy(), changed(masks, np.copy)
        if not self._blind:
            return observation
        open_masks = changed({key: mask for key, mask in masks.items() if mask is not None}, np.ones_like)
        return {**observation, **{key: {**parts[key], "action_mask": mask} for key, mask in open_masks.items()}}


def changed(tree: Any, function: Callable[[Any], Any]) -> Any:
    """The same tree with other leaves; None stays."""
    if isinstance(tree, dict):
        return {key: changed(part, function) for key, part in tree.items()}
    return None if tree is None else function(tree)


def forbidden(space: Any, mask: Any, action: Any) -> NDArray[np.bool_]:
    """Which actions of a batch their masks rule out, [B]; written for this test, so that it shares no code."""
    if isinstance(space, spaces.Dict):
        parts = [forbidden(sub, mask[key], action[key]) for key, sub in space.spaces.items()]
        return np.logical_or.reduce(parts)
    return np.asarray(mask[np.arange(len(action)), action - space.start] == 0)


WATCHED: dict[str, Callable[[int], Any]] = {
    "cutting": lambda n: VectorStructuredCutting(MaskedCuttingConfig(demand=Demand.random, max_steps=60), n),
    "porters": lambda n: InProcessVectorEnv(PorterEnv, n),
    "mine": lambda n: InProcessVectorEnv(MineEnv, n),
}


def watched(name: str, counts: Counts, *, blind: bool = False) -> EnvFactory:
    """Makes vector envs that count."""
    spec = EnvSpec(
        name=name, summary="", config=NoOptions, build="nowhere:nothing",
        build_vector=lambda _, n: CountingVectorEnv(WATCHED[name](n), counts, blind=blind),
    )  # fmt: skip
    return EnvFactory(spec, NoOptions(), [])


N_ENVS = 64


def wild(n: int, seed: int) -> NDArray[np.float32]:
    """Weights [n] so large that a network is nearly sure of itself, whatever a mask says."""
    return np.random.default_rng(seed).normal(0, 3, n).astype(np.float32)


def make_wild(policy: Policy, seed: int) -> None:
    """Gives a policy such weights."""
    set_vector(policy, torch.from_numpy(wild(policy.n_parameters, seed)))


def training(factory: EnvFactory) -> Play:
    """What PPO and A2C learn from."""
    job = make_actor_critic_job(factory)
    collector = Collector(job.make_vector_env(N_ENVS), job.kernel, job.streams)
    for seed in count():
        make_wild(job.kernel.policy, seed)
        collector.collect(32)
        yield


def evaluation(factory: EnvFactory, *, autograd: bool = False) -> Play:
    """The deterministic policy, with new weights each time."""
    job = make_job(factory, autograd=autograd)
    for seeds in blocks_of_seeds():
        make_wild(job.kernel.policy, seeds[0])
        job.runner.map(evaluate_slice, [seeds])
        yield


def population(factory: EnvFactory, *, autograd: bool = False) -> Play:
    """What ES compares."""
    job = make_job(factory, autograd=autograd)
    size = job.kernel.policy.n_parameters
    for seeds in blocks_of_seeds():
        members = wild(N_ENVS * size, seeds[0]).reshape(N_ENVS, size)
        job.runner.map(evaluate_members, [Members(members, seeds)])
        yield


def random_policy(factory: EnvFactory) -> Play:
    """Random actions."""
    return episodes(factory, lambda actors: RandomPolicy(actors, np.random.default_rng(0)))


def heuristic(factory: EnvFactory) -> Play:
    """The heuristic for cutting, which looks at sizes and not at masks."""
    return episodes(factory, lambda actors: GreedyPolicy(GreedyConfig(), actors))


def episodes(factory: EnvFactory, policy_of: Callable[[Actors], Any]) -> Play:
    """Whole episodes of a policy."""
    env = factory.vector(N_ENVS)
    actors = Actors(env.single_observation_space, env.single_action_space)
    policy = policy_of(actors)
    for seeds in blocks_of_seeds():
        run_episodes(env, actors, policy.act, seeds)
        yield


def normalization(factory: EnvFactory) -> Play:
    """What is sampled before training, for the statistics of observations."""
    env = factory.vector(1)
    actors = Actors(env.single_observation_space, env.single_action_space)
    for seed in count():
        statistics = ObservationNormalization(actors, NormalizationMethod.mean_std, 10.0, (), False, n_samples=2000)
        config = registry().get("model", "flatten_concat").config(hidden_sizes=[])
        policy = build_policy(registry(), config, actors, Streams(seed), CPU, statistics)
        sample_statistics(RunWorkspace(factory, make_kernel(policy, CPU)), Streams(seed), lambda n, wanted: None)
        yield


def compute_action(factory: EnvFactory) -> Play:
    """What a user asks for, one observation after the other."""
    env = factory.vector(1)
    actors = Actors(env.single_observation_space, env.single_action_space)
    name = {"cutting": "cutting_2d_struct_masked"}.get(factory.spec.name, factory.spec.name)
    with RunContext(env=name, plugins=["support.structured_envs"], local_plugins=False, callbacks=[], seed=0) as run:
        for seed in count():
            make_wild(run.policy, seed)
            observation, over = reset_envs(env, np.arange(1), [seed]), False
            while not over:
                (turn,) = actors.turns(observation, None, np.ones(1, bool))
                action = repeat(run.compute_action(unbatch(observation, 0)), 1)
                observation, _, terminated, truncated, _ = env.step(actors.env_actions(1, [(turn, action)]))
                over = terminated[0] or truncated[0]
            yield


def blocks_of_seeds() -> Iterator[range]:
    """Seeds for all envs, again and again."""
    return (range(first, first + N_ENVS) for first in count(step=N_ENVS))


OBEDIENT: dict[str, Callable[[EnvFactory], Play]] = {
    "training": training,
    "evaluation": evaluation,
    "evaluation with torch": partial(evaluation, autograd=True),
    "population": population,
    "population with torch": partial(population, autograd=True),
    "random policy": random_policy,
    "normalization": normalization,
    "compute_action": compute_action,
}
"""Everything that chooses actions by masks."""

PLAYS = [*((name, consumer) for name in WATCHED for consumer in OBEDIENT), ("cutting", "heuristic")]


def counted(name: str, consumer: str, n: int, *, blind: bool = False) -> Counts:
    """Lets something play for `n` sub-steps at least, a tenth if it takes one after the other; says what it did."""
    counts = Counts()
    going_on = {**OBEDIENT, "heuristic": heuristic}[consumer](watched(name, counts, blind=blind))
    while counts.sub_steps < (n // 10 if consumer == "compute_action" else n):
        next(going_on)
    going_on.close()
    return counts


@pytest.mark.parametrize(("name", "consumer"), PLAYS)
def test_no_forbidden_action_is_ever_taken(name: str, consumer: str) -> None:
    counts = counted(name, consumer, 20_000 if name == "cutting" else 5_000)
    assert (counts.forbidden, counts.masked > 0) == (0, True)


@pytest.mark.long
@pytest.mark.parametrize("consumer", [*OBEDIENT, "heuristic"])
def test_no_forbidden_action_is_taken_in_a_million_sub_steps(consumer: str) -> None:
    assert counted("cutting", consumer, 1_000_000).forbidden == 0


@pytest.mark.parametrize("consumer", OBEDIENT)
@pytest.mark.parametrize("name", WATCHED)
def test_without_its_masks_the_same_play_is_full_of_forbidden_actions(name: str, consumer: str) -> None:
    counts = counted(name, consumer, 4_000, blind=True)
    assert counts.forbidden > 0.05 * counts.masked


def test_the_counter_counts_a_forbidden_action_and_leaves_out_envs_that_are_idle() -> None:
    counts = Counts()
    env = CountingVectorEnv(InProcessVectorEnv(PorterEnv, 3), counts)
    masks = reset_envs(env, np.arange(2), [0, 2])[CARRY]["action_mask"]
    assert masks[0].min() == 0
    env.step({CARRY: np.array([masks[0].argmin(), masks[1].argmax(), masks[2].argmin()])})
    assert counts == Counts(sub_steps=2, masked=2, forbidden=1)


def test_an_action_is_forbidden_if_one_of_its_parts_is() -> None:
    space = spaces.Dict({"one": spaces.Discrete(2), "other": spaces.Discrete(3, start=5)})
    mask = {"one": np.array([[1, 0], [1, 0], [1, 1]]), "other": np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0]])}
    action = {"one": np.array([0, 1, 0]), "other": np.array([5, 6, 7])}
    assert forbidden(space, mask, action).tolist() == [False, True, True]
