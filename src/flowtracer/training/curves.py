"""Training curves as a figure."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from flowtracer.render.charts import (
    CHANCE,
    FLOW,
    REST,
    SMALL,
    label_ends,
    limits,
    save_chart,
    tidy,
    tints,
)

Rows = Sequence[Mapping[str, Any]]  # of a metrics file

PANELS = {
    "reward": "mean reward of the sampled responses",
    "completions/mean_length": "tokens per response",
    "entropy": "entropy (nats)",
    "credit/concentration": "ratio of the score in the top 20% of tokens",
}
BASELINES = {"credit/concentration": (0.2, "equal scores")}
LEAST_RANGE = (
    0.2  # of an axis, as a ratio of its largest value, our choice: less is noise magnified
)
SMOOTHING = 10  # steps of the running mean drawn over the raw line, our choice
HEIGHT = 2.4  # inches of a panel


def training_curves(
    runs: Mapping[str, Rows], seeds: Mapping[str, Sequence[Rows]] | None = None
) -> Figure:
    """One panel per metric that some run has; raw values thin, their running mean thick.

    runs: name of a run to the rows of its metrics file, or to their means over seeds; the first and the
    five that end highest in the first panel have a colour, and every line its name. seeds: rows of each
    seed, for a band from the lowest running mean to the highest.
    """
    present = [key for key in PANELS if any(key in row for rows in runs.values() for row in rows)]
    if not present:
        raise ValueError("the metrics hold nothing to draw yet; train for at least one step")
    figure = Figure(figsize=(3.9 * len(present), HEIGHT + 0.8), layout="constrained")
    panels = figure.subplots(1, len(present), squeeze=False)[0]
    first = next(iter(runs))
    fixed = {first: CHANCE} if len(runs) > 1 else {first: FLOW}
    colours = tints(sorted(runs, key=lambda name: -_last(runs[name], present[0])), fixed)
    for axes, key in zip(panels, present, strict=True):
        tidy(axes)
        ends, drawn = {}, []
        for name, rows in runs.items():
            points = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), float)]
            if not points:
                continue
            steps, values = (list(column) for column in zip(*points, strict=True))
            means, tint = running_mean(values), colours[name]
            axes.plot(steps, values, color=tint, linewidth=0.5, alpha=0.3)
            axes.plot(steps, means, color=tint, linewidth=0.9 if tint == REST else 1.6, label=name)
            ends[name] = (steps[-1], means[-1])
            drawn += values
            band = _band((seeds or {}).get(name, ()), key, steps)
            if band is not None:
                axes.fill_between(steps, *band, color=tint, alpha=0.15, linewidth=0)
                drawn += [*band[0], *band[1]]
        _finish(axes, key, drawn, ends if len(runs) > 1 else {}, colours)
    return figure


def _finish(
    axes: Any,
    key: str,
    drawn: Sequence[float],
    ends: Mapping[str, tuple[float, float]],
    colours: Mapping[str, str],
) -> None:
    """Limits, the baseline if the metric has one, and names."""
    baseline = BASELINES.get(key)
    least = LEAST_RANGE * max(map(abs, drawn)) or 1.0
    axes.set_ylim(*limits(drawn, least, baseline[0] if baseline else None))
    axes.margins(x=0)
    if baseline is not None:
        axes.axhline(baseline[0], color=CHANCE, linewidth=0.9, linestyle=":")
        axes.annotate(
            baseline[1], (0, baseline[0]), (3, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", fontsize=SMALL, color=CHANCE,
        )  # fmt: skip
    axes.set_title(PANELS[key], fontsize=SMALL + 1, loc="left")
    axes.set_xlabel("optimizer step", fontsize=SMALL + 1)
    label_ends(axes, ends, colours, HEIGHT)


def running_mean(values: Sequence[float], window: int = SMOOTHING) -> list[float]:
    """Mean of each value and up to `window - 1` before it."""
    means = []
    for end in range(1, len(values) + 1):
        recent = values[max(0, end - window) : end]
        means.append(sum(recent) / len(recent))
    return means


def _last(rows: Rows, key: str) -> float:
    """The running mean at the end; of a run without the metric, the lowest of all."""
    values = [row[key] for row in rows if isinstance(row.get(key), float)]
    return running_mean(values)[-1] if values else -math.inf


def _band(
    runs: Sequence[Rows], key: str, steps: Sequence[int]
) -> tuple[list[float], list[float]] | None:
    """Lowest and highest running mean at each step; None of fewer than two runs."""
    curves = []
    for rows in runs:
        by_step = {row["step"]: row[key] for row in rows if isinstance(row.get(key), float)}
        if all(step in by_step for step in steps):
            curves.append(running_mean([by_step[step] for step in steps]))
    if len(curves) < 2:
        return None
    return [min(at) for at in zip(*curves, strict=True)], [
        max(at) for at in zip(*curves, strict=True)
    ]


def save_curves(
    runs: Mapping[str, Rows], path: Path, *, seeds: Mapping[str, Sequence[Rows]] | None = None
) -> None:
    """Draw one PNG and write it atomically; see `training_curves`."""
    save_chart(training_curves(runs, seeds), path)
