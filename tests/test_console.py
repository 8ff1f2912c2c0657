"""What people see, character for character."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maze_core.console import Output, best_line, print_table, progress_line, statistics_table, summary_lines
from maze_core.protocols import EpochReport, RunSummary
from maze_core.stats import Histogram, StageStatistics

TABLE = """\
********** Iteration 3 **********
 step|path                                                                                    |               value
=====|========================================================================================|====================
    4|eval                  DiscreteActionEvents  action                substep_0/action      |    [len:281, μ:0.5]
    4|eval                  BaseEnvEvents         reward                median_step_count     |              18.500
    4|eval                  BaseEnvEvents         reward                mean_step_count       |              28.100
    4|eval                  BaseEnvEvents         reward                total_step_count      |             928.000
    4|eval                  BaseEnvEvents         reward                total_episode_count   |              40.000
    4|eval                  BaseEnvEvents         reward                episode_count         |              10.000
    4|eval                  BaseEnvEvents         reward                std                   |              16.447
    4|eval                  BaseEnvEvents         reward                mean                  |              28.100
    4|eval                  BaseEnvEvents         reward                min                   |              16.000
    4|eval                  BaseEnvEvents         reward                max                   |              66.000"""
"""The table of mission.md, section 2."""

REWARD = {
    "median_step_count": 18.5, "mean_step_count": 28.1, "total_step_count": 928.0, "total_episode_count": 40.0,
    "episode_count": 10.0, "std": 16.447, "mean": 28.1, "min": 16.0, "max": 66.0,
}  # fmt: skip


def make_report(
    values: dict[str, float],
    histograms: dict[str, Histogram] | None = None,
    stage: str = "eval",
    epoch: int = 3,
    env_steps: int = 0,
    train_s: float = 0.0,
    wall_s: float = 0.0,
) -> EpochReport:
    statistics = StageStatistics(stage, values, histograms or {})
    return EpochReport(epoch, epoch + 1, env_steps, {"train_s": train_s, "wall_s": wall_s}, [statistics])


def rewards(**values: float) -> dict[str, float]:
    return {f"BaseEnvEvents/reward/{name}": value for name, value in values.items()}


def test_the_statistics_table_is_that_of_the_mission() -> None:
    actions = Histogram(np.repeat([0, 1], [141, 140]))
    report = make_report(rewards(**REWARD), {"DiscreteActionEvents/action/substep_0/action": actions})
    assert statistics_table(report) == TABLE


def test_the_table_of_an_evaluation_has_the_rows_of_the_mission_in_its_order() -> None:
    """The statistics themselves, not only their print."""
    from maze_core.rl.episodes import EpisodeBatch
    from maze_core.stats import EpisodeTotals

    batch = EpisodeBatch(np.array([16.0, 66.0]), np.array([16, 66]))
    values = EpisodeTotals().reduce("eval", [batch]).values
    assert list(values) == [f"BaseEnvEvents/reward/{name}" for name in REWARD]


def test_parts_that_are_too_long_end_in_two_dots() -> None:
    long = "abcdefghijklmnopqrstuvwxyz"
    row = statistics_table(make_report({f"{long}/{long}/{long}": 1e30})).splitlines()[-1]
    path, value = row.split("|")[1:]
    assert path == "eval".ljust(22) + 3 * "abcdefghijklmnopqrs.. "
    assert value == "100000000000000001.."
    assert len(row) == 5 + 1 + 88 + 1 + 20


def test_a_part_that_just_fits_is_not_cut() -> None:
    row = statistics_table(make_report({f"{'g' * 21}/{'e' * 21}/{'s' * 21}": 0.0})).splitlines()[-1]
    assert row.split("|")[1] == "eval".ljust(22) + "g" * 21 + " " + "e" * 21 + " " + "s" * 21 + " "


def test_a_histogram_names_sub_step_and_action_in_the_fourth_column() -> None:
    report = make_report({}, {"DiscreteActionEvents/action/cut_piece/rotation": Histogram(np.array([1, 2]))})
    row = statistics_table(report).splitlines()[-1]
    assert row.split("|")[1][66:].rstrip() == "cut_piece/rotation"
    assert row.split("|")[2] == "      [len:2, μ:1.5]"


def test_training_and_evaluation_share_a_table() -> None:
    train, evaluation = StageStatistics("train", {"a/b/c": 1.0}), StageStatistics("eval", {"a/b/c": 2.0})
    rows = statistics_table(EpochReport(0, 1, 0, {}, [train, evaluation])).splitlines()
    assert [row[6:11] for row in rows[3:]] == ["train", "eval "]


def test_the_best_model_is_announced() -> None:
    assert best_line(28.1) == "-> new overall best model 28.10000!"
    assert best_line(-1234.5) == "-> new overall best model -1234.50000!"


@pytest.mark.parametrize(
    ("n_epochs", "wall_s", "line"),
    [
        (10, 8.0, "epoch 4 of 10, 12,000 env steps, 6,000 env steps/s in training, at most 12 s left"),
        (100, 40.0, "epoch 4 of 100, 12,000 env steps, 6,000 env steps/s in training, at most 16 min left"),
        (1000, 400.0, "epoch 4 of 1000, 12,000 env steps, 6,000 env steps/s in training, at most 27.7 h left"),
        (None, 8.0, "epoch 4, 12,000 env steps, 6,000 env steps/s in training"),
    ],
)
def test_progress_is_one_line(n_epochs: int | None, wall_s: float, line: str) -> None:
    report = make_report({}, env_steps=12_000, train_s=2.0, wall_s=wall_s)
    assert progress_line(report, n_epochs) == line


def test_progress_without_training_time_yet_has_no_rate() -> None:
    assert progress_line(make_report({}, epoch=0, env_steps=5), None) == "epoch 1, 5 env steps"


def test_the_summary_says_what_came_out_and_what_to_do_next() -> None:
    final = make_report(rewards(mean=480.0, std=12.5, episode_count=20.0), stage="final_eval")
    assert summary_lines(
        RunSummary("solved", final, 490.0, 7, Path("outputs/x")), "maze train input_dir=outputs/x"
    ) == [
        "Run ended: solved.",
        "Best evaluation: 490.000 in iteration 7.",
        "Final evaluation of the best policy: 480.000 ± 12.500 over 20 new episodes.",
        "Results: outputs/x  (best weights state_dict.pt, last ones final_state_dict.pt)",
        "A page about it:  maze report outputs/x",
        "Curves:  maze board outputs/x",
        "Go on from these weights:  maze train input_dir=outputs/x",
    ]


def test_the_summary_of_an_interrupted_run_has_no_final_evaluation() -> None:
    lines = summary_lines(RunSummary("interrupted by SIGINT", None, None, None, Path("x"), 2), "", "maze resume x")
    assert lines[:3] == [
        "Run ended: interrupted by SIGINT.",
        "Go on where it ended:  maze resume x",
        "Results: x  (best weights state_dict.pt, last ones final_state_dict.pt)",
    ]


def test_commands_with_a_path_can_be_typed_as_they_are() -> None:
    lines = summary_lines(RunSummary("done", None, None, None, Path("my runs/x")), "")
    assert any(line.endswith("maze board 'my runs/x'") for line in lines)


def test_markup_in_a_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Output().line("hidden_sizes: [64, 64] [bold]x[/bold] :smile: " + "long " * 60)
    assert capsys.readouterr().out == "hidden_sizes: [64, 64] [bold]x[/bold] :smile: " + "long " * 60 + "\n"


def test_a_table_that_is_piped_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "summary"], [["a", "word " * 100], ["[red]", "x"]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "word " * 99 in lines[1]
    assert lines[2].startswith("[red]")


def test_an_empty_table_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "summary"], [])
    assert capsys.readouterr().out.split() == ["name", "summary"]
