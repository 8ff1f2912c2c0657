"""The training loop: when it stops, what it keeps, and that it can go on. Evaluations follow a script."""

from __future__ import annotations

import json
import math
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from support.projects import scripted, write_component

from maze_core.api import RunContext
from maze_core.errors import EnvFaultError, NonFiniteError, UserError
from maze_core.protocols import EpochReport, RunSummary
from maze_core.runs.checkpoints import CheckpointStore

pytestmark = pytest.mark.usefixtures("workdir")


def recorded(context: RunContext) -> list[Any]:
    """What the callback `record` of the scripted project was told."""
    spec = context.registry.get("callback", "record")
    import sys

    events: list[Any] = sys.modules[spec.config.__module__].RECORDED
    return events


def run(script: list[float], **overrides: Any) -> tuple[RunSummary, list[EpochReport]]:
    values = {key.replace("__", "."): value for key, value in overrides.items()}
    with scripted(script, callbacks=["record"], overrides=values) as context:
        summary = context.train()
        reports = [event for name, event in recorded(context) if name == "epoch_end"]
    return summary, reports


def bias(file: Path) -> float:
    """The action that saved weights choose in env `dial`."""
    return next(float(value) for name, value in torch.load(file, weights_only=True).items() if name.endswith("bias"))


def newest(summary: RunSummary) -> dict[str, Any]:
    """What the newest checkpoint of a run says about itself."""
    store = CheckpointStore(summary.directory / "checkpoints")
    return store.verify(store.numbers()[-1])["summary"]  # type: ignore[no-any-return]


def evaluated(reports: list[EpochReport]) -> list[int]:
    return [report.epoch for report in reports for stage in report.stages if stage.stage == "eval"]


# When it stops


def test_a_run_ends_when_solved() -> None:
    summary, reports = run([1, 2, 7, 8], runner__stop_at_reward=5)
    assert summary.stop_reason == "solved: mean evaluation return 7.0 >= 5"
    assert evaluated(reports) == [0, 1, 2]


def test_a_return_at_the_threshold_is_enough() -> None:
    summary, _ = run([1, 5], runner__stop_at_reward=5)
    assert summary.stop_reason.startswith("solved")


def test_an_infinite_threshold_is_never_reached() -> None:
    summary, _ = run([99], runner__stop_at_reward=math.inf, runner__n_epochs=3)
    assert summary.stop_reason == "3 epochs done"


def test_an_env_without_a_threshold_is_never_solved() -> None:
    summary, _ = run([99], runner__n_epochs=2)
    assert summary.stop_reason == "2 epochs done"


def test_a_run_ends_after_its_epochs() -> None:
    summary, reports = run([1, 2, 3, 4], runner__n_epochs=3)
    assert summary.stop_reason == "3 epochs done"
    assert evaluated(reports) == [0, 1, 2]


def test_a_run_ends_when_its_env_steps_are_spent() -> None:
    summary, reports = run([1, 2, 3, 4], runner__total_env_steps=25, runner__n_epochs=None)
    assert summary.stop_reason == "30 env steps done"
    assert reports[-1].env_steps == 30


def test_env_steps_may_be_spent_within_an_epoch() -> None:
    summary, reports = run([1], runner__total_env_steps=25, algorithm__epoch_length=100)
    assert summary.stop_reason == "30 env steps done"
    assert reports[-1].update == 3


def test_a_run_ends_without_a_better_evaluation_for_too_long() -> None:
    summary, reports = run([1, 5, 5, 4, 3, 9], runner__patience=3)
    assert summary.stop_reason == "no better evaluation in 3 epochs"
    assert evaluated(reports) == [0, 1, 2, 3, 4]


def test_a_better_evaluation_starts_the_waiting_again() -> None:
    _, reports = run([1, 0, 2, 1, 3, 0, 0], runner__patience=2)
    assert evaluated(reports) == list(range(7))


def test_without_patience_only_other_limits_count() -> None:
    summary, _ = run([1], runner__patience=None, runner__n_epochs=20)
    assert summary.stop_reason == "20 epochs done"


def test_the_first_limit_that_is_reached_ends_the_run() -> None:
    summary, _ = run([1], runner__patience=2, runner__n_epochs=50, runner__total_env_steps=1000)
    assert summary.stop_reason == "no better evaluation in 2 epochs"


def test_an_interrupt_ends_the_run_after_the_update_with_its_results_saved() -> None:
    summary, reports = run([1, 2, 3], algorithm__interrupt_at=3)
    assert (summary.stop_reason, summary.signal, summary.exit_code) == ("interrupted by SIGINT", signal.SIGINT, 130)
    assert summary.final is None
    assert evaluated(reports) == [0, 1]
    assert bias(summary.directory / "state_dict.pt") == 2
    assert bias(summary.directory / "final_state_dict.pt") == 3


def test_an_interrupt_before_the_first_evaluation_keeps_the_last_weights() -> None:
    summary, reports = run([4], algorithm__interrupt_at=1)
    assert evaluated(reports) == []
    assert bias(summary.directory / "state_dict.pt") == 4


def test_an_interrupt_does_not_wait_for_the_end_of_the_epoch() -> None:
    summary, reports = run([1], algorithm__interrupt_at=2, algorithm__epoch_length=1000)
    assert reports == []  # an epoch is told when it is complete
    assert newest(summary)["updates"] == 2


def test_an_interrupted_epoch_is_completed_by_the_next_call() -> None:
    options = {"algorithm.interrupt_at": 3, "algorithm.epoch_length": 2, "runner.n_epochs": 2}
    with scripted([1, 2, 3, 4], callbacks=["record"], overrides=options) as context:
        assert context.train().signal == signal.SIGINT
        assert context.train().stop_reason == "2 epochs done"
        reports = [event for name, event in recorded(context) if name == "epoch_end"]
    assert [(report.epoch, report.update) for report in reports] == [(0, 2), (1, 4), (1, 4)]
    assert [report.stages[0].values["TrainerEvents/value/mean"] for report in reports[:2]] == [1.5, 3.5]


def test_a_run_in_a_thread_leaves_signals_alone() -> None:
    summaries: list[RunSummary] = []
    thread = threading.Thread(target=lambda: summaries.append(run([1], runner__n_epochs=2)[0]))
    thread.start()
    thread.join()
    assert summaries[0].stop_reason == "2 epochs done"


# What it keeps


def test_the_best_weights_are_saved_and_left_in_the_policy() -> None:
    with scripted([1, 9, 3, 2], overrides={"runner.n_epochs": 4}) as context:
        summary = context.train()
        assert list(context.policy.parameters())[-1].tolist() == [9]
    assert (summary.best_reward, summary.best_epoch) == (9, 1)
    assert bias(summary.directory / "state_dict.pt") == 9
    assert bias(summary.directory / "final_state_dict.pt") == 2


def test_the_best_weights_are_copies() -> None:
    """Training goes on in place after the best evaluation."""
    with scripted([9, 1], overrides={"runner.n_epochs": 2}) as context:
        summary = context.train()
        with torch.no_grad():
            for parameter in context.policy.parameters():
                parameter.fill_(0)
        context.train(n_epochs=1)
    assert bias(summary.directory / "state_dict.pt") == 9


def test_equal_evaluations_keep_the_first() -> None:
    summary, reports = run([5, 5], runner__n_epochs=2)
    assert summary.best_epoch == 0
    assert [report.new_best for report in reports] == [5, None, None]


def test_the_final_evaluation_is_that_of_the_best_policy() -> None:
    summary, reports = run([1, 9, 3], runner__n_epochs=3)
    assert summary.final is not None
    assert [stage.stage for stage in summary.final.stages] == ["final_eval"]
    assert summary.final.stages[0].mean_reward == 9
    assert reports[-1] is summary.final


def test_a_run_without_evaluation_before_its_end_evaluates_the_last_update() -> None:
    _, reports = run([1, 2, 3, 4], runner__n_epochs=4, runner__evaluation__every_epochs=3)
    assert evaluated(reports) == [2, 3]


def test_the_last_update_of_a_spent_budget_is_evaluated() -> None:
    summary, reports = run([1, 2, 3, 4], runner__total_env_steps=40, runner__evaluation__every_epochs=3)
    assert evaluated(reports) == [2, 3]
    assert summary.best_reward == 4


def test_an_epoch_is_several_updates() -> None:
    _, reports = run([1, 2, 3, 4], runner__n_epochs=2, algorithm__epoch_length=2)
    assert [(report.epoch, report.update, report.env_steps) for report in reports] == [
        (0, 2, 20),
        (1, 4, 40),
        (1, 4, 40),
    ]
    assert [report.stages[0].values["TrainerEvents/value/mean"] for report in reports[:2]] == [1.5, 3.5]


# Callbacks


def test_callbacks_are_told_in_order() -> None:
    with scripted([1, 2], callbacks=["record"], overrides={"runner.n_epochs": 2}) as context:
        context.train()
        told = recorded(context)
    assert [name for name, _ in told] == ["run_start", "epoch_end", "epoch_end", "epoch_end", "run_end", "close"]
    start = told[0][1]
    assert start.directory == context.run_dir
    assert start.config_yaml == context.config
    assert start.n_epochs == 2


def test_callbacks_are_closed_after_a_fault() -> None:
    context = scripted([1], callbacks=["record"], overrides={"env.fail_in": "step"})
    with pytest.raises(EnvFaultError), context:
        context.train()
    assert [name for name, _ in recorded(context)] == ["run_start", "close"]


# Faults


def test_weights_that_are_not_finite_are_not_saved() -> None:
    context = scripted([3, math.nan], overrides={"runner.n_epochs": 3})
    with pytest.raises(NonFiniteError, match="no longer finite"), context:
        context.train()
    assert context.run_dir is not None
    assert bias(context.run_dir / "state_dict.pt") == 3
    assert not (context.run_dir / "final_state_dict.pt").exists()


def test_a_fault_names_env_episode_seed_and_action() -> None:
    context = scripted([1], overrides={"env.fail_in": "step"})
    with (
        pytest.raises(
            EnvFaultError, match=r"Dial.*RuntimeError.*step 0 with action.*episode seed \d+.*no luck"
        ) as caught,
        context,
    ):
        context.train()
    assert isinstance(caught.value.__cause__, RuntimeError)


# Evaluation


def test_an_evaluation_has_exactly_its_episodes() -> None:
    _, reports = run([1], runner__n_epochs=1, runner__evaluation__n_episodes=37)
    assert reports[0].stages[1].values["BaseEnvEvents/reward/episode_count"] == 37


def test_evaluations_use_the_same_episodes_each_time_and_the_final_one_others() -> None:
    """Only the policy changes from one evaluation to the next."""
    options = {"env.name": "Pendulum-v1", "algorithm.n_rollouts_per_update": 2, "algorithm.lr": 1e-30,
               "runner.n_epochs": 2, "seed": 1}  # fmt: skip
    with RunContext(overrides=options, callbacks=["jsonl"]) as context:
        directory = context.train().directory
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    means = {(row["epoch"], row["stage"]): row["values"]["BaseEnvEvents/reward/mean"] for row in rows}
    assert means[(0, "eval")] == pytest.approx(means[(1, "eval")], rel=1e-5)
    assert means[(1, "final_eval")] != pytest.approx(means[(1, "eval")], rel=1e-5)


def test_rare_evaluations_do_not_end_the_run_after_the_first() -> None:
    """Epochs without an evaluation could not bring a better one."""
    _, reports = run([1], runner__n_epochs=100, runner__evaluation__every_epochs=20, runner__patience=15)
    assert evaluated(reports)[:2] == [19, 39]


def test_rare_evaluations_that_become_better_do_not_end_the_run() -> None:
    script = [float(n) for n in range(100)]
    _, reports = run(script, runner__n_epochs=100, runner__evaluation__every_epochs=20, runner__patience=15)
    assert evaluated(reports) == [19, 39, 59, 79, 99]


def test_rewards_shaped_for_training_do_not_solve_the_env() -> None:
    overrides, scaled = {"runner.n_epochs": 2, "runner.stop_at_reward": 5}, {"reward_scaling": {"scale": 10}}
    with scripted([1], overrides=overrides, wrappers=scaled) as context:
        summary = context.train()
    assert (summary.stop_reason, summary.best_reward) == ("2 epochs done", 1)


def test_an_env_that_was_solved_is_trained_on_when_asked() -> None:
    with scripted([7], overrides={"runner.stop_at_reward": 5}) as context:
        assert context.train().stop_reason.startswith("solved")
        assert context.trainer.updates == 1
        assert context.train(n_epochs=2).stop_reason.startswith(("solved", "3 epochs"))
        assert context.trainer.updates == 3


@pytest.mark.parametrize("n_epochs", [0, -3])
def test_training_for_no_epoch_is_refused_and_saves_nothing(workdir: Path, n_epochs: int) -> None:
    with scripted([1]) as context:
        with pytest.raises(UserError, match=f"n_epochs={n_epochs} is not allowed"):
            context.train(n_epochs=n_epochs)
        assert context.trainer.updates == 0
    assert list(workdir.iterdir()) == []


def test_a_callback_that_raises_in_close_does_not_keep_others_from_being_closed(workdir: Path) -> None:
    source = """
def build(config):
    class Stubborn(maze_core.Callback):
        def close(self):
            raise RuntimeError("it stays open")

    return Stubborn()
"""
    write_component(workdir, "callback", source)
    for callbacks in (["ours", "record"], ["record", "ours"]):
        with scripted([1], callbacks=callbacks, overrides={"runner.n_epochs": 1}) as context:
            context.train()
            workspace = context._build().workspace
            with pytest.raises(RuntimeError, match="it stays open"):
                context.close()
            assert recorded(context).pop() == ("close", None)
            assert workspace._vector_envs == {}
            context._built = None
