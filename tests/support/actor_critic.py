"""What tests of PPO and of A2C ask of a trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maze_core.rl import Samples
from maze_core.runs.evaluate import evaluate
from maze_core.stats import EpisodeTotals

CRITICS = ("shared", "per_sub_step", "shared_embedding", "none")


def weights(trainer: Any) -> NDArray[np.float32]:
    """A copy of all weights of policy and critic, [D]."""
    values: NDArray[np.float32] = trainer.kernel.parameters.values.detach().numpy().copy()
    return values


def own_weights(module: torch.nn.Module) -> NDArray[np.float32]:
    """A copy of the weights of a policy or of a critic, [D]."""
    return np.concatenate([parameter.detach().numpy().ravel() for parameter in module.parameters()])


def spread(trainer: Any, seed: int = 0) -> Any:
    """Gives a trainer weights that matter; new policies are nearly uniform. Returns the trainer."""
    values = trainer.kernel.parameters.values
    with torch.no_grad():
        values.add_(torch.from_numpy(np.random.default_rng(seed).normal(0, 0.5, len(values)).astype(np.float32)))
    return trainer


def watched(trainer: Any, look: Callable[[Sequence[Samples]], Any] = list) -> list[Any]:
    """A list that gets what `look` returns for every minibatch, from now on, before it is learned from."""
    found: list[Any] = []
    compute = trainer.kernel.gradients

    def gradients(samples: Sequence[Samples], loss: Any) -> None:
        found.append(look(samples))
        compute(samples, loss)

    trainer.kernel.gradients = gradients
    return found


def log_probs_now(trainer: Any, samples: Samples) -> NDArray[np.float32]:
    """How probable the actions are under the present weights, [n]."""
    key = samples.step_key
    outputs = trainer.kernel.outputs(key, samples.observation)
    heads = trainer.policy.actors.by_key[key].heads
    log_probs: NDArray[np.float32] = heads.evaluate(
        outputs, trainer.policy.log_std(key), samples.actions, samples.mask
    ).log_probs
    return log_probs


def train(trainer: Any, env_steps: int) -> Any:
    """Trains for so many env steps at least, and returns the trainer."""
    while trainer.env_steps < env_steps:
        trainer.step()
    return trainer


def final_return(trainer: Any, n_episodes: int = 20) -> float:
    """Mean return of the deterministic policy on episodes that it was not trained on."""
    job = trainer.job
    return evaluate(job.runner, job.streams, "final_eval", n_episodes, EpisodeTotals()).mean_reward


def softmax(logits: Any) -> NDArray[np.float64]:
    """Probabilities along the last axis."""
    exponentials = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """A state whose tensors are copies."""
    return {
        key: copied(value) if isinstance(value, dict) else value.clone() if torch.is_tensor(value) else value
        for key, value in state.items()
    }


def leaves(state: dict[str, Any], path: str = "") -> dict[str, Any]:
    """What a state holds, by path; tensors and arrays as lists."""
    found: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{path}{key}/")
        else:
            found[f"{path}{key}"] = value.tolist() if hasattr(value, "tolist") else value
    return found
