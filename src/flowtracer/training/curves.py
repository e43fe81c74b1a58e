"""Training curves as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from flowtracer.storage import atomic_write

Rows = Sequence[Mapping[str, Any]]  # of a metrics file

PANELS = {
    "reward": "mean reward of the sampled responses",
    "completions/mean_length": "tokens per response",
    "entropy": "entropy (nats)",
    "credit/concentration": "ratio of the score in the top 20% of tokens",
}
SMOOTHING = 10  # steps of the running mean drawn over the raw line, our choice
TINTS = (
    "#6b7280", "#083370", "#b45309", "#047857", "#7c3aed", "#be123c", "#0891b2", "#65a30d",
    "#c026d3", "#eab308", "#78350f", "#f472b6", "#000000", "#60a5fa",
)  # fmt: skip


def training_curves(
    runs: Mapping[str, Rows], seeds: Mapping[str, Sequence[Rows]] | None = None
) -> Figure:
    """One panel per metric that some run has; raw values thin, their running mean thick.

    runs: name of a run to the rows of its metrics file, or to their means over seeds. seeds: rows of
    each seed, for a band from the lowest running mean to the highest.
    """
    present = [key for key in PANELS if any(key in row for rows in runs.values() for row in rows)]
    if not present:
        raise ValueError("the metrics hold nothing to draw yet; train for at least one step")
    figure = Figure(figsize=(4.2 * len(present), 3.2), layout="constrained")
    panels = figure.subplots(1, len(present), squeeze=False)[0]
    for axes, key in zip(panels, present, strict=True):
        for number, (name, rows) in enumerate(runs.items()):
            points = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), float)]
            if not points:
                continue
            steps, values = (list(column) for column in zip(*points, strict=True))
            tint = TINTS[number % len(TINTS)]
            axes.plot(steps, values, color=tint, linewidth=0.6, alpha=0.35)
            axes.plot(steps, running_mean(values), color=tint, linewidth=1.6, label=name)
            band = _band((seeds or {}).get(name, ()), key, steps)
            if band is not None:
                axes.fill_between(steps, *band, color=tint, alpha=0.15, linewidth=0)
        axes.set_title(PANELS[key], fontsize=9, loc="left")
        axes.set_xlabel("optimizer step", fontsize=8)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    if len(runs) > 1:
        panels[0].legend(fontsize=7, frameon=False)
    return figure


def running_mean(values: Sequence[float], window: int = SMOOTHING) -> list[float]:
    """Mean of each value and up to `window - 1` before it."""
    means = []
    for end in range(1, len(values) + 1):
        recent = values[max(0, end - window) : end]
        means.append(sum(recent) / len(recent))
    return means


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
    figure = training_curves(runs, seeds)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=140, metadata={"Software": None})
