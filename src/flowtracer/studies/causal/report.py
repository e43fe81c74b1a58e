"""Table, figure and figures in JSON of a causal study."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowtracer.statistics.intervals import Interval
from flowtracer.studies.causal.figure import draw, marks, which_tokens
from flowtracer.studies.causal.settings import CausalStudy
from flowtracer.studies.causal.summary import (
    CHANCE,
    DROPS,
    PAPER_TABLE_1,
    Area,
    Cell,
    against,
    area_against,
    areas,
    cells,
    cuts_of,
    metric_interval,
    reproduced,
)
from flowtracer.studies.provenance import provenance, provenance_line, without_paths
from flowtracer.studies.solutions import LEAST_BEFORE
from flowtracer.studies.table import KINDS, nats, percent, points, table_lines, write_table

NAMES = {
    "changed": "answer changed",
    "another": "another answer",
    "unread": "no answer left",
    "reversed": "correctness reversed",
    "drop": "drop, nats",
    "answer_drop": "drop of the answer's tokens, nats",
}
SIDES = {
    "response": "Tokens of the response",
    "prompt": "Tokens of the prompt",
    "user": "Tokens of the prompt that the user wrote",
}
COMPARED = ("changed", "another")  # with chance; the drop where nothing is generated


def write_report(
    study: CausalStudy, rows: Sequence[dict[str, Any]], out: Path, *, command: str = ""
) -> Path:
    """Write `table.md`, `figures.json` and `figure.png` into `out`; returns the table's path."""
    all_cells = cells(rows)
    several = len({cell.ratio for cell in all_cells}) > 1
    curves = areas(
        all_cells, "drop" if study.protocol == "answer" or not study.regenerate else "changed"
    )
    curves = curves if several else []
    origin = provenance(study.solutions.model, command, out)
    lines = [_heading(study, rows), ""]
    for cut in cuts_of(rows):
        for excluded in study.excluded:
            lines += [f"### {which_tokens(cut, excluded, study.side)}", ""]
            if study.regenerate:
                lines += [_reproduced_line(len(reproduced(rows, cut)), len(rows)), ""]
            shown = [cell for cell in all_cells if (cell.cut, cell.excluded) == (cut, excluded)]
            if not shown:
                continue
            if curves:
                lines += _area_table([a for a in curves if (a.cut, a.excluded) == (cut, excluded)])
            lines += _table(study, shown)
    lines += [provenance_line(origin)]
    if all_cells:
        lines += ["", "![figure](figure.png)"]
    figures = {
        "study": without_paths(study),
        "origin": origin,
        "cells": [_plain(cell, all_cells) for cell in all_cells],
        "areas": [
            {
                "cut": area.cut,
                "excluded": area.excluded,
                "scorer": area.label,
                "metric": area.metric,
            }
            | asdict(metric_interval(area.metric, area.values))
            for area in curves
        ],
    }
    return write_table(
        out, lines, figures, draw(marks(all_cells), study.side) if all_cells else None
    )


def _heading(study: CausalStudy, rows: Sequence[dict[str, Any]]) -> str:
    whole = study.protocol == "rest" and not study.regenerate
    right = sum(row["correct"] for row in rows)
    skipped = max(row["problem"] for row in rows) + 1 - len(rows)
    what = (
        "the answer alone is regenerated"
        if study.protocol == "answer"
        else "everything after the cut is regenerated"
    )
    if not study.regenerate:
        what = "the old answer's log-probability is taken"
        if whole:
            what = "the old response's log-probability from the cut to its answer's end is taken"
    settings, old = study.solutions, "response" if whole else "answer"
    return (
        f"{SIDES[study.side]} are knocked out: no later token attends to them, in any layer or head; "
        f"{what}. {len(rows)} {settings.task} problems (the first of the {settings.split} split "
        f"whose solutions have at least {LEAST_BEFORE} tokens before the answer; {skipped} others were "
        f"skipped), {right} of them solved; greedy; seed {settings.seed}. In percent, and nats of the "
        f"old {old}'s log-probability; 95% intervals over problems ({KINDS}); differences are paired."
    )


def _reproduced_line(count: int, problems: int) -> str:
    if count == problems:
        return f"{problems} problems: with nothing knocked out, every answer was reproduced."
    return (
        f"{count} of {problems} problems; in the other {problems - count} the answer was not reproduced "
        "with nothing knocked out, and they are left out."
    )


def _table(study: CausalStudy, shown: Sequence[Cell]) -> list[str]:
    metrics = list(shown[0].values)
    paper = study.solutions.task == "gsm8k" and "changed" in metrics and study.side == "response"
    paper = paper and any(cell.label in PAPER_TABLE_1 and cell.ratio == 0.2 for cell in shown)
    compared = [metric for metric in metrics if metric in COMPARED] or metrics
    several = len({cell.ratio for cell in shown}) > 1
    columns = ["scorer", *(["ratio"] if several else [])]
    for metric in metrics:  # what decides comes first
        columns += [NAMES[metric]]
        columns += [f"{NAMES[metric]}, over {CHANCE}"] if metric in compared else []
    columns += [*([] if several else ["ratio"]), "tokens", *(["paper's table 1"] if paper else [])]
    entries = []
    for cell in shown:
        row = [cell.label, *([f"{100 * cell.ratio:g}%"] if several else [])]
        for metric in metrics:
            row += [_written(metric, metric_interval(metric, cell.values[metric]))]
            row += [_difference(metric, against(cell, shown, metric))] if metric in compared else []
        row += [*([] if several else [f"{100 * cell.ratio:g}%"]), f"{cell.knocked_out:.1f}"]
        if paper:
            stated = PAPER_TABLE_1.get(cell.label) if cell.ratio == 0.2 else None
            row.append(" / ".join(f"{100 * value:.1f}" for value in stated) if stated else "")
        entries.append(row)
    return [*table_lines(columns, entries), ""]


def _area_table(curves: Sequence[Area]) -> list[str]:
    """Scorers by the area under their curve, highest first."""
    metric = curves[0].metric
    unit = "drop in nats" if metric == "drop" else "answer changed, percent"
    entries = [
        [area.label, _written(metric, metric_interval(metric, area.values))]
        + [_difference(metric, area_against(area, curves, label)) for label in ("flow", CHANCE)]
        for area in sorted(curves, key=lambda area: -area.values.mean())
    ]
    return [
        f"Mean over ratios from 0 to the largest (area under the curve), {unit}:",
        "",
        *table_lines(["scorer", "area", "over flow", f"over {CHANCE}"], entries),
        "",
    ]


def _written(metric: str, interval: Interval) -> str:
    return nats(interval) if metric in DROPS else percent(interval)


def _difference(metric: str, interval: Interval | None) -> str:
    return nats(interval, "+") if metric in DROPS else points(interval)


def _plain(cell: Cell, all_cells: Sequence[Cell]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "cut": cell.cut,
        "excluded": cell.excluded,
        "scorer": cell.label,
        "ratio": cell.ratio,
        "knocked_out": cell.knocked_out,
        "problems": len(cell.problems),
    }
    for metric, values in cell.values.items():
        result[metric] = asdict(metric_interval(metric, values))
        gap = against(cell, all_cells, metric)
        if gap is not None:
            result[f"{metric}_over_{CHANCE}"] = asdict(gap)
    return result
