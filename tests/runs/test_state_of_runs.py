"""What a checkpoint holds of third parties' parts, and what a run says when something of it is missing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import Wrapper
from support.envs import CountdownEnv
from support.projects import scripted, write_component

from maze_core.api import RunContext
from maze_core.errors import NothingUsableError, PluginError, UserError
from maze_core.rl.episodes import EpisodeBatch, EpisodeEvents
from maze_core.rl.vector_env import InProcessVectorEnv
from maze_core.runs.checkpoints import CheckpointStore
from maze_core.runs.train import TrainingLoop, _columns, _rows
from maze_core.stats.events import reduce_events

pytestmark = pytest.mark.usefixtures("workdir")


def saved(batch: EpisodeBatch, folder: Path) -> EpisodeBatch:
    """The batch after a way through a checkpoint."""
    store = CheckpointStore(folder)
    store.write({"batch": batch.state_dict()}, {}, {})
    return EpisodeBatch.from_state(store.newest().state["batch"])


def test_events_of_episodes_are_kept_in_a_few_arrays(tmp_path: Path) -> None:
    told = [{"G/a/mean": 0.1 * i, "G/h/histogram": np.arange(i % 3, dtype=float)} for i in range(500)]
    told[7] = {"G/late/total": 3.0}
    events = [None if i % 50 == 9 else EpisodeEvents(values) for i, values in enumerate(told)]
    batch = EpisodeBatch(np.arange(500.0), np.arange(500), events)
    again = saved(batch, tmp_path)
    assert [event is None for event in again.events] == [event is None for event in events]
    before, after = reduce_events(events), reduce_events(again.events)
    assert list(after[0].items()) == list(before[0].items())
    assert all(np.array_equal(after[1][path], values) for path, values in before[1].items())
    assert len(CheckpointStore(tmp_path).newest().state["batch"]["events"]) == 3


def test_metrics_of_many_updates_are_columns() -> None:
    metrics: list[dict[str, float]] = [{"loss": 0.1 * i} | ({"rare": float(i)} if i % 3 == 0 else {}) for i in range(9)]
    assert _rows(_columns(metrics), 9) == metrics
    assert _rows(_columns([]), 9) == []


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"param_groups": {1: torch.ones(2)}}, r"state\.param_groups has the key 1"),
        ({"seen": {1, 2}}, r"state\.seen is a set"),
        ({"names": np.array(["a"])}, r"state\.names cannot be saved"),
        ({"path": Path("x")}, r"state\.path is a PosixPath"),
        ({"count": 2**70}, r"state\.count is a int"),
    ],
)
def test_a_state_that_cannot_be_read_back_is_named(part: Mapping[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=words):
        CheckpointStore(tmp_path).write(part, {}, {})
    assert CheckpointStore(tmp_path).numbers() == []


def test_keys_with_slashes_do_not_collide(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.write({"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}}, {}, {})
    state = store.newest().state
    assert (float(state["a/b"]), float(state["a"]["b"])) == (0.0, 1.0)


def test_an_algorithm_that_takes_nothing_over_is_refused() -> None:
    with scripted([1, 2], overrides={"runner.n_epochs": 2, "run_dir": "run"}) as context:
        context.train()
        plugins = [plugin.location for plugin in context.registry.plugins if plugin.origin == "option"]
    store = CheckpointStore(Path("run/checkpoints"))
    newest = store.newest()
    newest.state["state"]["trainer"] = {"env_steps": 0, "updates": 0}
    store.write(newest.state, newest.summary, newest.fingerprint)
    with pytest.raises(NothingUsableError, match="did not take over its updates"):
        RunContext.resume("run", overrides=["runner.n_epochs=3"], plugins=plugins)


def test_after_an_update_that_failed_only_the_checkpoint_counts() -> None:
    with scripted([1, 2, 3], overrides={"runner.n_epochs": 3, "run_dir": "run"}) as context:
        step = context.trainer.step
        context.trainer.step = lambda: 1 / 0  # type: ignore[assignment,method-assign,return-value]
        with pytest.raises(ZeroDivisionError):
            context.train()
        context.trainer.step = step  # type: ignore[method-assign]
        with pytest.raises(UserError, match=r"RunContext\.resume\('run'\)"):
            context.train()


def test_a_run_that_could_not_begin_does_not_begin_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted([1, 2], callbacks=["record"], overrides={"runner.n_epochs": 1, "run_dir": "run"}) as context:
        monkeypatch.setattr(TrainingLoop, "save", lambda loop: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            context.train()
        monkeypatch.undo()
        with pytest.raises(UserError, match="cannot go on in this process"):
            context.train()
    assert CheckpointStore(Path("run/checkpoints")).numbers() == []


def test_an_algorithm_without_state_is_named(workdir: Path) -> None:
    source = "def build(config, job):\n    return type('Ours', (), {'step': lambda self: {}})()"
    write_component(workdir, "algorithm", source)
    with pytest.raises(PluginError, match=r"Ours, which trains .* has no method state_dict, load_state_dict"):
        RunContext(env={"gym_env": {"name": "CartPole-v1"}}, algorithm="ours", callbacks=[]).train()


def test_a_run_stays_in_its_directory_when_the_working_directory_changes(workdir: Path) -> None:
    with scripted([1, 2, 3], overrides={"runner.n_epochs": 3, "run_dir": "run"}) as context:
        context.train(n_epochs=1)
        (workdir / "sub").mkdir()
        os.chdir("sub")  # as a program may that trains: it is what this test is about
        context.train(n_epochs=1)
    assert list((workdir / "sub").iterdir()) == []
    assert CheckpointStore(workdir / "run" / "checkpoints").newest().summary["updates"] == 2
    os.chdir(workdir)


def test_a_lock_is_released_although_a_callback_cannot_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    context = scripted([1, 2], callbacks=["record"], overrides={"runner.n_epochs": 1, "run_dir": "run"})
    context.train()
    assert context._built is not None

    def broken() -> None:
        raise RuntimeError("stuck")

    monkeypatch.setattr(context._built.callbacks["record"], "close", broken)
    plugins = [plugin.location for plugin in context.registry.plugins if plugin.origin == "option"]
    with pytest.raises(RuntimeError, match="stuck"):
        context.close()
    RunContext.resume("run", plugins=plugins, overrides=["runner.n_epochs=2"]).close()


def test_a_configuration_that_could_not_be_read_back_makes_no_run(workdir: Path) -> None:
    with (
        scripted([1], overrides={"env.fail_in": "a\x1bb"}) as context,
        pytest.raises(UserError, match=r"this run could not be resumed: .*control characters"),
    ):
        context.train()
    assert list(workdir.iterdir()) == []


class Learner(Wrapper[Any, Any, Any, Any]):
    """Adds to each reward how many steps it has seen, over all episodes."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.seen = 0

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        self.seen += 1
        return observation, float(reward) + self.seen, *rest

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]


def test_what_a_wrapper_learned_outlives_an_env_that_is_replaced() -> None:
    class Once(CountdownEnv):
        failures = 0

        def step(self, action: Any) -> Any:
            if self.steps == 2 and not Once.failures:
                Once.failures += 1
                raise ConnectionError("the line is dead")
            return super().step(action)

    def rewards(failures: int) -> list[float]:
        Once.failures = failures
        env = InProcessVectorEnv(lambda: Learner(Once()), 1, repeats=True)
        found = []
        for seed in (5, 6):
            env.reset(seed=[seed])
            for _ in range(4):
                found.append(float(env.step(np.ones(1, np.int64))[1][0]))
        return found

    assert rewards(0) == rewards(1)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3"])
def test_a_number_of_epochs_is_a_whole_number(n: Any) -> None:
    with scripted([1], overrides={"runner.n_epochs": 1}) as context:
        for use in (context.train, context.evaluate):
            with pytest.raises(UserError, match="must be a whole number >= 1"):
                use(n)


def test_to_go_on_a_directory_must_be_named() -> None:
    with pytest.raises(UserError, match="run_dir=None is not allowed"):
        RunContext.resume(None)  # type: ignore[arg-type]


def test_a_run_that_ended_names_the_limit_that_ended_it() -> None:
    limits = {
        "runner.stop_at_reward": {"runner.stop_at_reward": 1.0},
        "runner.n_epochs": {"runner.n_epochs": 1},
        "runner.total_env_steps": {"runner.total_env_steps": 1},
        "runner.patience": {"runner.patience": 1},
    }
    for number, (limit, values) in enumerate(limits.items()):
        overrides = {"runner.n_epochs": 3, "runner.stop_at_reward": float("inf"), "run_dir": f"run{number}", **values}
        with scripted([3, 2, 1], overrides=overrides) as context:
            context.train()
            plugins = [plugin.location for plugin in context.registry.plugins if plugin.origin == "option"]
            assert context.ended_by == limit
        with RunContext.resume(f"run{number}", plugins=plugins) as again:
            assert again.ended_by == limit
            with pytest.raises(UserError, match=f"Raise {limit} to go on"):
                again.train()


def test_one_variable_may_be_named_without_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_NUMBER", "17")
    with scripted([1, 2], overrides={"runner.n_epochs": 1, "seed": "${oc.env:MY_NUMBER}", "run_dir": "run"}) as context:
        context.train()
        plugins = [plugin.location for plugin in context.registry.plugins if plugin.origin == "option"]
    RunContext.resume("run", plugins=plugins, variables="MY_NUMBER").close()
