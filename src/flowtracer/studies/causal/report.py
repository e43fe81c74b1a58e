"""Table, figure and figures in JSON of a causal study."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure

from flowtracer.evaluation.intervals import bootstrap
from flowtracer.studies.causal.study import CausalStudy
from flowtracer.studies.causal.summary import (
    CHANCE,
    PAPER_TABLE_1,
    Area,
    Cell,
    against,
    area_against,
    areas,
    came_back,
    cells,
    cuts_of,
)
from flowtracer.studies.provenance import provenance, provenance_line, without_paths
from flowtracer.studies.solutions import LEAST_BEFORE
from flowtracer.studies.table import nats, percent, points, write_table

NAMES = {
    "changed": "answer changed",
    "another": "another answer",
    "unread": "no answer left",
    "reversed": "correctness reversed",
    "drop": "drop, nats",
}
COMPARED = ("changed", "another")  # with chance; the drop where nothing is generated
MARKS = "osD^vPX*<>hd"
OWN = {"flow": "#083370", CHANCE: "#555555"}  # always the same tint
FEW = 6  # lines that one panel can show apart


def write_report(
    study: CausalStudy, rows: Sequence[dict[str, Any]], out: Path, *, command: str = ""
) -> Path:
    """Write `table.md`, `figures.json` and `figure.png` into `out`; returns the table's path."""
    found = cells(rows)
    several = len({cell.ratio for cell in found}) > 1
    metric = "drop" if study.protocol == "answer" else "changed"
    curves = areas(found, metric) if several else []
    origin = provenance(study.model, command, out)
    lines = [_heading(study, rows), ""]
    for cut in cuts_of(rows):
        back = len(came_back(rows, cut))
        for spared in study.spared:
            lines += [f"### {_where(cut, spared)}", ""]
            if study.regenerate:
                lines += [_kept(back, len(rows)), ""]
            here = [one for one in found if (one.cut, one.spared) == (cut, spared)]
            if not here:
                continue
            if curves:
                lines += _area_table([c for c in curves if (c.cut, c.spared) == (cut, spared)])
            lines += _table(study, here)
    lines += [provenance_line(origin)]
    if found:
        lines += ["", "![figure](figure.png)"]
    figures = {
        "study": without_paths(study),
        "origin": origin,
        "cells": [_plain(one, found) for one in found],
        "areas": [
            {"cut": one.cut, "spared": one.spared, "measure": one.label, "metric": one.metric}
            | asdict(bootstrap(one.values))
            for one in curves
        ],
    }
    return write_table(out, lines, figures, _figure(found) if found else None)


def _heading(study: CausalStudy, rows: Sequence[dict[str, Any]]) -> str:
    right = sum(row["correct"] for row in rows)
    skipped = max(row["problem"] for row in rows) + 1 - len(rows)
    what = (
        "the answer alone is generated anew"
        if study.protocol == "answer"
        else "all behind the cut is generated anew"
    )
    if not study.regenerate:
        what = "the old answer's log-probability is taken"
    return (
        f"Tokens of the response are hidden from all later positions in all layers and heads, and {what}. "
        f"{len(rows)} {study.task} problems (the first of split {study.split} whose solutions have an "
        f"answer with at least {LEAST_BEFORE} tokens in front of it; {skipped} between them do not), "
        f"{right} of them solved; greedy; seed {study.seed}. In percent, and nats of the old answer's "
        "log-probability; 95% bootstrap intervals over problems; differences are paired."
    )


def _where(cut: float | None, spared: int) -> str:
    place = "up to the answer" if cut is None else f"cut at {100 * cut:g}% of the way to the answer"
    return f"Hidden {place}" + (f", the last {spared} tokens spared" if spared else "")


def _kept(back: int, problems: int) -> str:
    if back == problems:
        return f"{problems} problems: with nothing hidden, every answer came back."
    return (
        f"{back} of {problems} problems; in the other {problems - back} the answer did not come back with "
        "nothing hidden, and they are left out."
    )


def _table(study: CausalStudy, here: Sequence[Cell]) -> list[str]:
    metrics = list(here[0].values)
    paper = study.task == "gsm8k" and "changed" in metrics
    paper = paper and any(c.label in PAPER_TABLE_1 and c.ratio == 0.2 for c in here)
    compared = [one for one in metrics if one in COMPARED] or ["drop"]
    columns = ["measure", "share", "tokens", *(NAMES[one] for one in metrics)]
    columns += [f"{NAMES[one]}, over {CHANCE}" for one in compared]
    columns += ["paper's table 1"] if paper else []
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for one in here:
        entries = [one.label, f"{100 * one.ratio:g}%", f"{one.hidden:.1f}"]
        for metric in metrics:
            value = bootstrap(one.values[metric])
            entries.append(nats(value) if metric == "drop" else percent(value))
        for metric in compared:
            gap = against(one, here, metric)
            entries.append(nats(gap, "+") if metric == "drop" else points(gap))
        if paper:
            stated = PAPER_TABLE_1.get(one.label) if one.ratio == 0.2 else None
            entries.append(" / ".join(f"{100 * v:.1f}" for v in stated) if stated else "")
        lines.append("| " + " | ".join(entries) + " |")
    return [*lines, ""]


def _area_table(curves: Sequence[Area]) -> list[str]:
    """Measures by the area under their curve, highest first."""
    drop = curves[0].metric == "drop"
    unit = "drop in nats" if drop else "answer changed, percent"
    lines = [
        f"Mean over shares from 0 to the largest (area under the curve), {unit}:",
        "",
        f"| measure | area | over flow | over {CHANCE} |",
        "|---|---|---|---|",
    ]
    for one in sorted(curves, key=lambda curve: -curve.values.mean()):
        gaps = [area_against(one, curves, label) for label in ("flow", CHANCE)]
        entries = [(nats(gap, "+") if drop else points(gap)) for gap in gaps]
        value = bootstrap(one.values)
        mean = nats(value) if drop else percent(value)
        lines.append(f"| {one.label} | {mean} | {' | '.join(entries)} |")
    return [*lines, ""]


def _plain(cell: Cell, found: Sequence[Cell]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "cut": cell.cut,
        "spared": cell.spared,
        "measure": cell.label,
        "ratio": cell.ratio,
        "hidden": cell.hidden,
        "problems": len(cell.problems),
    }
    for metric, values in cell.values.items():
        result[metric] = asdict(bootstrap(values))
        gap = against(cell, found, metric)
        if gap is not None:
            result[f"{metric}_over_{CHANCE}"] = asdict(gap)
    return result


def _figure(found: Sequence[Cell]) -> Figure:
    """A panel for each cut and number of spared tokens: curves over ratios, or bars of one ratio."""
    metric = "drop" if "drop" in found[0].values else "changed"
    several = len({one.ratio for one in found}) > 1
    metric = metric if several or "changed" not in found[0].values else "changed"
    places = list(dict.fromkeys((one.cut, one.spared) for one in found))
    labels = sorted(
        dict.fromkeys(one.label for one in found),
        key=lambda label: -sum(one.values[metric].mean() for one in found if one.label == label),
    )
    height = 3.6 if several else 1.2 + 0.32 * len(labels)
    figure = Figure(figsize=(4.6 * len(places) + 1.6, max(2.6, height)), layout="constrained")
    panels = figure.subplots(1, len(places), squeeze=False, sharey=True)[0]
    scale = 1 if metric == "drop" else 100
    unit = "drop in log-probability (nats)" if metric == "drop" else "answer changed (%)"
    for axes, place in zip(panels, places, strict=True):
        here = [one for one in found if (one.cut, one.spared) == place]
        if several:
            _draw_curves(axes, here, labels, metric, scale)
            axes.set_xlabel("share of tokens hidden (%)", fontsize=8)
            axes.set_ylabel(unit, fontsize=8)
        else:
            _draw_bars(axes, here, labels, metric, scale)
            axes.set_xlabel(unit, fontsize=8)
        axes.set_title(_where(*place), fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    if several:
        panels[-1].legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _draw_curves(
    axes: Any, here: Sequence[Cell], labels: Sequence[str], metric: str, scale: float
) -> None:
    """A line for each label; its tint, mark and dashes are those of its place among all labels."""
    tints = colormaps["tab10"]
    for number, label in enumerate(labels):
        line = sorted((one for one in here if one.label == label), key=lambda one: one.ratio)
        intervals = [bootstrap(one.values[metric]) for one in line]
        shares = [0.0, *(100 * one.ratio for one in line)]  # nothing hidden, nothing changed
        strong = label in OWN
        tint = OWN.get(label) or tints(number % 10)
        axes.plot(
            shares,
            [0.0, *(scale * one.value for one in intervals)],
            label=label,
            color=tint,
            marker=MARKS[number % len(MARKS)],
            markersize=3,
            linewidth=2.2 if strong else 1.0,
            linestyle="--" if label == CHANCE or (number // 10) % 2 else "-",
        )
        if len(labels) <= FEW or strong:
            low = [0.0, *(scale * one.low for one in intervals)]
            high = [0.0, *(scale * one.high for one in intervals)]
            axes.fill_between(shares, low, high, color=tint, alpha=0.12, linewidth=0)


def _draw_bars(
    axes: Any, here: Sequence[Cell], labels: Sequence[str], metric: str, scale: float
) -> None:
    """A bar for each label, in one order for all panels: they share their axis."""
    for one in here:
        place = len(labels) - 1 - labels.index(one.label)
        value = bootstrap(one.values[metric])
        error = [[scale * (value.value - value.low)], [scale * (value.high - value.value)]]
        tint = OWN.get(one.label, "#8fa3bf")
        axes.barh(place, scale * value.value, color=tint, height=0.62)
        axes.errorbar(scale * value.value, place, xerr=error, color="#222", linewidth=1, capsize=2)
    axes.set_yticks(range(len(labels)), list(labels)[::-1])
