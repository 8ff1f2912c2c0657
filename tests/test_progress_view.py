"""What a person sees of a run in progress, for any width of a terminal."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from maze_core.progress_view import (
    FINE,
    PLAIN,
    Glyphs,
    History,
    ProgressView,
    bar,
    budget_row,
    clock,
    coloured,
    duration,
    fitted,
    number,
    seconds_left,
    sparkline,
)
from maze_core.protocols import EpochReport, RunProgress
from maze_core.run_config import MEAN_RETURN
from maze_core.stats import REWARD, StageStatistics

PROGRESS = RunProgress(
    "training", 11, 55, 112_640, 0.11, {"train_s": 20.0, "evaluation_s": 5.0, "wall_s": 30.0},
    {"env": 15.0, "forward": 3.0, "store": 0.1, "update": 6.9, "evaluation": 5.0, "other": 0.0},
    100, 81.7, 10, 14, 200.0,
)  # fmt: skip


def make_view(progress: RunProgress = PROGRESS, returns: tuple[float, ...] = (-200.0, -50.0, 81.7)) -> ProgressView:
    view = ProgressView()
    for epoch, mean in enumerate(returns):
        evaluation = StageStatistics("eval", {"BaseEnvEvents/reward/mean": mean})
        view.add(EpochReport(epoch, epoch, epoch, {}, [StageStatistics("train", {}), evaluation]))
    view.update(progress)
    return view


def plain_lines(view: ProgressView, width: int = 100, glyphs: Glyphs = FINE) -> list[str]:
    return [re.sub(r"\x1b\[[\d;]*m", "", line) for line in view.lines(width, glyphs)]


def text(parts: Any) -> str:
    return "".join(part for part, _ in parts)


def test_it_is_these_lines() -> None:
    assert plain_lines(make_view()) == [
        "epoch    12 of 100  ━━━━╸───────────────────────────────────  11%  at most 4 min left",
        "steps    112,640 env steps · 5,632/s in training · 55 updates",
        "return   81.7  ▁▅█",
        "best     81.7 in iteration 10 · 14 epochs of patience left · solved at 200",
        "time     0:30 · env 50% · forward 10% · update 23% · evaluation 17%",
    ]


def test_on_a_narrow_terminal_it_is_shorter_and_nothing_is_cut_in_the_middle() -> None:
    assert plain_lines(make_view(), width=40) == [
        "epoch 12 of 100  11%  at most 4 min left",
        "steps 112,640 env steps",
        "return 81.7  ▁▅█",
        "best 81.7 in iteration 10",
        "time 0:30 · env 50% · forward 10%",
    ]


@pytest.mark.parametrize("width", range(20, 200, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    view = make_view(returns=tuple(range(300)))
    view.warn("a long warning " * 20)
    assert max(map(len, plain_lines(view, width))) <= width


def test_without_unicode_it_is_drawn_in_ascii() -> None:
    lines = plain_lines(make_view(), glyphs=Glyphs.of("ascii"))
    assert "\n".join(lines).isascii()
    assert lines[0].startswith("epoch    12 of 100  ====>-----")
    assert lines[2] == "return   81.7  _=#"


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("utf-8", FINE), ("latin-1", PLAIN), ("ascii", PLAIN), (None, PLAIN), ("unheard-of", PLAIN)],
)
def test_what_is_drawn_with_is_what_the_encoding_has(encoding: str | None, glyphs: Glyphs) -> None:
    assert Glyphs.of(encoding) is glyphs


def test_before_the_first_evaluation_it_says_so() -> None:
    first = replace(PROGRESS, epoch=0, share=0.0, env_steps=0, update=0, best_reward=None, best_epoch=None)
    lines = plain_lines(make_view(first, ()))
    assert lines[0] == "epoch    1 of 100  ╸───────────────────────────────────────   0%"
    assert lines[2] == "return   not evaluated yet"
    assert [line.split()[0] for line in lines] == ["epoch", "steps", "return", "time"]


def test_a_run_that_is_never_solved_does_not_say_when() -> None:
    endless = replace(PROGRESS, reward_threshold=math.inf, patience_left=None)
    assert plain_lines(make_view(endless))[3] == "best     81.7 in iteration 10"


def test_a_run_without_a_budget_has_no_bar() -> None:
    assert text(budget_row(replace(PROGRESS, share=None, n_epochs=None), 0.0, 100, FINE)) == "epoch    12"


@pytest.mark.parametrize(("since", "shown"), [(0.5, False), (3.0, True)])
def test_what_takes_long_is_named(since: float, shown: bool) -> None:
    row = text(budget_row(replace(PROGRESS, doing="evaluation"), since, 100, FINE))
    assert ("· evaluation" in row) is shown


def test_warnings_are_counted_and_the_newest_is_shown_in_one_line() -> None:
    view = make_view()
    view.notes = ["a note"]
    assert plain_lines(view)[-1] == "note     a note"
    view.warn("first")
    assert plain_lines(view)[-1] == "warning  first"
    view.warn("second\nof two \x1b[2J lines")
    assert plain_lines(view)[-1] == r"warning  2, the newest: second of two \x1b[2J lines"


@pytest.mark.parametrize(
    ("values", "width", "curve"),
    [
        ([], 5, ""),
        ([3.0], 5, "▁"),
        ([2.0, 2.0, 2.0], 5, "▁▁▁"),
        ([0.0, 1.0, 7.0], 5, "▁▂█"),
        (list(range(8)), 8, "▁▂▃▄▅▆▇█"),
        (list(range(80)), 8, "▁▂▃▄▅▆▇█"),
        ([5.0, -5.0], 5, "█▁"),
        ([1e300, -1e300], 5, "█▁"),
    ],
)
def test_a_curve_goes_from_the_lowest_value_to_the_highest(values: list[float], width: int, curve: str) -> None:
    assert sparkline(values, width, FINE) == curve


def test_the_last_column_of_a_curve_has_the_newest_values() -> None:
    assert sparkline([0.0] * 101 + [1.0], 10, FINE).endswith("▁█")


@pytest.mark.parametrize(("share", "shown"), [(0.0, ">----"), (0.5, "==>--"), (0.99, "====>"), (1.0, "=====")])
def test_a_bar_always_has_its_width(share: float, shown: str) -> None:
    assert text(bar(share, 5, PLAIN)) == shown


def test_the_time_left_passes_between_two_updates() -> None:
    assert seconds_left(replace(PROGRESS, share=0.25), 0.0) == 90.0
    assert seconds_left(replace(PROGRESS, share=0.25), 30.0) == 60.0
    assert seconds_left(replace(PROGRESS, share=0.25), 1e9) == 0.0
    assert seconds_left(replace(PROGRESS, share=0.0), 0.0) is None
    assert seconds_left(replace(PROGRESS, share=None), 0.0) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (60, "1 min"), (3569, "59 min"), (3599, "1.0 h"),
        (5400, "1.5 h"),
    ],
)  # fmt: skip
def test_durations_are_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (119.6, "2 min 00 s"), (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"), (7199, "2 h 00 min"), (-1, "-1 s"), (math.inf, "inf s"), (math.nan, "nan s"),
    ],
)  # fmt: skip
def test_measured_durations_have_more_digits(seconds: float, words: str) -> None:
    assert duration(seconds, exact=True) == words


def test_returns_are_those_of_the_statistics() -> None:
    assert REWARD + "mean" == MEAN_RETURN


@pytest.mark.parametrize(("seconds", "shown"), [(5.9, "0:05"), (65, "1:05"), (7265, "2:01:05")])
def test_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0.0"), (475, "475.0"), (-1774.71, "-1,774.7"), (0.01234, "0.0123"), (2.5e9, "2.5e+09")]
)
def test_a_return_has_the_digits_that_matter(value: float, shown: str) -> None:
    assert number(value) == shown


def test_what_does_not_fit_ends_with_a_mark() -> None:
    assert text(fitted([("abc", ""), ("def", "bold")], 6, FINE)) == "abcdef"
    assert text(fitted([("abc", ""), ("def", "bold")], 5, FINE)) == "abcd…"
    assert text(fitted([("abc", ""), ("def", "bold")], 5, PLAIN)) == "abc.."


def test_without_colours_only_bold_and_faint_letters_are_left() -> None:
    assert coloured([("a", "good"), ("b", "warning"), ("c", "")], True) == "\x1b[1;32ma\x1b[0m\x1b[33mb\x1b[0mc"
    assert coloured([("a", "good"), ("b", "warning"), ("c", "")], False) == "\x1b[1ma\x1b[0mbc"


def test_the_returns_of_a_long_run_stay_few() -> None:
    history = History()
    for value in range(10_000):
        history.add(float(value))
    assert 128 <= len(history.values) < 256
    assert history.newest == 9999.0
    assert history.values == sorted(history.values)


@pytest.mark.parametrize("n", [0, 1, 255, 256, 1003])
def test_returns_go_on_from_their_state(n: int) -> None:
    whole, again = History(), History()
    for value in range(n):
        whole.add(float(value))
    again.load_state_dict(whole.state_dict())
    for value in range(700):
        whole.add(float(value))
        again.add(float(value))
    assert again.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"values": "many"}, {"values": [0.0] * 256}, {"values": [math.nan]}, {"values": [None]}, {"newest": "x"},
        {"per": 0}, {"per": 1.5}, {"rest": [1.0]},
    ],
)  # fmt: skip
def test_returns_that_are_none_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        History().load_state_dict({"values": [], "newest": None, "per": 1, "rest": [], **change})
