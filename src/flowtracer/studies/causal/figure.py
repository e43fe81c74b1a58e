"""The picture of a causal study: curves over ratios, or bars of one ratio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure

from flowtracer.render.charts import CHANCE as CHANCE_TINT
from flowtracer.render.charts import FLOW, PALETTE, REST, SMALL, label_ends, tidy, tints
from flowtracer.statistics.intervals import Interval
from flowtracer.studies.causal.summary import CHANCE, METRICS, Cell, metric_interval

FIXED = {"flow": FLOW, CHANCE: CHANCE_TINT}  # always the same tint
HEIGHT = 3.2  # inches of a panel of curves
PARTS = {"another": ("another answer", PALETTE[0]), "unread": ("no answer left", PALETTE[4])}


@dataclass(frozen=True)
class Mark:
    """A scorer at one ratio, with each metric's interval."""

    cut: float | None
    excluded: int
    label: str
    ratio: float
    values: Mapping[str, Interval]


def marks(cells: Sequence[Cell]) -> list[Mark]:
    """What is drawn of cells."""
    return [
        Mark(
            cell.cut,
            cell.excluded,
            cell.label,
            cell.ratio,
            {metric: metric_interval(metric, values) for metric, values in cell.values.items()},
        )
        for cell in cells
    ]


def stored_marks(cells: Sequence[Mapping[str, Any]]) -> list[Mark]:
    """The same from the cells of a study's `figures.json`."""
    return [
        Mark(
            cell["cut"],
            cell["excluded"],
            cell["scorer"],
            cell["ratio"],
            {metric: Interval(**cell[metric]) for metric in METRICS if metric in cell},
        )
        for cell in cells
    ]


def draw(cells: Sequence[Mark], side: str = "response") -> Figure:
    """A panel for each cut and number of excluded tokens: curves over ratios, or bars of one ratio."""
    several = len({cell.ratio for cell in cells}) > 1
    metric = "drop" if "drop" in cells[0].values else "changed"
    metric = metric if several or "changed" not in cells[0].values else "changed"
    texts = list(dict.fromkeys((cell.cut, cell.excluded) for cell in cells))
    labels = sorted(
        dict.fromkeys(cell.label for cell in cells),
        key=lambda label: -sum(cell.values[metric].value for cell in cells if cell.label == label),
    )
    height = HEIGHT + 0.9 if several else 1.35 + 0.26 * len(labels)
    panel = 5.2 if len(texts) == 1 else 3.9 if several else 3.3
    figure = Figure(figsize=(panel * len(texts), height), layout="constrained")
    panels = figure.subplots(1, len(texts), squeeze=False, sharey=True)[0]
    scale = 1 if metric == "drop" else 100
    for axes, (cut, excluded) in zip(panels, texts, strict=True):
        shown = [cell for cell in cells if (cell.cut, cell.excluded) == (cut, excluded)]
        tidy(axes)
        if several:
            _draw_curves(axes, shown, labels, metric, scale)
        else:
            _draw_bars(axes, shown, labels, metric, scale)
        title = fill(which_tokens(cut, excluded, side), 38 if len(texts) > 1 else 60)
        axes.set_title(title, fontsize=SMALL + 0.5, loc="left")
    unit = "drop in log-probability (nats)" if metric == "drop" else "answer changed (%)"
    for axes in panels:
        axes.set_xlabel("tokens knocked out (%)" if several else unit, fontsize=SMALL + 1)
    if several:
        panels[0].set_ylabel(unit, fontsize=SMALL + 1)
        _end_curves(panels, cells, texts, labels, metric, scale)
    question = fill(_question(cells, metric), int(12 * figure.get_figwidth()))
    figure.suptitle(question, fontsize=9, fontweight="bold", x=0.01, ha="left")
    if not several and metric == "changed" and len(panels[0].get_legend_handles_labels()[0]) > 1:
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2,
            fontsize=SMALL, frameon=False,
        )  # fmt: skip
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


def _question(cells: Sequence[Mark], metric: str) -> str:
    ratios = sorted({cell.ratio for cell in cells})
    if len(ratios) == 1:
        without = f"without {100 * ratios[0]:g}% of the tokens"
    else:
        without = "the more tokens are knocked out"
    if metric == "drop":
        return f"How much less likely is the old answer {without}?"
    return f"How often does the answer change {without}?"


def _draw_curves(
    axes: Any, cells: Sequence[Mark], labels: Sequence[str], metric: str, scale: float
) -> None:
    """A line for each label: flow, chance and the highest in colour, the others grey."""
    colours = tints(labels, FIXED)
    for label in reversed(labels):
        line = sorted((cell for cell in cells if cell.label == label), key=lambda cell: cell.ratio)
        intervals = [cell.values[metric] for cell in line]
        ratios = [0.0, *(100 * cell.ratio for cell in line)]  # nothing knocked out, nothing changed
        strong = colours[label] != REST
        axes.plot(
            ratios,
            [0.0, *(scale * interval.value for interval in intervals)],
            label=label,
            color=colours[label],
            marker="o" if strong else "",
            markersize=2.5,
            linewidth=2.0 if label in FIXED else 1.3 if strong else 0.8,
            linestyle="--" if label == CHANCE else "-",
            zorder=4 if label in FIXED else 3 if strong else 2,
        )
        if label in FIXED:
            low = [0.0, *(scale * interval.low for interval in intervals)]
            high = [0.0, *(scale * interval.high for interval in intervals)]
            axes.fill_between(ratios, low, high, color=colours[label], alpha=0.15, linewidth=0)


def _end_curves(
    panels: Sequence[Any],
    cells: Sequence[Mark],
    texts: Sequence[tuple[float | None, int]],
    labels: Sequence[str],
    metric: str,
    scale: float,
) -> None:
    """Limits from 0 that all panels share, and every line's name at its end."""
    highest = [
        cell.values[metric].high if cell.label in FIXED else cell.values[metric].value
        for cell in cells
    ]  # fmt: skip
    panels[0].set_ylim(min(0.0, panels[0].get_ylim()[0]), max(1.04 * scale * max(highest), 0.1))
    ratio = max(cell.ratio for cell in cells)
    for axes, text in zip(panels, texts, strict=True):
        axes.set_xlim(0, 100 * ratio)
        ends = {
            cell.label: (100 * ratio, scale * cell.values[metric].value)
            for cell in cells
            if (cell.cut, cell.excluded) == text and cell.ratio == ratio
        }
        label_ends(axes, ends, tints(labels, FIXED), HEIGHT)


def _draw_bars(
    axes: Any, cells: Sequence[Mark], labels: Sequence[str], metric: str, scale: float
) -> None:
    """A bar for each label, in one order for all panels: they share their axis.

    Where it is known what became of the answer, its parts are stacked: another answer, and none left.
    """
    for cell in cells:
        height = len(labels) - 1 - labels.index(cell.label)
        interval = cell.values[metric]
        value = scale * interval.value
        begin = 0.0
        stacked = metric == "changed" and all(part in cell.values for part in PARTS)
        parts = PARTS if stacked else {metric: ("answer changed", PALETTE[0])}
        for part, (name, tint) in parts.items():
            length = scale * cell.values[part].value
            axes.barh(
                height, length, left=begin, color=tint, height=0.62, edgecolor="white",
                linewidth=0.4, hatch="////" if part == "unread" else None,
                label=name if cell is cells[0] else "_",
            )  # fmt: skip
            begin += length
        error = [[value - scale * interval.low], [scale * interval.high - value]]
        axes.errorbar(value, height, xerr=error, color="#222", linewidth=0.9, capsize=1.8)
        high = scale * interval.high
        axes.annotate(
            f"{value:.0f}" if metric == "changed" else f"{value:.1f}", (high, height), (3, 0),
            textcoords="offset points", va="center", fontsize=SMALL,
        )  # fmt: skip
        if cell.label == CHANCE:
            axes.axvline(value, color=CHANCE_TINT, linewidth=0.8, linestyle=":", zorder=0)
    if metric == "changed":
        axes.set_xlim(0, 112)
        axes.set_xticks(range(0, 101, 25))
    axes.set_yticks(range(len(labels)), list(labels)[::-1], parse_math=False)
