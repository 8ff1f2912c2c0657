"""Sections with the curves of runs, and with the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maze_core.reports import page as blocks
from maze_core.reports.curves import Panel
from maze_core.reports.markup import Html, joined
from maze_core.reports.page import Section, text_of
from maze_core.reports.panels import (
    LENGTH,
    STEPS,
    Statistic,
    axes,
    event_statistics,
    kpi_statistics,
    panels,
    returns,
    threshold_of,
    trainer_statistics,
)
from maze_core.reports.record import RunRecord, mean_return
from maze_core.runs.metrics import MetricRow
from maze_core.stats import REWARD

GROUP = "runs"
"""All charts of a page are zoomed together."""

MAX_CHARTS, FEWEST_CHARTS, MAX_CURVES, MAX_ROWS = 60, 6, 600, 200
POINTS, FEWEST, ALL_POINTS = 1000, 60, 30_000
MAX_PANELS_OF_FIGURE = 6


def curve_sections(records: Sequence[RunRecord]) -> list[Section]:
    """Learning curves, what the algorithm tells, events and KPIs."""
    paths = list(dict.fromkeys(path for record in records for path in record.statistics.paths()))
    learning = [returns(_threshold(records)), LENGTH]
    trainer, kpis, events = trainer_statistics(paths), kpi_statistics(paths), event_statistics(paths)
    if not paths:
        text = "There are no statistics yet: the first epoch did not end, or nobody wrote them."
        return [Section("Learning curves", blocks.paragraph(text))]
    points = _points(records, len(learning) + len(trainer) + len(kpis) + len(events))
    sections = [Section("Learning curves", _learning(records, learning, points))]
    if trainer:
        sections.append(Section("Updates", _many(records, trainer, points)))
    if kpis or events:
        table = _latest(records[0], [*kpis, *events]) if len(records) == 1 else ""
        sections.append(Section("Events and KPIs", joined(table, _many(records, [*kpis, *events], points))))
    return sections


def _threshold(records: Sequence[RunRecord]) -> float | None:
    """The return that counts as solved, if it is known and the same for all."""
    own = [threshold_of(record.config) for record in records]
    told = [record.clip.threshold if record.clip and _asks_env(record) else None for record in records]
    known = {a if a is not None else b for a, b in zip(own, told, strict=True)}
    return known.pop() if len(known) == 1 else None


def _asks_env(record: RunRecord) -> bool:
    """Whether the run left the threshold to its env."""
    runner = (record.config or {}).get("runner")
    return isinstance(runner, dict) and runner.get("stop_at_reward", 0) is None


def _points(records: Sequence[RunRecord], n_charts: int) -> int:
    """How many points a curve gets, so that the page stays small."""
    n_curves = max(1, min(n_charts, 2 * _limit(records)) * max(2, len(records)))
    return max(FEWEST, min(POINTS, ALL_POINTS // n_curves))


def _limit(records: Sequence[RunRecord]) -> int:
    """How many small charts a section has at most."""
    return max(FEWEST_CHARTS, min(MAX_CHARTS, MAX_CURVES // len(records)))


def _learning(records: Sequence[RunRecord], learning: Sequence[Statistic], points: int) -> Html:
    runs = [record.statistics for record in records]
    over = axes(runs)
    stage = "" if len(records) == 1 else "evaluation"
    first, *others = [panels(statistic, runs, over) for statistic in learning]
    shown = [blocks.chart(first[0], first[1:], GROUP, large=True, note=stage, points=POINTS)]
    shown += [blocks.chart(chart[0], chart[1:], GROUP, points=points) for chart in others if chart[0].curves]
    longest = max((len(run.of_stage(stage)) for run in runs for stage in ("train", "eval")), default=0)
    note = _about(longest, min(points, POINTS))
    choice = blocks.axis_choice([axis.name for axis in over], GROUP)
    tables = _epochs(records[0]) if len(records) == 1 else ""
    return joined(choice, blocks.hint(note), *shown, tables)


def _about(longest: int, points: int) -> str:
    text = "Drag to zoom in, double-click to see all. Keys: arrows read values, + and − zoom, 0 shows all."
    if longest <= points:
        return text
    return (
        f"{text} Curves of more than {points:,} points are drawn with about so many, the smallest and largest of each "
        "stretch among them."
    )


def _many(records: Sequence[RunRecord], statistics: Sequence[Statistic], points: int) -> Html:
    """Small charts side by side."""
    runs = [record.statistics for record in records]
    over = axes(runs)
    limit = _limit(records)
    charts = [panels(statistic, runs, over) for statistic in statistics[:limit]]
    shown = [blocks.chart(chart[0], chart[1:], GROUP, points=points) for chart in charts if chart[0].curves]
    more = len(statistics) - limit
    text = f"{more:,} more statistics are not shown; --csv writes all." if more > 0 else ""
    return joined(blocks.grid(*shown), blocks.paragraph(text) if text else "")


def _latest(record: RunRecord, statistics: Sequence[Statistic]) -> Html:
    """What the env told last, in numbers."""
    stages = {"last evaluation": "eval", "final evaluation": "final_eval", "last training epoch": "train"}
    rows: list[list[object]] = []
    for statistic in statistics[:MAX_CHARTS]:
        found = [record.statistics.series(stage, statistic.path).values for stage in stages.values()]
        values = [text_of(float(values[-1])) if len(values) else "–" for values in found]
        rows.append([statistic.title, statistic.y_label, *values])
    columns = ("event or KPI", "what", *stages)
    return blocks.table(columns, rows, "What the env told, means over episodes", range(2, 5))


def _epochs(record: RunRecord) -> Html:
    """The evaluations as a table, for who sees no curves."""
    rows = record.statistics.of_stage("eval")
    if not rows:
        return joined()
    kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_ROWS)).round().astype(int)).tolist()
    chosen = [rows[number] for number in kept]
    best = record.best
    if best is not None and best not in chosen:
        chosen = sorted([*chosen, best], key=lambda row: row.epoch)
    columns = ("epoch", "env steps", "training (s)", "mean return", "std", "min", "max", "episodes")
    cells = [[str(row.epoch), *_cells(row)] for row in chosen]
    caption = f"Evaluations, {len(chosen)} of {len(rows):,}" if len(chosen) < len(rows) else "All evaluations"
    return blocks.collapsible("Evaluations as a table", blocks.table(columns, cells, caption, range(8)))


def _cells(row: MetricRow) -> list[str]:
    values = [row.values.get(f"{REWARD}{name}") for name in ("std", "min", "max")]
    count = row.values.get(f"{REWARD}episode_count")
    return [
        f"{row.env_steps:,}", text_of(row.time.get("train_s")), text_of(mean_return(row)), *map(text_of, values),
        "–" if count is None else f"{count:,.0f}",
    ]  # fmt: skip


def figure_panels(records: Sequence[RunRecord]) -> list[Panel]:
    """Charts for a paper: return, episode length and KPIs over env steps."""
    runs = [record.statistics for record in records]
    paths = list(dict.fromkeys(path for run in runs for path in run.paths()))
    statistics = [returns(_threshold(records)), LENGTH, *kpi_statistics(paths)]
    charts = [panels(statistic, runs, [STEPS])[0] for statistic in statistics]
    return [chart for chart in charts if chart.curves][:MAX_PANELS_OF_FIGURE]
