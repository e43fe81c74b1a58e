"""Rows of a causal study as figures with intervals: pure functions on plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowtracer.evaluation.intervals import Interval, bootstrap
from flowtracer.studies.measures import parse_measure

CHANCE = "random"
# By what a condition says. An answer is changed if it is another one, or if none can be read any more.
METRICS: dict[str, tuple[str, Callable[[dict[str, Any]], float]]] = {
    "changed": ("changed", lambda one: one["changed"]),
    "another": ("answer", lambda one: one["changed"] and one["answer"] is not None),
    "unread": ("answer", lambda one: one["answer"] is None),
    "reversed": ("reversed", lambda one: one["reversed"]),
    "drop": ("drop", lambda one: one["drop"]),
}

# Table 1 of the paper: Qwen3-4B-Base on GSM8K, 20% hidden; answer changed, correctness reversed.
PAPER_TABLE_1 = {
    "random": (0.295, 0.045),
    "flow@end=bottom": (0.149, 0.005),
    "flow": (0.459, 0.149),
}

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One measure at one ratio: per-problem values of each metric, draws averaged."""

    cut: float | None
    spared: int
    label: str
    ratio: float
    hidden: float  # tokens, mean over problems
    problems: tuple[int, ...]
    values: dict[str, Values]


@dataclass(frozen=True)
class Area:
    """Mean of a metric over ratios from 0 to the largest, by the trapezoid rule; per problem."""

    cut: float | None
    spared: int
    label: str
    metric: str
    values: Values


def came_back(rows: Sequence[dict[str, Any]], cut: float | None) -> list[dict[str, Any]]:
    """Rows whose answer came back when nothing was hidden."""
    return [row for row in rows if _text(row, cut)["came_back"]]


def cuts_of(rows: Sequence[dict[str, Any]]) -> list[float | None]:
    """The cuts of a study, in order; [None] where the answer alone is generated."""
    return [text["cut"] for text in rows[0]["texts"]]


def cells(rows: Sequence[dict[str, Any]]) -> list[Cell]:
    """One cell for each cut, number of spared tokens, measure and ratio, in the study's order."""
    found: list[Cell] = []
    for cut in cuts_of(rows):
        kept = came_back(rows, cut)
        groups: dict[tuple[int, str, float], list[list[dict[str, Any]]]] = {}
        for place, row in enumerate(kept):
            for one in _text(row, cut)["conditions"]:
                label = parse_measure(one["measure"]).label
                group = groups.setdefault((one["spared"], label, one["ratio"]), [])
                if len(group) <= place:
                    group.append([])
                group[place].append(one)
        for (spared, label, ratio), members in groups.items():
            values = {
                metric: np.array([np.mean([read(one) for one in draws]) for draws in members])
                for metric, (needs, read) in METRICS.items()
                if needs in members[0][0]
            }
            hidden = float(np.mean([one["hidden"] for draws in members for one in draws]))
            problems = tuple(row["problem"] for row in kept)
            found.append(Cell(cut, spared, label, ratio, hidden, problems, values))
    return found


def areas(found: Sequence[Cell], metric: str) -> list[Area]:
    """The area under each measure's curve, divided by the largest ratio: a mean over ratios.

    At ratio 0 nothing is hidden and every metric is 0.
    """
    curves: dict[tuple[float | None, int, str], list[Cell]] = {}
    for cell in found:
        if metric in cell.values:
            curves.setdefault((cell.cut, cell.spared, cell.label), []).append(cell)
    result = []
    for (cut, spared, label), points in curves.items():
        points = sorted(points, key=lambda one: one.ratio)
        ratios = np.array([0.0, *(one.ratio for one in points)])
        heights = np.stack([np.zeros_like(points[0].values[metric])]
                           + [one.values[metric] for one in points])  # fmt: skip
        middle = (heights[1:] + heights[:-1]) / 2
        area = (middle * np.diff(ratios)[:, None]).sum(0) / ratios[-1]
        result.append(Area(cut, spared, label, metric, area))
    return result


def against(
    cell: Cell, others: Sequence[Cell], metric: str, label: str = CHANCE
) -> Interval | None:
    """The paired difference to another measure at the same place and ratio; None if there is none."""
    for other in others:
        same = (other.cut, other.spared, other.ratio) == (cell.cut, cell.spared, cell.ratio)
        if same and other.label == label and other is not cell and metric in other.values:
            return bootstrap(cell.values[metric] - other.values[metric])
    return None


def area_against(area: Area, others: Sequence[Area], label: str) -> Interval | None:
    """As `against`, of areas."""
    for other in others:
        same = (other.cut, other.spared, other.metric) == (area.cut, area.spared, area.metric)
        if same and other.label == label and other is not area:
            return bootstrap(area.values - other.values)
    return None


def _text(row: dict[str, Any], cut: float | None) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in row["texts"] if one["cut"] == cut)
    return found
