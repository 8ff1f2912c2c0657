"""Charts of the statistics of runs: which there are, and what they show."""

from __future__ import annotations

import math
from typing import Any

import pytest
from support.reports import REWARD, learning, row

from maze_core.reports.panels import (
    LENGTH,
    Statistics,
    axes,
    event_statistics,
    kpi_statistics,
    panels,
    returns,
    threshold_of,
    trainer_statistics,
)
from maze_core.reports.record import names_of
from maze_core.runs.metrics import MetricRow


def statistics(rows: list[dict[str, Any]], name: str = "run") -> Statistics:
    return Statistics(name, [MetricRow(**row) for row in rows])


def test_one_run_has_a_curve_for_each_stage() -> None:
    run = statistics(learning(3))
    (panel,) = panels(returns(), [run], axes([run])[:1])
    assert [(curve.label, curve.y.tolist()) for curve in panel.curves] == [
        ("evaluation", [0, 10, 20]), ("training", [-1, 9, 19]), ("final evaluation", [17.5])
    ]  # fmt: skip


def test_the_band_of_returns_is_that_of_its_episodes() -> None:
    run = statistics(learning(2))
    curve = panels(returns(), [run], axes([run])[:1])[0].curves[0]
    assert curve.low is not None
    assert curve.high is not None
    assert (curve.low.tolist(), curve.high.tolist()) == ([-3, 7], [5, 15])


def test_a_band_with_gaps_that_its_curve_has_not_is_left_out() -> None:
    rows = learning(2)
    del rows[1]["values"][REWARD + "min"]
    run = statistics(rows)
    assert panels(returns(), [run], axes([run])[:1])[0].curves[0].low is None


def test_several_runs_have_a_curve_each() -> None:
    runs = [statistics(learning(2), "a"), statistics(learning(3), "b")]
    (panel,) = panels(LENGTH, runs, axes(runs)[:1])
    assert [(curve.label, len(curve.y)) for curve in panel.curves] == [("a", 2), ("b", 3)]


def test_each_of_several_runs_has_its_colour_in_all_charts() -> None:
    runs = [statistics(learning(2), "a"), statistics(learning(2, TrainerEvents__lr__mean=0.1), "b")]
    (statistic,) = trainer_statistics(["TrainerEvents/lr/mean"])
    (panel,) = panels(statistic, runs, axes(runs)[:1])
    assert [(curve.label, len(curve.y)) for curve in panel.curves] == [("a", 0), ("b", 2)]


def test_what_is_to_the_right_can_be_steps_epochs_or_time() -> None:
    run = statistics(learning(3))
    over = axes([run])
    found = [(panel.x_label, panel.curves[0].x.tolist()) for panel in panels(returns(), [run], over)]
    assert found == [
        ("env steps of training", [1000, 2000, 3000]), ("epoch", [0, 1, 2]), ("training time (s)", [2, 4, 6])
    ]  # fmt: skip


@pytest.mark.parametrize(("seconds", "label"), [(179, "(s)"), (181, "(min)"), (10_801, "(h)")])
def test_long_times_have_larger_units(seconds: float, label: str) -> None:
    rows = [row(0)]
    rows[0]["time"]["train_s"] = seconds
    assert axes([statistics(rows)])[2].label == f"training time {label}"


def test_values_that_cannot_be_drawn_are_left_out_and_counted() -> None:
    rows = [row(0, mean=1.0), row(1, mean=math.nan), row(2, mean=math.inf), row(3, mean=1e305), row(4, mean=4.0)]
    run = statistics(rows)
    assert run.series("eval", f"{REWARD}mean").values.tolist() == [1, 4]
    assert run.not_finite()[f"{REWARD}mean"] == 3


def test_a_statistic_that_no_run_has_is_a_chart_without_curves() -> None:
    run = statistics([])
    assert panels(returns(), [run], axes([run])[:1])[0].curves == []


def test_what_algorithms_tell_has_titles_and_units() -> None:
    known, unknown = trainer_statistics(["TrainerEvents/approx_kl/mean", "KPIs/a/mean", "TrainerEvents/my_thing/mean"])
    assert (known.title, known.y_label) == ("Approximate KL divergence", "from the policy of the rollout (nats)")
    assert (unknown.title, unknown.y_label) == ("My thing", "mean of the updates of an epoch")


def test_events_say_how_they_were_reduced() -> None:
    paths = ["SalesEvents/sold:weekday/mean_episode_total", "BaseEnvEvents/reward/mean", "KPIs/usage/mean", "odd"]
    assert [(s.title, s.y_label) for s in event_statistics(paths)] == [
        ("Sold:weekday", "total of an episode (SalesEvents)"), ("Odd", "value")
    ]  # fmt: skip
    assert [(s.title, s.y_label) for s in kpi_statistics(paths)] == [("Usage", "KPI, mean of the episodes")]


@pytest.mark.parametrize(
    ("value", "known"), [(195, 195.0), (195.5, 195.5), (None, None), (math.inf, None), ("a", None), (True, None)]
)
def test_the_return_that_counts_as_solved_is_that_of_the_configuration(value: object, known: float | None) -> None:
    assert threshold_of({"runner": {"stop_at_reward": value}}) == known
    assert threshold_of({"runner": 3}) is None
    assert threshold_of(None) is None


def test_runs_are_called_what_tells_them_apart(tmp_path: Any) -> None:
    paths = [tmp_path / "ppo" / "1", tmp_path / "es" / "1", tmp_path / "es" / "2"]
    assert names_of(paths) == ["ppo/1", "es/1", "es/2"]
    assert names_of([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert names_of([tmp_path / "a", tmp_path / "a"])[0].endswith("a")
    assert len(names_of([tmp_path / ("x" * 99)])[0]) <= 48
