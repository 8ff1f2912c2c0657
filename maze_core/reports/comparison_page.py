"""A page about several groups of runs: what they score, how sure that is, and how they learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maze_core.reports.markup import Html, element, joined
from maze_core.reports.page import Section, chart, collapsible, facts, notice, page, paragraph, table

if TYPE_CHECKING:
    from maze_core.api.comparison_results import Comparison, TaskResult

HOW = (
    "A score is one number for each run. IQM is the interquartile mean of a group's scores: a quarter of them, rounded "
    "down, is cut off at either end. Its interval holds what it could have been with other seeds (stratified "
    "bootstrap, Agarwal et al. 2021). A group is better where the whole interval of the difference lies beyond 0 and "
    "that of the probability of improvement above 0.5; all else cannot be told apart, which does not say that the "
    "groups are equal."
)
MAX_SENTENCES = 6


def comparison_page(comparison: Comparison) -> bytes:
    """A page that stands for itself.

    Args:
        comparison: What was found.
    """
    n_runs = sum(len(group.runs) for task in comparison.tasks for group in task.groups if task.panels)
    header = facts([("Groups by", ", ".join(comparison.by)), ("Runs", str(n_runs))])
    sections = [Section(task.task, _of_task(comparison, task)) for task in comparison.tasks]
    sections.append(Section("How to read this", paragraph(HOW)))
    above = joined(header, _verdicts(comparison), _warnings(comparison))
    return page("Comparison of runs", sections, above, "Made by maze compare.")


def _verdicts(comparison: Comparison) -> Html:
    """What came out, in sentences; in tables alone where they would be too many."""
    told = [element("li", pair.sentence) for pair in comparison.pairs]
    return element("ul", *told) if 0 < len(told) <= MAX_SENTENCES else joined()


def _warnings(comparison: Comparison) -> Html:
    """What speaks against conclusions, before anything else is read."""
    shown = [notice(text[:1].upper() + text[1:]) for text in comparison.warnings]
    if comparison.left_out:
        n = len(comparison.left_out)
        reasons = element("ul", *(element("li", reason) for reason in comparison.left_out))
        text = f"Left out: {n} run{'s' * (n > 1)}. If they failed at what they ran, the rest looks too good."
        shown.append(notice(text, collapsible("Which", reasons)))
    return joined(*shown)


def _of_task(comparison: Comparison, task: TaskResult) -> Html:
    """Tables and learning curves of one env."""
    parts = [
        table(
            each.columns, each.rows, each.title, range(1, len(each.columns)) if each.columns[0] == "group" else (2, 3)
        )
        for each in comparison.tables(task)
    ]
    charts = [chart(panel, group=task.task, large=True) for panel in task.panels]
    note = (
        paragraph(comparison.note)
        if comparison.note and any(pair.task == task.task for pair in comparison.pairs)
        else ""
    )
    return joined(*parts[:1], *charts, *parts[1:], note)
