"""Rows of a causal study as figures with intervals: pure functions on plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowtracer.statistics.intervals import (
    Interval,
    bootstrap,
    difference_interval,
    rate_interval,
)
from flowtracer.studies.scorer_choices import label_of

CHANCE = "random"
# From a condition's fields. An answer is changed if it is another one, or if none can be read any more.
METRICS: dict[str, tuple[str, Callable[[dict[str, Any]], float]]] = {
    "changed": ("changed", lambda row: row["changed"]),
    "another": ("answer", lambda row: row["changed"] and row["answer"] is not None),
    "unread": ("answer", lambda row: row["answer"] is None),
    "reversed": ("reversed", lambda row: row["reversed"]),
    "drop": ("drop", lambda row: row["drop"]),
    "answer_drop": ("answer_drop", lambda row: row["answer_drop"]),
}
DROPS = ("drop", "answer_drop")  # nats; the others are rates

# Table 1 of the paper: Qwen3-4B-Base on GSM8K, 20% hidden; answer changed, correctness reversed.
PAPER_TABLE_1 = {
    "random": (0.295, 0.045),
    "flow@end=bottom": (0.149, 0.005),
    "flow": (0.459, 0.149),
}

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One scorer at one ratio: per-problem values of each metric, draws averaged."""

    cut: float | None
    excluded: int
    label: str
    ratio: float
    knocked_out: float  # tokens, mean over problems
    problems: tuple[int, ...]
    values: dict[str, Values]


@dataclass(frozen=True)
class Area:
    """Mean of a metric over ratios from 0 to the largest, by the trapezoid rule; per problem."""

    cut: float | None
    excluded: int
    label: str
    metric: str
    values: Values


def reproduced(rows: Sequence[dict[str, Any]], cut: float | None) -> list[dict[str, Any]]:
    """Rows whose answer was reproduced when nothing was knocked out."""
    return [row for row in rows if _text(row, cut)["reproduced"]]


def cuts_of(rows: Sequence[dict[str, Any]]) -> list[float | None]:
    """The cuts of a study, in order; [None] where the answer alone is regenerated."""
    return [text["cut"] for text in rows[0]["texts"]]


def cells(rows: Sequence[dict[str, Any]]) -> list[Cell]:
    """One cell for each cut, number of excluded tokens, scorer and ratio, in the study's order."""
    result: list[Cell] = []
    for cut in cuts_of(rows):
        kept = reproduced(rows, cut)
        groups: dict[tuple[int, str, float], list[list[dict[str, Any]]]] = {}
        for index, row in enumerate(kept):
            for condition in _text(row, cut)["conditions"]:
                label = label_of(condition["scorer"])
                key = (condition["excluded"], label, condition["ratio"])
                draws_by_problem = groups.setdefault(key, [])
                if len(draws_by_problem) <= index:
                    draws_by_problem.append([])
                draws_by_problem[index].append(condition)
        for (excluded, label, ratio), members in groups.items():
            values = {
                metric: np.array([np.mean([read(draw) for draw in draws]) for draws in members])
                for metric, (field, read) in METRICS.items()
                if field in members[0][0]
            }
            counts = [draw["knocked_out"] for draws in members for draw in draws]
            problems = tuple(row["problem"] for row in kept)
            mean = float(np.mean(counts))
            result.append(Cell(cut, excluded, label, ratio, mean, problems, values))
    return result


def areas(all_cells: Sequence[Cell], metric: str) -> list[Area]:
    """The area under each scorer's curve, divided by the largest ratio: a mean over ratios.

    At ratio 0 nothing is knocked out and every metric is 0.
    """
    curves: dict[tuple[float | None, int, str], list[Cell]] = {}
    for cell in all_cells:
        if metric in cell.values:
            curves.setdefault((cell.cut, cell.excluded, cell.label), []).append(cell)
    result = []
    for (cut, excluded, label), curve in curves.items():
        curve = sorted(curve, key=lambda cell: cell.ratio)
        ratios = np.array([0.0, *(cell.ratio for cell in curve)])
        heights = np.stack([np.zeros_like(curve[0].values[metric])]
                           + [cell.values[metric] for cell in curve])  # fmt: skip
        middle = (heights[1:] + heights[:-1]) / 2
        area = (middle * np.diff(ratios)[:, None]).sum(0) / ratios[-1]
        result.append(Area(cut, excluded, label, metric, area))
    return result


def metric_interval(metric: str, values: Values) -> Interval:
    """A metric's mean over problems: the drop is no rate, the others are."""
    return bootstrap(values) if metric in DROPS else rate_interval(values)


def metric_difference(metric: str, values: Values, others: Values) -> Interval:
    """The paired difference of a metric over the same problems."""
    paired = values - others
    return bootstrap(paired) if metric in DROPS else difference_interval(paired)


def against(
    cell: Cell, others: Sequence[Cell], metric: str, label: str = CHANCE
) -> Interval | None:
    """The paired difference to another scorer at the same cut and ratio; None if there is none."""
    for other in others:
        same = (other.cut, other.excluded, other.ratio) == (cell.cut, cell.excluded, cell.ratio)
        if same and other.label == label and other is not cell and metric in other.values:
            return metric_difference(metric, cell.values[metric], other.values[metric])
    return None


def area_against(area: Area, others: Sequence[Area], label: str) -> Interval | None:
    """As `against`, of areas."""
    for other in others:
        same = (other.cut, other.excluded, other.metric) == (area.cut, area.excluded, area.metric)
        if same and other.label == label and other is not area:
            return metric_difference(area.metric, area.values, other.values)
    return None


def _text(row: dict[str, Any], cut: float | None) -> dict[str, Any]:
    text: dict[str, Any] = next(text for text in row["texts"] if text["cut"] == cut)
    return text
