"""Comparing runs from Python: which belong together, what they score, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.compared import make_group, make_run
from support.trained import context

import maze_core
from maze_core import NothingUsableError, UserError
from maze_core.api.comparison import compare
from maze_core.api.comparison_results import ALL_ENVS, Comparison, GroupResult
from maze_core.api.learning_curves import side_by_side
from maze_core.api.verdicts import FEW, Scores, pairs_of
from maze_core.runs.lock import RunLock
from maze_core.stats.aggregates import interquartile_mean

LOW, HIGH = [10.0, 12.0, 11.0, 13.0, 9.0], [20.0, 25.0, 22.0, 21.0, 24.0]


def groups(comparison: Comparison) -> dict[str, GroupResult]:
    """Groups of the only env."""
    (task,) = comparison.tasks
    return {group.label: group for group in task.groups}


def scores(comparison: Comparison) -> dict[str, list[float]]:
    return {label: group.all_scores.tolist() for label, group in groups(comparison).items()}


def warning(comparison: Comparison) -> str:
    (only,) = comparison.warnings
    return only


def verdict(comparison: Comparison) -> str:
    (pair,) = comparison.pairs
    return pair.verdict


def test_runs_that_differ_in_their_seed_are_a_group(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH)
    make_group(tmp_path, "es", LOW)
    comparison = compare(tmp_path, by="algorithm")
    assert scores(comparison) == {"ppo": HIGH, "es": LOW}
    assert (comparison.warnings, comparison.left_out) == ([], [])


def test_a_really_trained_run_is_compared(tmp_path: Path) -> None:
    with context("flat", run_dir=tmp_path / "run", callbacks=["jsonl"]) as run:
        final = run.train().final
    assert final is not None
    comparison = maze_core.compare(tmp_path)
    assert scores(comparison) == {"es": [final.stages[-1].mean_reward]}
    assert comparison.tasks[0].task == "CartPole-v1"
    assert groups(comparison)["es"].runs[0].seed == 3


def test_several_directories_are_one_comparison_and_a_run_counts_once(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH)
    make_group(tmp_path, "es", LOW)
    comparison = compare([tmp_path / "es", tmp_path / "ppo" / "0", tmp_path / "ppo"])
    assert scores(comparison) == {"ppo": HIGH, "es": LOW}


def test_interquartile_mean_has_an_interval(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH)
    group = groups(compare(tmp_path))["ppo"]
    assert group.iqm.value == interquartile_mean(np.array(HIGH))
    assert group.iqm.low is not None and group.iqm.high is not None
    assert 20 <= group.iqm.low < group.iqm.value < group.iqm.high <= 25


def test_the_same_runs_give_the_same_numbers_whatever_else_is_compared(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH)
    alone = groups(compare(tmp_path))["ppo"].iqm
    make_group(tmp_path, "a2c", LOW)
    assert groups(compare(tmp_path))["ppo"].iqm == alone


# ----------------------------------------------------------------------------------------------------- verdicts


def test_groups_far_apart_are_told_apart(tmp_path: Path) -> None:
    make_group(tmp_path, "es", LOW)
    make_group(tmp_path, "ppo", HIGH)
    (pair,) = compare(tmp_path).pairs
    assert (pair.first, pair.second, pair.verdict) == ("ppo", "es", "better")
    assert pair.probability.value == pair.probability.low == 1
    assert pair.difference.value == pytest.approx(np.mean([22, 21, 24]) - 11)
    assert pair.sentence == (
        "ppo is better than es: probability of improvement 1.00 [1.00, 1.00], "
        "difference of interquartile means +11.33 [+9.00, +14.00]."
    )


def test_groups_that_overlap_cannot_be_told_apart(tmp_path: Path) -> None:
    make_group(tmp_path, "es", [10, 20, 30, 40, 50])
    make_group(tmp_path, "ppo", [15, 25, 35, 45, 55])
    (pair,) = compare(tmp_path).pairs
    assert (pair.first, pair.verdict) == ("ppo", "not told apart")
    assert pair.sentence.startswith("ppo and es cannot be told apart with 5 runs each: probability of improvement 0.60")


def test_where_small_numbers_are_good_the_smaller_is_better(tmp_path: Path) -> None:
    make_group(tmp_path, "es", LOW)
    make_group(tmp_path, "ppo", HIGH)
    comparison = compare(tmp_path, lower_is_better=True)
    (pair,) = comparison.pairs
    assert (pair.first, pair.verdict) == ("es", "better")
    assert pair.difference.high is not None and pair.difference.high < 0
    assert list(groups(comparison)) == ["es", "ppo"]


def test_few_runs_get_no_interval_and_no_verdict(tmp_path: Path) -> None:
    make_group(tmp_path, "es", LOW[: FEW - 1])
    make_group(tmp_path, "ppo", HIGH)
    comparison = compare(tmp_path)
    assert (groups(comparison)["es"].iqm.low, verdict(comparison)) == (None, "too few runs")
    assert warning(comparison).startswith("too few runs: es has 4. Below 5 runs a group gets no interval")


def test_equal_scores_tell_nothing(tmp_path: Path) -> None:
    make_group(tmp_path, "es", [500.0] * 5)
    make_group(tmp_path, "ppo", [500.0] * 6)
    (pair,) = compare(tmp_path).pairs
    assert pair.verdict == "equal scores"
    assert pair.sentence == "es and ppo: every run of both scored 500.0, which cannot tell them apart."


@pytest.mark.parametrize(
    ("n", "n_pairs"), [(FEW, 60), *(pytest.param(n, 400, marks=pytest.mark.long) for n in (FEW, 10))]
)
def test_few_verdicts_on_equal_groups_are_wrong(n: int, n_pairs: int) -> None:
    rng = np.random.default_rng(0)
    pairs = [
        pairs_of([("env", [Scores(label, [rng.normal(size=n)]) for label in ("a", "b")])], lower_is_better=False)[0]
        for _ in range(n_pairs)
    ]
    assert {pair.verdict for pair in pairs} == {"better", "not told apart"}
    assert sum(pair.verdict == "better" for pair in pairs) <= 0.1 * len(pairs)


def test_most_verdicts_on_very_different_groups_are_right() -> None:
    rng = np.random.default_rng(0)
    groups = [[Scores("a", [rng.normal(3, 1, FEW)]), Scores("b", [rng.normal(0, 1, FEW)])] for _ in range(20)]
    pairs = [pairs_of([("env", pair)], lower_is_better=False)[0] for pair in groups]
    assert sum((pair.first, pair.verdict) == ("a", "better") for pair in pairs) >= 0.9 * len(pairs)


def test_intervals_of_several_verdicts_are_wider(tmp_path: Path) -> None:
    make_group(tmp_path, "es", LOW)
    make_group(tmp_path, "ppo", HIGH)
    two = compare(tmp_path)
    make_group(tmp_path, "a2c", [11.0, 14.0, 10.0, 12.0, 16.0])
    three = compare(tmp_path)
    assert [round(pair.confidence, 4) for pair in (*two.pairs, *three.pairs)] == [0.95, *[0.9833] * 3]
    wide, narrow = (next(p.difference for p in c.pairs if (p.first, p.second) == ("ppo", "es")) for c in (three, two))
    assert wide.low is not None and narrow.low is not None and wide.low < narrow.low
    assert two.note == ""
    assert three.note.startswith("There are 3 comparisons.")


# ------------------------------------------------------------------------------------------------------- groups


def test_the_only_setting_that_differs_makes_the_groups(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", LOW, algorithm__lr=0.1)
    make_group(tmp_path, "ppo", HIGH, algorithm__lr=0.2)
    comparison = compare(tmp_path)
    assert comparison.by == ("algorithm.lr",)
    assert scores(comparison) == {"lr=0.2": HIGH, "lr=0.1": LOW}


def test_options_of_the_algorithm_follow_from_the_algorithm(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", LOW, algorithm__lr=0.1, components__critic="shared")
    make_group(tmp_path, "es", HIGH)
    assert compare(tmp_path).by == ("algorithm",)


def test_wrappers_can_make_the_groups(tmp_path: Path) -> None:
    wrapped: dict[str, Any] = {"wrappers": {"time_limit": {"max_env_steps": 7}}}
    components = {"env": "gym_env", "model": "flatten_concat", "algorithm": "ppo", "runner": "local"}
    make_group(tmp_path / "plain", "ppo", LOW)
    for seed, final in enumerate(HIGH):
        named = {**components, "wrappers.time_limit": "time_limit"}
        make_run(tmp_path / "wrapped" / str(seed), "ppo", seed, final, components=named, **wrapped)
    comparison = compare(tmp_path)
    assert comparison.by == ("wrappers",)
    assert scores(comparison) == {"time_limit": HIGH, "none": LOW}
    assert comparison.warnings == []


def test_where_several_settings_differ_one_asks(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "ppo", 0, model__hidden_sizes=[8])
    make_run(tmp_path / "b", "es", 0, runner__n_epochs=20)
    with pytest.raises(UserError) as caught:
        compare(tmp_path)
    assert str(caught.value) == (
        "the runs differ in 3 settings: algorithm (ppo, es); model.hidden_sizes ([8], [64, 64]); "
        "runner.n_epochs (10, 20).\n"
        "Say which of them make a group, such as --by algorithm, or --by algorithm --by model.hidden_sizes."
    )


def test_groups_of_several_keys_are_called_by_all(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", LOW, algorithm__lr=0.1)
    make_group(tmp_path, "ppo", HIGH, algorithm__lr=0.2)
    make_group(tmp_path, "es", LOW, algorithm__lr=0.1)
    assert set(groups(compare(tmp_path, by=["algorithm", "algorithm.lr"]))) == {
        "ppo, lr=0.1", "ppo, lr=0.2", "es, lr=0.1"
    }  # fmt: skip


def test_a_mixture_is_called_one(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", LOW, algorithm__lr=0.1)
    make_group(tmp_path, "ppo", HIGH, algorithm__lr=0.2)
    assert warning(compare(tmp_path, by="algorithm")) == (
        "ppo is a mixture: its runs differ in algorithm.lr (0.1, 0.2). To tell them apart, add --by algorithm.lr."
    )


def test_another_difference_between_groups_is_told(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", LOW, runner__n_epochs=50)
    make_group(tmp_path, "es", HIGH)
    assert warning(compare(tmp_path, by="algorithm")) == (
        "the groups differ in more than algorithm: runner.n_epochs (es: 10; ppo: 50). Either can be the cause."
    )


def test_what_does_not_change_a_result_makes_no_difference(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", LOW, runner__n_workers=2)
    make_group(tmp_path, "es", HIGH, callbacks={})
    assert compare(tmp_path).warnings == []


def test_the_same_run_twice_counts_once(tmp_path: Path) -> None:
    make_group(tmp_path / "first", "ppo", HIGH)
    make_run(tmp_path / "second", "ppo", 3, HIGH[3])
    comparison = compare(tmp_path)
    assert scores(comparison) == {"ppo": HIGH}
    first, second = tmp_path / "first/ppo/3", tmp_path / "second"
    assert warning(comparison) == (
        f"ppo: left out, since {second} is {first} once more, with seed 3 and the same settings."
    )


def test_the_same_run_with_another_result_is_told(tmp_path: Path) -> None:
    make_group(tmp_path / "first", "ppo", HIGH)
    make_run(tmp_path / "second", "ppo", 3, 7.0)
    assert "although it scored 7 and not 21" in warning(compare(tmp_path))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("algorithn", "no run has the setting 'algorithn' to be grouped by. Did you mean 'algorithm'?"),
        ("algorithm.lrr", "Did you mean 'algorithm.lr'?"),
        ("components", "no run has the setting 'components'"),
        ("seed", "no run has the setting 'seed'"),
    ],
)
def test_a_key_that_no_run_has_is_refused(key: str, words: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    with pytest.raises(UserError) as caught:
        compare(tmp_path, by=key)
    assert words in str(caught.value)


def test_a_setting_that_some_runs_lack_is_a_group_of_its_own(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH)
    make_group(tmp_path, "es", LOW)
    assert set(groups(compare(tmp_path, by="algorithm.gamma"))) == {"gamma=0.99", "gamma=not set"}


# --------------------------------------------------------------------------------------------------------- envs


def test_each_env_is_compared_by_itself(tmp_path: Path) -> None:
    for env, better in (("CartPole-v1", "ppo"), ("Acrobot-v1", "es")):
        for algorithm in ("ppo", "es"):
            make_group(tmp_path, algorithm, HIGH if algorithm == better else LOW, env__name=env)
    comparison = compare(tmp_path)
    assert comparison.by == ("algorithm",)
    best = {task.task: task.groups[0].label for task in comparison.tasks}
    assert best == {"CartPole-v1": "ppo", "Acrobot-v1": "es"}
    assert [pair.verdict for pair in comparison.pairs] == ["better", "better"]


def test_the_same_env_with_other_settings_is_another_one(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH)
    make_group(tmp_path, "ppo", LOW, env__kwargs={"max_episode_steps": 20})
    tasks = {task.task for task in compare(tmp_path).tasks}
    assert tasks == {"CartPole-v1 (kwargs.max_episode_steps=20)", "CartPole-v1 (kwargs.max_episode_steps=not set)"}


def test_settings_of_the_env_can_make_the_groups(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH, env__kwargs={"gravity": 5})
    make_group(tmp_path, "ppo", LOW, env__kwargs={"gravity": 9})
    comparison = compare(tmp_path, by="env.kwargs.gravity")
    assert scores(comparison) == {"gravity=5": HIGH, "gravity=9": LOW}


def test_envs_are_taken_together_where_scores_are_normalised(tmp_path: Path) -> None:
    for algorithm, finals in (("ppo", HIGH), ("es", LOW)):
        make_group(tmp_path, algorithm, finals)
        make_group(tmp_path, algorithm, [100 * final for final in finals], env__name="Acrobot-v1")
    together = compare(tmp_path, normalize={"CartPole-v1": (0, 10), "Acrobot-v1": (0, 1000)}).tasks[-1]
    assert together.task == ALL_ENVS
    assert sorted(together.groups[0].all_scores) == sorted(2 * [final / 10 for final in HIGH])
    assert together.groups[0].iqm.value == pytest.approx(interquartile_mean(np.array(HIGH * 2)) / 10)


def test_a_group_that_lacks_an_env_is_not_taken_together(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH)
    make_group(tmp_path, "ppo", HIGH, env__name="Acrobot-v1")
    make_group(tmp_path, "es", LOW)
    comparison = compare(tmp_path, normalize={"CartPole-v1": (0, 10), "Acrobot-v1": (0, 10)})
    assert [group.label for group in comparison.tasks[-1].groups] == ["ppo"]
    assert "not in all envs, and so not in the results over all of them: es." in comparison.warnings


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ({"CartPol-v1": (0, 1)}, "no run is in an env 'CartPol-v1' to be normalised. Known: CartPole-v1, Acrobot-v1."),
        ({"CartPole-v1": (0, 1)}, "normalize: Acrobot-v1 is missing"),
        ({"CartPole-v1": (1, 1), "Acrobot-v1": (0, 1)}, "CartPole-v1=1,1 is not allowed"),
    ],
)
def test_normalisation_that_fits_no_env_is_refused(scales: Any, words: str, tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", env__name="Acrobot-v1")
    with pytest.raises(UserError) as caught:
        compare(tmp_path, normalize=scales)
    assert words in str(caught.value)


# ------------------------------------------------------------------------------------------------------- scores


def test_a_run_without_a_final_evaluation_is_left_out_and_named(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH)
    killed = make_run(tmp_path / "killed", "ppo", 7, None)
    comparison = compare(tmp_path)
    assert scores(comparison) == {"ppo": HIGH}
    assert comparison.left_out == [f"{killed}: it did not end, so it has no final evaluation"]


def test_a_run_under_way_is_said_to_be(tmp_path: Path) -> None:
    make_run(tmp_path / "ended")
    lock = RunLock(make_run(tmp_path / "running", seed=1, final=None))
    try:
        assert "it is still running" in compare(tmp_path).left_out[0]
    finally:
        lock.release()


@pytest.mark.parametrize(("at", "value"), [("last", 2.0), ("best", 5.0)])
def test_evaluations_can_stand_for_a_run(at: str, value: float, tmp_path: Path) -> None:
    make_run(tmp_path / "run", evals=[(1, 1.0), (2, 5.0), (3, 2.0)])
    comparison = compare(tmp_path, stage="eval", at=at)
    assert scores(comparison) == {"ppo": [value]}
    assert any("too good to be true" in said for said in comparison.warnings) == (at == "best")


def test_by_evaluations_runs_that_did_not_end_are_compared_and_told(tmp_path: Path) -> None:
    make_run(tmp_path / "run", final=None)
    comparison = compare(tmp_path, stage="eval")
    assert scores(comparison) == {"ppo": [2.0]}
    assert "1 of the runs did not come to their end; they are compared as far as they are." in comparison.warnings


def test_another_statistic_can_be_compared(tmp_path: Path) -> None:
    make_run(tmp_path / "a", metric="KPIs/waste/mean", final=3.0)
    make_run(tmp_path / "b", seed=1)
    comparison = compare(tmp_path, metric="KPIs/waste/mean")
    assert scores(comparison) == {"ppo": [3.0]}
    assert comparison.left_out == [f"{tmp_path / 'b'}: it has no finite KPIs/waste/mean in stage final_eval"]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 1e200])
def test_a_run_whose_score_is_no_number_to_reckon_with_is_left_out(score: float, tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", seed=1, final=score)
    comparison = compare(tmp_path)
    assert scores(comparison) == {"ppo": [1.0]}
    assert len(comparison.left_out) == 1


def test_the_files_have_the_columns_that_the_guide_names(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    comparison = compare(tmp_path, by="algorithm")
    guide = Path(__file__).parents[1].joinpath("docs/comparing.md").read_text()
    columns = [*comparison.group_rows()[0], *comparison.run_rows()[0]]
    assert [name for name in columns if f"`{name.replace('by algorithm', 'by <key>')}`" not in guide] == []


def test_a_statistic_that_no_run_has_is_refused_with_those_there(tmp_path: Path) -> None:
    make_run(tmp_path / "run", metric="KPIs/waste/mean")
    with pytest.raises(UserError) as caught:
        compare(tmp_path, metric="KPIs/wast/mean")
    assert str(caught.value) == (
        "no run has the statistic 'KPIs/wast/mean' in stage final_eval. Did you mean 'KPIs/waste/mean'?\n"
        "Known: KPIs/waste/mean."
    )


@pytest.mark.parametrize(("argument", "value"), [("stage", "test"), ("at", "first"), ("threshold", float("nan"))])
def test_other_values_are_refused(argument: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{argument}={value!r} is not allowed"):
        compare(tmp_path, **{argument: value})


def test_the_best_of_one_final_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at='best' is not allowed with stage='final_eval'"):
        compare(tmp_path, at="best")


def test_a_damaged_run_is_left_out_and_named(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH)
    for name, file in (("a", "config.yaml"), ("b", "metrics.jsonl")):
        make_run(tmp_path / name, seed=8).joinpath(file).write_text("[\n")
    make_run(tmp_path / "c", seed=9).joinpath("link").symlink_to("/etc")
    comparison = compare(tmp_path)
    assert scores(comparison) == {"ppo": HIGH}
    assert [reason.split(":")[0] for reason in comparison.left_out] == [str(tmp_path / name) for name in "abc"]


def test_without_any_run_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(NothingUsableError, match="is no directory"):
        compare(tmp_path / "nowhere")
    with pytest.raises(NothingUsableError, match="there are no runs in or below"):
        compare(tmp_path)
    make_run(tmp_path / "killed", final=None)
    with pytest.raises(NothingUsableError, match=r"there is no run that can be compared:\n.*did not end"):
        compare(tmp_path)


def test_texts_of_a_stranger_cannot_move_the_cursor(tmp_path: Path) -> None:
    make_run(tmp_path / "run\x1b[2J", "p\u202epo", metric="KPIs/\x1b[2J/mean")
    make_run(tmp_path / "killed\x1b[2J", final=None)
    data = compare(tmp_path, metric="KPIs/\x1b[2J/mean").as_data()
    texts = [data["groups"][0]["group"], data["runs"][0]["run"], *data["left_out"]]
    assert len(texts) == 3
    assert all(text.isprintable() for text in texts)


# --------------------------------------------------------------------------------------- thresholds and curves


def curve(comparison: Comparison, panel: int = 0) -> tuple[list[float], list[float]]:
    """Ends of the only curve of a panel."""
    (only,) = comparison.panels[panel].curves
    return [only.x[0], only.x[-1]], [only.y[0], only.y[-1]]


def test_threshold_is_that_of_the_env(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    threshold = compare(tmp_path).tasks[0].threshold
    assert threshold is not None and threshold.value == 475


def test_threshold_at_which_runs_stop_goes_before_that_of_the_env(tmp_path: Path) -> None:
    make_run(tmp_path / "run", runner__stop_at_reward=30)
    assert compare(tmp_path).tasks[0].threshold.value == 30  # type: ignore[union-attr]
    assert compare(tmp_path, threshold=7).tasks[0].threshold.value == 7  # type: ignore[union-attr]


def test_nothing_is_imported_for_a_threshold(tmp_path: Path) -> None:
    make_run(tmp_path / "run", env__name="this:CartPole-v1")
    assert compare(tmp_path).tasks[0].threshold is None


def test_median_time_to_the_threshold_counts_runs_that_do_not_reach_it_as_never(tmp_path: Path) -> None:
    for seed, step in enumerate([3000, 1000, 2000]):
        make_run(tmp_path / str(seed), seed=seed, evals=[(500, 1.0), (step, 10.0), (9000, 3.0)])
    make_run(tmp_path / "never", seed=3)
    make_run(tmp_path / "neither", seed=4)
    level = groups(compare(tmp_path, threshold=10))["ppo"].reached
    assert level is not None
    assert (level.n, level.env_steps, level.train_s) == (3, 3000, 3)


def test_what_half_of_the_runs_do_not_reach_takes_for_ever(tmp_path: Path) -> None:
    make_run(tmp_path / "a", seed=0, evals=[(500, 10.0)])
    make_run(tmp_path / "b", seed=1, evals=[(500, 1.0)])
    level = groups(compare(tmp_path, threshold=10))["ppo"].reached
    assert level is not None
    assert (level.n, level.env_steps, level.train_s) == (1, None, None)


def test_threshold_from_above_where_small_numbers_are_good(tmp_path: Path) -> None:
    make_run(tmp_path / "run", evals=[(1000, 9.0), (2000, 4.0)])
    level = groups(compare(tmp_path, threshold=5, lower_is_better=True))["ppo"].reached
    assert level is not None and level.env_steps == 2000


def test_curves_are_over_env_steps_and_over_time(tmp_path: Path) -> None:
    make_run(tmp_path / "run", evals=[(1000, 1.0), (4000, 3.0)])
    comparison = compare(tmp_path)
    assert [panel.x_label for panel in comparison.panels] == ["env steps of training", "time of training [s]"]
    assert curve(comparison) == ([1000, 4000], [1, 3])
    assert curve(comparison, 1) == ([1, 4], [1, 3])


def test_between_evaluations_scores_are_on_a_line(tmp_path: Path) -> None:
    make_run(tmp_path / "run", evals=[(1000, 1.0), (2000, 5.0)])
    (run,) = groups(compare(tmp_path))["ppo"].runs
    x, values = side_by_side([run], "env_steps")
    assert np.allclose(values[0], np.interp(x, [1000, 2000], [1, 5]))


def test_a_run_that_ended_stays_at_its_last_evaluation(tmp_path: Path) -> None:
    make_run(tmp_path / "a", seed=0, evals=[(1000, 2.0), (2000, 10.0)])
    make_run(tmp_path / "b", seed=1, evals=[(1000, 4.0), (8000, 20.0)])
    assert curve(compare(tmp_path)) == ([1000, 8000], [3, 15])


def test_a_run_that_was_interrupted_has_no_score_from_there_on(tmp_path: Path) -> None:
    make_run(tmp_path / "a", seed=0, evals=[(1000, 2.0), (2000, 10.0)], final=None)
    make_run(tmp_path / "b", seed=1, evals=[(1000, 4.0), (8000, 20.0)], final=None)
    assert curve(compare(tmp_path, stage="eval")) == ([1000, 8000], [3, 20])


def test_a_curve_ends_where_fewer_than_half_of_the_runs_go_on(tmp_path: Path) -> None:
    for seed, end in enumerate([2000, 2000, 8000]):
        make_run(tmp_path / str(seed), seed=seed, evals=[(1000, 2.0), (end, 10.0)], final=None)
    (_, end), _ = curve(compare(tmp_path, stage="eval"))
    assert 1900 < end <= 2000


def test_a_curve_begins_where_all_runs_have_been_evaluated(tmp_path: Path) -> None:
    make_run(tmp_path / "a", seed=0, evals=[(1000, 2.0), (4000, 10.0)])
    make_run(tmp_path / "b", seed=1, evals=[(3000, 4.0), (4000, 20.0)])
    assert curve(compare(tmp_path))[0] == [3000, 4000]


def test_band_of_few_runs_is_their_range_and_says_so(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path / str(seed), seed=seed, evals=[(1000, 1.0 * seed), (2000, 2.0 * seed)])
    (only,) = compare(tmp_path).panels[0].curves
    assert only.label == "ppo (3 runs, band: their range)"
    assert only.low is not None and only.high is not None
    assert (only.low[-1], only.y[-1], only.high[-1]) == (0, 2, 4)


def test_band_of_enough_runs_is_an_interval(tmp_path: Path) -> None:
    for seed in range(FEW):
        make_run(tmp_path / str(seed), seed=seed, evals=[(1000, 1.0 * seed), (2000, 2.0 * seed)])
    (only,) = compare(tmp_path).panels[0].curves
    assert only.label == "ppo (5 runs)"
    assert only.low is not None and only.high is not None
    assert 0 < only.low[-1] < only.y[-1] < only.high[-1] < 8


def test_one_evaluation_is_a_point(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH, evals=[(1000, 1.0)])
    (only,) = compare(tmp_path).panels[0].curves
    assert (only.x.tolist(), only.y.tolist()) == ([1000], [1])


def test_a_group_has_the_same_place_in_all_charts(tmp_path: Path) -> None:
    for algorithm, finals in (("ppo", LOW), ("es", HIGH), ("a2c", LOW)):
        make_group(tmp_path, algorithm, finals)
    make_group(tmp_path, "ppo", HIGH, env__name="Acrobot-v1")
    make_group(tmp_path, "a2c", LOW, env__name="Acrobot-v1")
    comparison = compare(tmp_path)
    places = [[curve.label for curve in task.panels[0].curves] for task in comparison.tasks]
    names = [[label.split(" (")[0] for label in labels] for labels in places]
    assert names[0] == names[1]
    assert "es (no runs)" in places[0] + places[1]


def test_without_evaluations_there_are_no_curves(tmp_path: Path) -> None:
    make_run(tmp_path / "run", evals=[])
    comparison = compare(tmp_path)
    assert comparison.panels == []
    with pytest.raises(UserError, match="there are no learning curves"):
        comparison.save_chart(tmp_path / "curves.png")


def test_all_of_it_is_data(tmp_path: Path) -> None:
    make_group(tmp_path, "ppo", HIGH)
    make_group(tmp_path, "es", LOW[:2])
    data = compare(tmp_path).as_data()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert [row["group"] for row in data["groups"]] == ["ppo", "es"]
    assert {row["seed"]: row["score"] for row in data["runs"] if row["group"] == "ppo"} == dict(enumerate(HIGH))


# As a page


def test_the_page_has_verdicts_tables_curves_and_warnings(tmp_path: Path) -> None:
    make_group(tmp_path / "runs", "ppo", HIGH)
    make_group(tmp_path / "runs", "es", LOW)
    make_run(tmp_path / "runs" / "other", "es", seed=77, final=None)
    comparison = compare(tmp_path / "runs", by="algorithm")
    page = comparison.save_page(tmp_path / "page.html").read_text()
    assert comparison.pairs[0].sentence in page
    assert '<th scope="row">ppo</th>' in page
    assert page.count('<figure class="chart large"') == len(comparison.panels) == 2
    assert "Left out: 1 run." in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_only_an_older_page_is_replaced(tmp_path: Path) -> None:
    make_group(tmp_path / "runs", "es", LOW)
    comparison = compare(tmp_path / "runs", by="algorithm")
    comparison.save_page(tmp_path / "page.html")
    comparison.save_page(tmp_path / "page.html")
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(UserError, match=r"mine\.html exists already"):
        comparison.save_page(tmp_path / "mine.html")


def test_names_of_a_stranger_are_texts_on_the_page(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    make_group(tmp_path / "runs", "es", LOW, **{"env.name": evil})
    page = compare(tmp_path / "runs", by="algorithm").save_page(tmp_path / "page.html").read_text()
    assert "alert(1)" in page
    assert evil not in page
