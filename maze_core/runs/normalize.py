"""Samples the statistics of observations before training starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maze_core.errors import EnvFaultError
from maze_core.protocols import Workspace
from maze_core.rl.actors import Turn
from maze_core.rl.episodes import run_episodes
from maze_core.rl.normalization import Moments, part_of
from maze_core.rl.policy import Policy, RandomPolicy
from maze_core.rl.streams import Streams

N_ENVS = 16
"""Envs in which the sampling policy acts."""


def sample_statistics(workspace: Workspace, streams: Streams, progress: Callable[[int, int], None]) -> int:
    """Lets random actions play until there are enough observations, and makes statistics of them.

    Args:
        workspace: Envs, and the policy whose normalisation gets the statistics.
        streams: Random streams of the run.
        progress: Is told env steps so far, and how many are wanted.

    Returns:
        Env steps that were taken; 0 if nothing had to be sampled.

    Raises:
        EnvFaultError: If an env fails, or an observation is not finite.
    """
    policy = workspace.kernel.policy
    normalization = policy.normalization
    if normalization is None or not normalization.wants_samples():
        return 0
    sampler = RandomPolicy(policy.actors, streams.generator("normalization"))
    seen: dict[tuple[str, str], Moments] = {}
    env_steps = rounds = 0
    while env_steps < normalization.n_samples:
        seeds = streams.episode_seeds("normalization", rounds * N_ENVS, N_ENVS)
        env = workspace.vector_env(N_ENVS, training=True)
        try:
            batch = run_episodes(env, policy.actors, sampler.act, seeds, lambda *turn: _collect(policy, seen, *turn))
        except EnvFaultError as error:
            raise EnvFaultError(f"while sampling for wrapper observation_normalization: {error}") from error
        env_steps, rounds = env_steps + int(batch.lengths.sum()), rounds + 1
        progress(min(env_steps, normalization.n_samples), normalization.n_samples)
    for (step_key, path), moments in seen.items():
        normalization.update(step_key, {path: moments})
    return env_steps


def _collect(
    policy: Policy, seen: dict[tuple[str, str], Moments], turn: Turn, actions: Any, live: NDArray[np.bool_]
) -> None:
    """Adds the observations of one turn; they are not kept, so that images do not fill the memory."""
    assert policy.normalization is not None
    encoded = policy.encoders[turn.step_key].encode(turn.observation, np.float64)
    for path, _ in policy.normalization.parts(turn.step_key):
        values = part_of(encoded, path)[live]
        if len(values):
            key, moments = (turn.step_key, path), Moments.of(values)
            seen[key] = seen[key].merged(moments) if key in seen else moments
