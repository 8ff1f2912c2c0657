"""The learning curves of the three forms, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cutting_2d_cases import FORM_BUDGETS, FORMS, OPTIMUM
from cutting_2d_tables import Results, curves, lines_of, steps
from learning_report import Floats, interquartile_mean, interval, resampled
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

COLORS = {"masked": "#0072B2", "structured": "#E69F00", "flat": "#CC79A7"}  # from Okabe & Ito (2008)
LABELS = {"masked": "#0072B2", "structured": "#A86F00", "flat": "#A34A7C"}
"""Darker where the line's colour is too light for text."""
INK, GREY, GRID = "#1A1A1A", "#6E6E6E", "#E5E5E5"
PANELS = {"evaluations": "Deterministic evaluation", "training": "Episodes of training, actions sampled"}
NEAR = OPTIMUM + 1
"""Return that the logarithmic axis measures distances to."""
TICKS = (-31, -32, -34, -38, -50, -100, -200, -360)
LIMITS = (-420, -30.5)
LINE_HEIGHT = 0.26
"""Of a label, in units of the logarithm."""


def draw(results: Results, file: Path) -> bool:
    """Draw the curves of all forms that were run; without any, draw nothing and return False."""
    forms = {form: lines for form in FORMS if (lines := lines_of(results, "forms", form))}
    if not forms:
        return False
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels: Any = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, (name, title) in zip(panels, PANELS.items(), strict=True):
        prepare(axes, title)
        places: list[tuple[float, float]] = []
        for form, lines in forms.items():
            places.append(draw_form(axes, form, *curves(lines, name), places))
    panels[0].set_ylabel(f"mean episode return (log of the distance to {_number(NEAR)})", color=INK)
    counts = sorted({len(lines) for lines in forms.values()})
    seeds = f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    figure.suptitle(
        f"PPO on three forms of the same cutting problem: interquartile mean of {seeds}, with its 95 % bootstrap "
        f"interval.\nBudgets: {', '.join(f'{form} {steps(n)}' for form, n in FORM_BUDGETS.items())} env steps.",
        x=0.01, ha="left", fontsize=10, color=GREY,
    )  # fmt: skip
    figure.savefig(file, dpi=150, metadata={"Software": None})
    return True


def prepare(axes: Axes, title: str) -> None:
    """Give a panel its axes and the line of the optimum."""
    axes.set_yscale("function", functions=(_nearness, lambda nearness: NEAR - np.exp(-nearness)))
    axes.set_ylim(*LIMITS)
    axes.set_yticks(TICKS, [_number(tick) for tick in TICKS])
    axes.minorticks_off()
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel("env steps of training", color=INK)
    axes.set_xlim(0, 1.02 * max(FORM_BUDGETS.values()))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1e6:g}M" if x else "0")
    axes.tick_params(colors=INK, labelleft=True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.axhline(OPTIMUM, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"optimum {_number(OPTIMUM)}", (axes.get_xlim()[1], OPTIMUM), color=GREY, xytext=(-20, 4),
        textcoords="offset points", ha="right", fontsize=9,
    )  # fmt: skip


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _nearness(value: Any) -> Any:
    return -np.log(np.maximum(NEAR - value, 1e-3))


def draw_form(
    axes: Axes, form: str, env_steps: Floats, values: Floats, taken: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Draw the curve of one form with its band, write its name at its end, and return where that is.

    Args:
        axes: Where to.
        form: Its name.
        env_steps: Of training, [k].
        values: Mean returns of each seed, [n, k].
        taken: Where names are that must not be written over.
    """
    middle = interquartile_mean(values.T)
    band = np.array([interval(resampled(column, np.random.default_rng(0))) for column in values.T])
    axes.fill_between(env_steps, band[:, 0], band[:, 1], color=COLORS[form], alpha=0.22, linewidth=0)
    axes.plot(env_steps, middle, color=COLORS[form], linewidth=2, solid_capstyle="round")
    x, place = float(env_steps[-1]), float(_nearness(middle[-1]))
    if form == "masked":  # its line goes on as that of the optimum
        place -= LINE_HEIGHT
    place = min([place, *(y - LINE_HEIGHT for other, y in taken if other == x and abs(y - place) < LINE_HEIGHT)])
    at = (x, NEAR - np.exp(-place))
    axes.annotate(
        form, at, color=LABELS[form], xytext=(6, 0), textcoords="offset points", va="center",
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )  # fmt: skip
    return x, place
