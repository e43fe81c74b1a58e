"""The picture of a causal study: curves over ratios, or bars of one ratio."""

from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure

from flowtracer.studies.causal.summary import CHANCE, Cell, metric_interval

MARKS = "osD^vPX*<>hd"
FIXED = {"flow": "#083370", CHANCE: "#555555"}  # always the same tint
FEW = 6  # lines whose intervals one panel can show apart


def draw(cells: Sequence[Cell], side: str = "response") -> Figure:
    """A panel for each cut and number of excluded tokens: curves over ratios, or bars of one ratio."""
    several = len({cell.ratio for cell in cells}) > 1
    metric = "drop" if "drop" in cells[0].values else "changed"
    metric = metric if several or "changed" not in cells[0].values else "changed"
    texts = list(dict.fromkeys((cell.cut, cell.excluded) for cell in cells))
    labels = sorted(
        dict.fromkeys(cell.label for cell in cells),
        key=lambda label: -sum(cell.values[metric].mean() for cell in cells if cell.label == label),
    )
    height = 3.6 if several else 1.2 + 0.32 * len(labels)
    figure = Figure(figsize=(4.6 * len(texts) + 1.6, max(2.6, height)), layout="constrained")
    panels = figure.subplots(1, len(texts), squeeze=False, sharey=True)[0]
    scale = 1 if metric == "drop" else 100
    unit = "drop in log-probability (nats)" if metric == "drop" else "answer changed (%)"
    for axes, (cut, excluded) in zip(panels, texts, strict=True):
        shown = [cell for cell in cells if (cell.cut, cell.excluded) == (cut, excluded)]
        if several:
            _draw_curves(axes, shown, labels, metric, scale)
            axes.set_xlabel("tokens knocked out (%)", fontsize=8)
            axes.set_ylabel(unit, fontsize=8)
        else:
            _draw_bars(axes, shown, labels, metric, scale)
            axes.set_xlabel(unit, fontsize=8)
        axes.set_title(which_tokens(cut, excluded, side), fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        for spine in ("top", "right"):
            axes.spines[spine].set_visible(False)
    if several:
        panels[-1].legend(fontsize=6.5, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def which_tokens(cut: float | None, excluded: int, side: str = "response") -> str:
    """Which tokens can be knocked out, as a title."""
    end = "up to the answer" if cut is None else f"up to {100 * cut:g}% of the way to the answer"
    if side != "response":
        then = (
            "" if cut is None else f" in front of a cut at {100 * cut:g}% of the way to the answer"
        )
        end = ("in the prompt" if side == "prompt" else "in the user's words") + then
    return f"Knocked out {end}" + (f", the last {excluded} tokens excluded" if excluded else "")


def _draw_curves(
    axes: Any, cells: Sequence[Cell], labels: Sequence[str], metric: str, scale: float
) -> None:
    """A line for each label; its tint, mark and dashes are those of its index among all labels."""
    tints = colormaps["tab10"]
    for number, label in enumerate(labels):
        line = sorted((cell for cell in cells if cell.label == label), key=lambda cell: cell.ratio)
        intervals = [metric_interval(metric, cell.values[metric]) for cell in line]
        ratios = [0.0, *(100 * cell.ratio for cell in line)]  # nothing knocked out, nothing changed
        strong = label in FIXED
        tint = FIXED.get(label) or tints(number % 10)
        axes.plot(
            ratios,
            [0.0, *(scale * interval.value for interval in intervals)],
            label=label,
            color=tint,
            marker=MARKS[number % len(MARKS)],
            markersize=3,
            linewidth=2.2 if strong else 1.0,
            linestyle="--" if label == CHANCE or (number // 10) % 2 else "-",
        )
        if len(labels) <= FEW or strong:
            low = [0.0, *(scale * interval.low for interval in intervals)]
            high = [0.0, *(scale * interval.high for interval in intervals)]
            axes.fill_between(ratios, low, high, color=tint, alpha=0.12, linewidth=0)


def _draw_bars(
    axes: Any, cells: Sequence[Cell], labels: Sequence[str], metric: str, scale: float
) -> None:
    """A bar for each label, in one order for all panels: they share their axis."""
    for cell in cells:
        height = len(labels) - 1 - labels.index(cell.label)
        interval = metric_interval(metric, cell.values[metric])
        value = scale * interval.value
        error = [[value - scale * interval.low], [scale * interval.high - value]]
        axes.barh(height, value, color=FIXED.get(cell.label, "#8fa3bf"), height=0.62)
        axes.errorbar(value, height, xerr=error, color="#222", linewidth=1, capsize=2)
    axes.set_yticks(range(len(labels)), list(labels)[::-1])
