"""Runs whose statistics are known, and pages about them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

REWARD = "BaseEnvEvents/reward/"


def row(epoch: int, stage: str = "eval", mean: float = 0.0, **more: float) -> dict[str, Any]:
    """A row of statistics; other values by path, with ``__`` for ``/``."""
    named = {name.replace("__", "/"): value for name, value in more.items()}
    returns = {"mean": mean, "std": 2.0, "min": mean - 3.0, "max": mean + 5.0, "mean_step_count": 20.0 + epoch,
               "episode_count": 4.0}  # fmt: skip
    return {
        "epoch": epoch, "stage": stage, "update": epoch + 1, "env_steps": 1000 * (epoch + 1),
        "time": {"train_s": 2.0 * (epoch + 1), "evaluation_s": 0.5 * (epoch + 1), "wall_s": 3.0 * (epoch + 1)},
        "values": {**{REWARD + name: value for name, value in returns.items()}, **named},
    }  # fmt: skip


def learning(n_epochs: int = 10, **more: float) -> list[dict[str, Any]]:
    """Epochs whose evaluations return 0, 10, 20, ...; training returns one less."""
    rows = [row(epoch, stage, 10.0 * epoch - (stage == "train"), **more) for epoch in range(n_epochs)
            for stage in ("train", "eval")]  # fmt: skip
    return [*rows, row(n_epochs - 1, "final_eval", 10.0 * n_epochs - 12.5, **more)]


def write_rows(run: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


class _Reader(HTMLParser):
    """What is in a page: its elements and its texts."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data: list[Any] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"] and self.elements[-1][1].get("type") == "application/json":
            self.data.append(json.loads(data))
        elif self._open[-1:] not in (["script"], ["style"]):
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass


class ReadPage:
    """A page as a program sees it that does not run scripts.

    Attributes:
        elements: Tag and attributes of each.
        text: All that is shown, on one line.
        charts: The data of each chart, by title.
    """

    def __init__(self, file: Path) -> None:
        self.source = file.read_text()
        reader = _Reader()
        reader.feed(self.source)
        self.elements = reader.elements
        self.text = re.sub(r"\s+", " ", " ".join(reader.texts))
        self.charts = {data["title"]: data for data in reader.data}

    def values(self, attribute: str) -> list[str]:
        """All values of an attribute."""
        return [attributes[attribute] or "" for _, attributes in self.elements if attribute in attributes]

    def curve(self, title: str, label: str) -> dict[str, Any]:
        """One curve of a chart."""
        return next(curve for curve in self.charts[title]["curves"] if curve["label"] == label)
