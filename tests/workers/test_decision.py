"""How many workers there are, and what is told of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from support.workers import faulty, no_worker_is_left  # noqa: F401  # a fixture

from maze_core.api import RunContext

pytestmark = [pytest.mark.usefixtures("workdir", "no_worker_is_left"), pytest.mark.timeout(240)]


def told(context: RunContext) -> str:
    """What a run says of where its envs are stepped."""
    return next(note for note in context._build().notes if note.startswith("env steps"))


def test_a_quick_env_is_stepped_in_this_process() -> None:
    with faulty("ppo", n_workers=None) as context:  # type: ignore[arg-type]
        assert told(context).startswith("env steps: one env after the other, in this process, because a step takes 0.")


@pytest.mark.workers
def test_a_slow_one_in_a_worker_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    with faulty("ppo", n_workers=None, sleep_ms=1.0) as context:  # type: ignore[arg-type]
        assert re.match(
            r"env steps: one env after the other, in 3 workers, because a step takes [\d.]+ ms;", told(context)
        )


def test_on_one_core_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    with faulty("ppo", n_workers=None, sleep_ms=1.0) as context:  # type: ignore[arg-type]
        assert told(context).startswith(
            "env steps: one env after the other, in this process, because there is one core; networks"
        )


@pytest.mark.workers
def test_an_env_with_a_vector_form_is_stepped_here_and_the_rest_sent_out() -> None:
    overrides = {"runner.n_workers": 1}
    with RunContext(env={"gym_env": {"name": "CartPole-v1"}}, overrides=overrides, silent=True) as context:
        words = "env steps: its own vector form, in this process; populations and evaluations in 1 worker; networks"
        assert told(context).startswith(words)


LEARNING = """
def build(env, config):
    import gymnasium

    class Learning(gymnasium.Wrapper):
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    return Learning(env)
"""


def test_what_learns_over_episodes_stays_here(workdir: Path) -> None:
    from support.projects import write_component

    write_component(workdir, "wrapper", LEARNING)
    overrides = {"runner.n_workers": 2}
    env = {"gym_env": {"name": "Acrobot-v1"}}
    with RunContext(env=env, wrappers="ours", overrides=overrides, silent=True) as context:
        assert "in this process, because they learn over episodes" in told(context)


@pytest.mark.workers
def test_a_plugin_that_is_missing_in_a_worker_is_named(workdir: Path) -> None:
    """It was there when the run began."""
    from support.projects import write_component

    from maze_core.errors import MazeError

    folder = workdir / "project"
    folder.mkdir()
    write_component(folder, "wrapper", "def build(env, config):\n    return env")
    env = {"gym_env": {"name": "Acrobot-v1"}}
    with RunContext(
        env=env, wrappers="ours", overrides={"runner.n_workers": 1}, plugins=[str(folder)], silent=True
    ) as context:
        (folder / "maze_plugins.py").unlink()
        with pytest.raises(MazeError, match=r"project.*no such file"):
            context.train()
