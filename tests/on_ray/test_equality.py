"""Where work executes changes nothing of what is learned."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from support.workers import SIZES, weights_hash

from maze_core import RunContext

pytestmark = [
    pytest.mark.ray, pytest.mark.xdist_group("ray"), pytest.mark.timeout(300),
    pytest.mark.usefixtures("workdir", "token"),
]  # fmt: skip

ENVS: dict[str, Any] = {
    "CartPole": {"gym_env": {"name": "CartPole-v1"}},
    "cutting 2D": "tutorial_cutting_2d_struct_masked",
    "one by one": {"gym_env": {"name": "Acrobot-v1", "kwargs": {"max_episode_steps": 40}}},
}


def learned(algorithm: str, env: str, runner: str, n_workers: int, **overrides: Any) -> tuple[str, Any, list[str]]:
    """Weights at the end, statistics of an evaluation, and what was said of where envs step."""
    own = {**SIZES[algorithm], "runner.n_workers": n_workers, "run_dir": f"{runner}-{len(list(Path().iterdir()))}"}
    own |= {f"runner.{key}": value for key, value in {"stop_at_reward": math.inf, **overrides}.items()}
    with RunContext(
        env=ENVS[env], algorithm=algorithm, runner=runner, overrides=own, callbacks=[], seed=5, silent=True
    ) as context:
        notes = [note for note in context._build().notes if note.startswith("env steps")]
        context.train()
        return weights_hash(context), context.evaluate(3), notes


@pytest.fixture(scope="module")
def here() -> dict[tuple[str, str], Any]:
    """What was learned without workers, by algorithm and env."""
    return {}


CASES = [(algorithm, env, n_workers) for algorithm in SIZES for env in ENVS for n_workers in (1, 2)]
SHORT = {("es", "CartPole", 2), ("ppo", "cutting 2D", 1), ("a2c", "one by one", 2), ("ppo", "one by one", 1)}


@pytest.mark.parametrize(
    ("algorithm", "env", "n_workers"),
    [pytest.param(*case, marks=[] if case in SHORT else [pytest.mark.long]) for case in CASES],
)
def test_actors_learn_the_same_bits(
    algorithm: str, env: str, n_workers: int, cluster: str, here: dict[tuple[str, str], Any]
) -> None:
    if (algorithm, env) not in here:
        here[algorithm, env] = learned(algorithm, env, "local", 0)[:2]
    *found, (note,) = learned(algorithm, env, "ray", n_workers, address=cluster)
    assert f"{n_workers} worker" in note
    assert tuple(found) == here[algorithm, env]


def test_a_quick_env_steps_here_and_says_so(cluster: str) -> None:
    _, _, (note,) = learned("a2c", "one by one", "ray", None, address=cluster)  # type: ignore[arg-type]
    assert re.match(
        r"env steps: one env after the other, in this process, because a step takes 0\.[\d]+ ms and a round trip to a "
        rf"worker about 2; populations and evaluations in [1-4] workers? of a Ray cluster at {cluster};", note
    )  # fmt: skip


def test_asked_for_workers_that_do_not_pay_it_has_them_and_says_so(cluster: str) -> None:
    _, _, (note,) = learned("a2c", "one by one", "ray", 1, address=cluster)
    words = f"in 1 worker of a Ray cluster at {cluster}, which does not pay: a step takes 0."
    assert words in note


@pytest.mark.parametrize(("first", "then"), [("local", "ray"), pytest.param("ray", "local", marks=pytest.mark.long)])
def test_a_run_goes_on_elsewhere_in_the_same_bits(first: str, then: str, cluster: str, workdir: Path) -> None:
    epochs = SIZES["ppo"]["runner.n_epochs"]
    whole, _, _ = learned("ppo", "one by one", "local", 0, n_epochs=2 * epochs)
    places = {"local": {"n_workers": 0}, "ray": {"n_workers": 2, "address": cluster}}
    learned("ppo", "one by one", first, **places[first])
    (run,) = workdir.glob(f"{first}-1")
    there = [f"runner.{key}={value}" for key, value in places[then].items()]
    with RunContext.resume(
        run, overrides=[f"runner={then}", *there, f"runner.n_epochs={2 * epochs}"], silent=True
    ) as context:
        context.train()
        assert weights_hash(context) == whole
        assert not any("NOT exact" in note for note in context._build().notes)
