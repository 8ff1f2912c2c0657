"""A run that starts from the weights of another: what is taken, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from maze_core.api import RunContext
from maze_core.errors import NothingUsableError, UserError

pytestmark = pytest.mark.usefixtures("workdir")

SIZES: dict[str, dict[str, Any]] = {
    "es": {"algorithm.n_rollouts_per_update": 4},
    "ppo": {"algorithm.n_envs": 2, "algorithm.n_rollout_steps": 8, "algorithm.batch_size": 16},
    "a2c": {"algorithm.n_envs": 2, "algorithm.n_rollout_steps": 4, "algorithm.epoch_length": 2},
}
CRITIC = {"es": 0, "ppo": 6, "a2c": 6}
"""Tensors of weights that only an actor-critic algorithm has."""


def make(algorithm: str, seed: int = 1, **options: Any) -> RunContext:
    overrides = {
        "runner.n_epochs": 1, "runner.evaluation.n_episodes": 2, "env.name": "CartPole-v1", **SIZES[algorithm]
    }  # fmt: skip
    overrides |= options.pop("overrides", {})
    return RunContext(env="gym_env", algorithm=algorithm, seed=seed, overrides=overrides, silent=True, **options)


def account(context: RunContext) -> str:
    """What a run says about the weights that it took."""
    assert context.run_dir is not None
    (line,) = [line for line in (context.run_dir / "log.txt").read_text().splitlines() if "took over" in line]
    return line


@pytest.mark.parametrize("later", SIZES)
@pytest.mark.parametrize("earlier", SIZES)
def test_weights_go_from_each_algorithm_into_each(earlier: str, later: str) -> None:
    with make(earlier, run_dir="first") as first:
        first.train()
        taken = {name: value.clone() for name, value in first.policy.models.state_dict().items()}
    with make(later, seed=2, input_dir="first", run_dir="second") as second:
        own = second.policy.models.state_dict()
        assert all(torch.equal(own[name], value) for name, value in taken.items())
        second.train()
        line = account(second)
    both = min(CRITIC[earlier], CRITIC[later])
    assert f"{6 + both} weight tensors" in line
    assert ("new: critic." in line) == (CRITIC[later] > CRITIC[earlier])
    assert ("not used: critic." in line) == (CRITIC[earlier] > CRITIC[later])


def test_the_directory_of_an_earlier_run_gives_its_weights_and_stays_as_it_is() -> None:
    with make("es", run_dir="first") as first:
        first.train()
        weights = next(first.policy.parameters()).detach().clone()
    before = {path: path.read_bytes() for path in Path("first").rglob("*") if path.is_file()}
    with make("es", seed=2, run_dir="first") as second:
        assert torch.equal(next(second.policy.parameters()), weights)
        second.train()
        assert second.run_dir is not None and second.run_dir.parts[0] == "outputs"
        log = (second.run_dir / "log.txt").read_text()
    assert "first is an earlier run: its weights are taken, and this run gets a directory of its own." in log
    assert "input_dir=first: took over all 6 weight tensors." in log
    assert {path: path.read_bytes() for path in Path("first").rglob("*") if path.is_file()} == before


def test_an_earlier_run_and_another_one_contradict_each_other() -> None:
    with make("es", run_dir="first") as first:
        first.train()
    with pytest.raises(UserError, match=r"run_dir=first is an earlier run, and input_dir=other is another"):
        make("es", run_dir="first", input_dir="other")


def test_as_an_override_it_is_refused_as_on_the_command_line() -> None:
    with make("es", run_dir="first") as first:
        first.train()
    sentence = r"run_dir=first exists already.*\n.*maze resume first; to start from its weights: input_dir=first"
    with make("es", overrides={"run_dir": "first"}) as second, pytest.raises(UserError, match=sentence):
        second.train()


def test_a_run_without_weights_is_no_start() -> None:
    with make("es", run_dir="first") as first:
        first.train()
    Path("first/state_dict.pt").unlink()
    with make("es", run_dir="first") as second, pytest.raises(NothingUsableError, match=r"has no state_dict\.pt"):
        second.train()
