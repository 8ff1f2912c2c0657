"""One run of the cutting benchmark, in this process; `KINDS` says which function runs which kind of case."""

import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import Run
from cutting_2d_cases import (
    N_EVAL_EPISODES,
    N_FINAL_EPISODES,
    N_ORDERS,
    N_ORDERS_AT_ONCE,
    N_SPEED_ENVS,
    N_SPEED_EPISODES,
    OPTIMUM,
    Case,
)
from throughput import jobs_of, run_ours
from throughput_works import Work

MEAN_RETURN = "BaseEnvEvents/reward/mean"

Curve = list[tuple[int, float]]
"""Env steps of training, mean episode return."""


@contextmanager
def one_thread(case: Case, **arguments: Any) -> Iterator[Any]:
    """Give a `RunContext` of a case whose run directory does not outlive it."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, case.context(run_dir=f"{folder}/run", **arguments) as rc:
        yield rc


def mean_return(rc: Any, n_episodes: int) -> float:
    """Return the mean return of the deterministic policy."""
    return round(float(rc.evaluate(n_episodes)[MEAN_RETURN]), 3)


def curve(run_dir: Path, stage: str) -> Curve:
    """Return the mean return of each epoch that has one, from the statistics in the run directory.

    Args:
        run_dir: A run directory.
        stage: `eval`, or `train` for the episodes that ended while training.
    """
    rows = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [
        (row["env_steps"], round(row["values"][MEAN_RETURN], 3))
        for row in rows
        if row["stage"] == stage and MEAN_RETURN in row["values"]
    ]


def trained(rc: Any) -> Run:
    """Train, and return what every trained run tells."""
    rc.train()
    return {
        "env_steps": rc.trainer.env_steps,
        "train_s": round(rc.training_seconds, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def train_level(case: Case, seed: int) -> Run:
    """Train until the optimum is reached; `reached` is after how many env steps, or None."""
    with one_thread(case, seed=seed) as rc:
        untrained = mean_return(rc, N_EVAL_EPISODES)
        figures = trained(rc)
        evaluations = curve(rc.run_dir, "eval")
        reached = next((env_steps for env_steps, value in evaluations if value >= OPTIMUM), None)
        final = mean_return(rc, N_FINAL_EPISODES)
        curves = {"evaluations": evaluations, "training": curve(rc.run_dir, "train")}
        return figures | {"reached": reached, "untrained": untrained, "final": final} | curves


def train_form(case: Case, seed: int) -> Run:
    """Train the whole budget, and return both learning curves; the evaluations begin with the untrained policy's."""
    with one_thread(case, seed=seed) as rc:
        untrained = (0, mean_return(rc, N_EVAL_EPISODES))
        figures = trained(rc)
        evaluations = [untrained, *curve(rc.run_dir, "eval")]
        return figures | {"evaluations": evaluations, "training": curve(rc.run_dir, "train")}


def play(rc: Any, actors: Any, act: Any) -> Run:
    """Return the return of each episode; episode i has seed i, whoever plays it."""
    from maze_core.rl import EpisodeBatch, run_episodes

    env, seeds = rc.env_factory.vector(N_ORDERS_AT_ONCE, training=False), range(N_ORDERS)
    firsts = range(0, N_ORDERS, N_ORDERS_AT_ONCE)
    played = EpisodeBatch.joined(
        [run_episodes(env, actors, act, seeds[first : first + N_ORDERS_AT_ONCE]) for first in firsts]
    )
    return {"returns": [int(value) for value in played.returns]}


def train_large(case: Case, seed: int) -> Run:
    """Train, and play the episodes with the best policy."""
    with one_thread(case, seed=seed) as rc:
        figures = trained(rc)
        return figures | play(rc, rc.policy.actors, rc.trainer.kernel.act)


def play_heuristic(case: Case, seed: int) -> Run:
    """Play the episodes without training; sizes are not scaled, so that no comparison of them is rounded."""
    from maze_cutting_2d.config import Cut, GreedyConfig
    from maze_cutting_2d.policies import GreedyPolicy

    from maze_core.rl import RandomPolicy, Streams

    with one_thread(case, seed=seed) as rc:
        actors = rc.policy.actors
        if case.key == "random":
            act = RandomPolicy(actors, Streams(seed).generator("cutting_2d")).act
        else:
            act = GreedyPolicy(GreedyConfig(cut=Cut(case.key.removeprefix("greedy-"))), actors).act
        return {"env_steps": 0} | play(rc, actors, act)


def valid_actions(world: Any, generator: np.random.Generator) -> Run:
    """Draw a piece that the order fits for each env, how to rotate it so that it does, and any order of cuts."""
    rows = np.arange(world.num_envs)
    piece_idx = np.where(world.fitting, generator.random(world.fitting.shape, np.float32), -1).argmax(axis=1)
    pieces, orders = world.pieces(rows, piece_idx), world.order
    fits = np.stack([(orders <= pieces).all(axis=1), (orders[:, ::-1] <= pieces).all(axis=1)], axis=1)
    rotation = np.where(fits, generator.random(fits.shape), -1).argmax(axis=1)
    return {"piece_idx": piece_idx, "cut_rotation": rotation, "cut_order": generator.integers(2, size=len(rows))}


def step_env(case: Case, seed: int) -> Run:
    """Step the vector env alone through whole episodes with random valid actions, resets included."""
    from maze_core.rl import FLAT, Actors, reset_envs
    from maze_core.rl.episodes import EPISODE_EVENTS

    with one_thread(case, seed=seed) as rc:
        env = rc.env_factory.vector(N_SPEED_ENVS)
        max_steps = rc.env_factory.config.max_steps
    keys = Actors(env.single_observation_space, env.single_action_space).step_keys
    generator, rows = np.random.default_rng(seed), np.arange(N_SPEED_ENVS)
    drawing = stepping = 0.0
    for episode in range(N_SPEED_EPISODES + 1):
        if episode == 1:
            drawing = stepping = 0.0
        start = time.perf_counter()
        reset_envs(env, rows, [seed + episode * N_SPEED_ENVS + int(row) for row in rows])
        stepping += time.perf_counter() - start
        for _ in range(max_steps):
            start = time.perf_counter()
            actions = valid_actions(env.unwrapped.world, generator)
            drawn = time.perf_counter()
            if keys == (FLAT,):
                info = env.step(actions)[4]
            else:
                sub_steps = {"select_piece": {"piece_idx": actions.pop("piece_idx")}, "cut_piece": actions}
                env.step(sub_steps)
                info = env.step(sub_steps)[4]
            drawing, stepping = drawing + drawn - start, stepping + time.perf_counter() - drawn
        assert all(of.values["CuttingEvents/valid_cut/mean_episode_total"] == max_steps for of in info[EPISODE_EVENTS])
    return {"env_steps": N_SPEED_EPISODES * max_steps * N_SPEED_ENVS, "step_s": stepping, "draw_s": drawing}


def train_fast(case: Case, seed: int) -> Run:
    """Train from end to end, as in `throughput.py`."""
    chosen = "dense"  # of `throughput.py`: the kernel that Maze chooses by itself
    work = Work(
        key=case.key, title=case.key, overrides=case.overrides, experiment=case.experiment, contenders=(chosen,)
    )
    return run_ours(jobs_of(work)[chosen] | {"seed": seed})


KINDS: dict[str, Callable[[Case, int], Run]] = {
    "level": train_level,
    "form": train_form,
    "large": train_large,
    "heuristic": play_heuristic,
    "env": step_env,
    "training": train_fast,
}
