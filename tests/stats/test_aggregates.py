"""Aggregates over seeds: their definitions, and that they are what rliable computes."""

import json
from pathlib import Path

import numpy as np
import pytest

from maze_core.stats import aggregates
from maze_core.stats.aggregates import (
    bands,
    improvement_probability,
    interquartile_mean,
    percentile_interval,
    resampled,
    resampled_improvement,
    wilson_interval,
)

RECORDED = json.loads(Path(__file__).parents[1].joinpath("data/rliable/recorded.json").read_text())
RECORDS = RECORDED["records"]
IDS = [f"{record['statistic']} of {record['name']}".replace(" ", "_") for record in RECORDS]
REPEATS = 20


def mean(scores):
    return scores.mean(axis=-1)


STATISTICS = {"interquartile_mean": interquartile_mean, "mean": mean}


def tasks_of(matrix):
    """Scores of each task, of a matrix [runs, tasks]."""
    return list(np.array(matrix, float).T)


def our_value(record):
    if record["statistic"] in STATISTICS:
        return float(STATISTICS[record["statistic"]](np.concatenate(tasks_of(record["scores"]))))
    return improvement_probability(tasks_of(record["scores_x"]), tasks_of(record["scores_y"]))


def our_interval(record, seed):
    rng, n = np.random.default_rng(seed), record["n_resamples"]
    if record["statistic"] in STATISTICS:
        return percentile_interval(resampled(tasks_of(record["scores"]), STATISTICS[record["statistic"]], rng, n))
    sides = tasks_of(record["scores_x"]), tasks_of(record["scores_y"])
    return percentile_interval(resampled_improvement(*sides, rng, n))


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_value_is_that_of_rliable(record):
    assert our_value(record) == pytest.approx(record["value"], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_interval_is_that_of_rliable_but_for_the_random_numbers(record):
    """Both computed it 20 times: the means of the ends differ by at most four of their standard errors."""
    ours = np.array([our_interval(record, seed) for seed in range(REPEATS)])
    theirs = np.array(record["intervals"])
    assert theirs.shape == (REPEATS, 2)
    error = np.sqrt((ours.var(axis=0, ddof=1) + theirs.var(axis=0, ddof=1)) / REPEATS)
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= 4 * error + 1e-9).all()


def test_record_says_what_made_it():
    assert RECORDED["versions"]["rliable"] == "1.2.0"
    assert {record["statistic"] for record in RECORDS} == {*STATISTICS, "improvement_probability"}


@pytest.mark.parametrize(
    ("scores", "value"),
    [
        ([7], 7),
        ([1, 3], 2),
        ([1, 2, 9], 4),
        ([0, 1, 3, 100], 2),
        ([100, 3, -50, 1, 2], 2),
        ([9, 1, 2, 3, 4, 5, 6, 90], 4.5),
    ],
)
def test_interquartile_mean_cuts_a_quarter_of_the_scores_off_at_either_end_rounded_down(scores, value):
    assert interquartile_mean(np.array(scores, float)) == value


def test_interquartile_mean_is_taken_along_the_last_axis():
    scores = np.arange(24.0).reshape(2, 3, 4)
    assert interquartile_mean(scores).tolist() == [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]


def test_improvement_counts_ties_half():
    assert improvement_probability([np.array([1.0, 2.0])], [np.array([2.0, 0.0])]) == (0.5 * 0 + 1 + 0.5 + 1) / 4


def test_improvement_of_one_side_is_what_the_other_lacks():
    x, y = np.array([1.0, 5.0, 5.0]), np.array([2.0, 5.0])
    assert improvement_probability([x], [y]) + improvement_probability([y], [x]) == 1


def test_resamples_stay_within_their_task():
    """Else a task could be missing in a resample, and its scores be there twice."""
    tasks = [np.zeros(3), np.full(3, 100.0)]
    assert set(resampled(tasks, mean, np.random.default_rng(0), 100)) == {50.0}


def test_the_same_random_numbers_give_the_same_resamples():
    tasks = [np.arange(5.0), np.arange(3.0)]
    first, second = (resampled(tasks, interquartile_mean, np.random.default_rng(3), 50) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert resampled(tasks, interquartile_mean, np.random.default_rng(4), 50).tolist() != first.tolist()


@pytest.mark.parametrize("block", [1, 40, 2**22])
def test_resamples_come_in_blocks_that_fit_into_memory(block, monkeypatch):
    monkeypatch.setattr(aggregates, "MAX_BLOCK", block)
    widths = []

    def counting(scores):
        widths.append(scores.size)
        return mean(scores)

    assert len(resampled([np.arange(8.0)], counting, np.random.default_rng(0), 100)) == 100
    assert max(widths) <= max(block, 8)
    assert len(resampled_improvement([np.arange(8.0)], [np.arange(8.0)], np.random.default_rng(0), 100)) == 100


def test_percentile_interval_holds_the_middle_of_the_values():
    assert percentile_interval(np.arange(101.0)) == (2.5, 97.5)
    assert percentile_interval(np.arange(101.0), 0.5) == (25, 75)


def test_band_at_one_point_is_the_interval_of_the_scores_there():
    curves = np.random.default_rng(0).normal(size=(6, 3))
    value, low, high = bands(curves, interquartile_mean, np.random.default_rng(1), 500)
    one = percentile_interval(resampled([curves[:, 1]], interquartile_mean, np.random.default_rng(1), 500))
    assert (low[1], high[1]) == pytest.approx(one)
    assert value.tolist() == pytest.approx([float(interquartile_mean(point)) for point in curves.T])


def test_band_is_that_of_the_curves_that_exist():
    curves = np.array([[1.0, 2.0, np.nan], [3.0, np.nan, np.nan]])
    value, low, high = bands(curves, mean, np.random.default_rng(0), 100)
    assert value.tolist()[:2] == [2, 2]
    assert (low[0], high[0]) == (1, 3)
    assert (low[1], high[1]) == (2, 2)
    assert np.isnan([value[2], low[2], high[2]]).all()


def test_band_does_not_depend_on_how_much_fits_into_memory(monkeypatch):
    curves = np.random.default_rng(0).normal(size=(5, 7))
    whole = bands(curves, interquartile_mean, np.random.default_rng(1), 200)
    monkeypatch.setattr(aggregates, "MAX_BLOCK", 2000)
    assert np.array_equal(whole, bands(curves, interquartile_mean, np.random.default_rng(1), 200))


def test_no_curves_have_no_band():
    value, low, high = bands(np.full((2, 3), np.nan), mean, np.random.default_rng(0), 10)
    assert np.isnan([value, low, high]).all()


@pytest.mark.parametrize(
    ("n_successes", "n", "expected"),
    [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (5, 10, (0.2366, 0.7634)), (1990, 2000, (0.9908, 0.9973))],
)
def test_wilson_interval_of_some_rates(n_successes, n, expected):
    assert wilson_interval(n_successes, n) == pytest.approx(expected, abs=1e-4)


def test_wilson_interval_has_those_rates_of_which_a_test_of_the_normal_approximation_sees_no_difference():
    for n_successes, n in [(3, 20), (19, 20)]:
        for rate in wilson_interval(n_successes, n):
            assert abs(n_successes / n - rate) / np.sqrt(rate * (1 - rate) / n) == pytest.approx(1.96, abs=1e-3)
