"""What calibrated credit measured and used, as a figure."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowtracer.credit.weighting import UNIFORM
from flowtracer.render.charts import CHANCE, FLOW, REST, SMALL, label_ends, limits, tidy, tints
from flowtracer.training.curves import LEAST_RANGE, Rows

SHARE, ALIGNMENT = "calibrated/share/", "calibrated/alignment/"
HEIGHT, STRIP = 2.2, 0.22  # inches of the panel and of a run's strip
MOST = 6  # rules with a colour: the palette has no more


def calibration_picture(runs: Mapping[str, Rows]) -> Figure | None:
    """Above, each rule's alignment less that of uniform weights; below, the rules in use in each run.

    Alignments are means over the runs that have the step. A strip is white where weights were uniform; rules
    that were mixed share its height. Of more rules than there are colours those used most have one.

    runs: name of a run to the rows of its metrics file. None if none of them has a calibration.
    """
    rows = [row for of_run in runs.values() for row in of_run]
    rules = list(
        dict.fromkeys(
            key[len(ALIGNMENT) :] for row in rows for key in row if key.startswith(ALIGNMENT)
        )
    )
    if not rules:
        return None
    use = {rule: sum(row.get(SHARE + rule, 0.0) for row in rows) for rule in rules}
    coloured = rules if len(rules) <= MOST else sorted(rules, key=lambda rule: -use[rule])
    colours = tints(coloured, {"flow": FLOW}, MOST)
    strips = STRIP * len(runs)
    figure = Figure(figsize=(5.6, HEIGHT + strips + 0.7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(HEIGHT, strips))
    ends = _alignments(above, rows, colours)
    for number, of_run in enumerate(runs.values()):
        _strip(below, of_run, colours, top=-number)
    tidy(below)
    below.set_ylim(-len(runs) + 0.5, 0.5)
    names = [] if len(runs) == 1 else list(runs)
    below.set_yticks([-number for number in range(len(names))], names)
    below.set_xlim(0.5, max(row["step"] for row in rows) + 0.5)
    below.set_title("rule in use (white: uniform weights)", fontsize=SMALL + 1, loc="left")
    below.set_xlabel("optimizer step", fontsize=SMALL + 1)
    label_ends(above, ends, colours, HEIGHT)
    return figure


def _alignments(
    axes: Axes, rows: Rows, colours: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    """Draw each rule's line; returns where each of them ends."""
    ends: dict[str, tuple[float, float]] = {}
    drawn = [0.0]
    for rule, tint in colours.items():
        steps, means = _means(rows, ALIGNMENT + rule)
        width = 0.9 if tint == REST else 1.4
        axes.plot(steps, means, "o-", color=tint, markersize=2, linewidth=width)
        ends[rule] = (steps[-1], means[-1])
        drawn += means
    tidy(axes)
    axes.axhline(0, color=CHANCE, linewidth=0.9, linestyle=":")
    axes.set_ylim(*limits(drawn, LEAST_RANGE * max(map(abs, drawn)) or 1.0))
    title = f"alignment with the reward's gradient, less that of {UNIFORM} weights"
    axes.set_title(title, fontsize=SMALL + 1, loc="left")
    return ends


def _means(rows: Rows, key: str) -> tuple[list[int], list[float]]:
    """Steps that have the metric, and its mean over the rows of each."""
    by_step: dict[int, list[float]] = {}
    for row in rows:
        if isinstance(row.get(key), float):
            by_step.setdefault(row["step"], []).append(row[key])
    steps = sorted(by_step)
    return steps, [sum(by_step[step]) / len(by_step[step]) for step in steps]


def _strip(axes: Axes, rows: Rows, colours: Mapping[str, str], *, top: float) -> None:
    """Stack the shares of a run's rules at each step, 0.8 high, around the height `top`."""
    logged = [row for row in rows if SHARE + UNIFORM in row]
    # A step reaches half-way to its neighbours; edges twice make it a rectangle.
    steps = np.array([row["step"] for row in logged], dtype=float)
    edges = np.repeat(np.append(steps, steps[-1:] + 1) - 0.5, 2)[1:-1]
    base = np.full(len(edges), top - 0.4)
    for rule, colour in colours.items():
        share = np.repeat([row.get(SHARE + rule, 0.0) for row in logged], 2)
        axes.fill_between(edges, base, base + 0.8 * share, color=colour, linewidth=0)
        base = base + 0.8 * share
