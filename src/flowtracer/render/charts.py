"""What charts share: colours for all eyes, labels at the lines' ends, axes that do not magnify noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowtracer.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, distinguishable with colour-vision deficiencies; without yellow, pale on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
FLOW = "#083370"  # always flow's
CHANCE = "#555555"  # always that of random tokens, or of a baseline
REST = "#b4bac2"  # lines that are there for comparison
DPI = 150
SMALL = 7  # points, of ticks and labels: readable at the width of a column


def save_chart(figure: "Figure", path: Path) -> None:
    """Write a chart as a PNG, atomically, the same bytes every time."""
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})


def tidy(axes: "Axes") -> None:
    """No box, small ticks."""
    axes.tick_params(labelsize=SMALL, width=0.6, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_linewidth(0.6)


def tints(names: Sequence[str], fixed: Mapping[str, str], most: int = 6) -> dict[str, str]:
    """A colour for each of the first names, at most `most` with the fixed ones; grey for the others."""
    left = iter(PALETTE[: max(0, most - sum(name in fixed for name in names))])
    return {name: fixed.get(name) or next(left, REST) for name in names}


def apart(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near `values`, at least `gap` from each other, within low..high if they fit.

    The least squared shift: isotonic regression of the values less multiples of the gap.
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    blocks: list[tuple[float, int]] = []  # mean, size
    for rank, index in enumerate(order):
        mean, size = values[index] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, size = (mean * size + before * count) / (size + count), size + count
        blocks.append((mean, size))
    means = [mean for mean, size in blocks for _ in range(size)]
    top = max(low, high - (len(values) - 1) * gap)
    result = [0.0] * len(values)
    for rank, index in enumerate(order):
        result[index] = min(max(means[rank], low), top) + rank * gap
    return result


def label_ends(axes: "Axes", ends: Mapping[str, tuple[float, float]], colours: Mapping[str, str],
               height: float) -> None:  # fmt: skip
    """Write each line's name to the right of its end (x, y), none over another.

    height: of the axes in inches; the limits of y must be set.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = (SMALL + 1.2) / (72 * height) * (high - low)
    label_heights = apart([y for _, y in ends.values()], gap, low, high)
    right = axes.get_xlim()[1]
    width = right - axes.get_xlim()[0]
    for (name, (x, y)), label_height in zip(ends.items(), label_heights, strict=True):
        tint = colours[name]
        text: dict[str, Any] = {"color": "#6b7280" if tint == REST else tint}
        axes.plot(
            [x, right + 0.03 * width], [y, label_height], color=tint, linewidth=0.5, clip_on=False,
            label="_leader",
        )  # fmt: skip
        axes.text(
            right + 0.04 * width, label_height, name, va="center", fontsize=SMALL, parse_math=False,
            weight="normal" if tint == REST else "bold", **text,
        )  # fmt: skip
    axes.set_xlim(right=right)


def limits(
    values: Sequence[float], least: float, baseline: float | None = None
) -> tuple[float, float]:
    """Limits of an axis that holds the values and the baseline, no narrower than `least`.

    Values from 0 up never get an axis that goes below 0.
    """
    shown = [*values, *([] if baseline is None else [baseline])]
    low, high = min(shown), max(shown)
    spare = max(0.05 * (high - low), (least - (high - low)) / 2)
    bottom = low - spare
    if low >= 0 and bottom < 0:
        return 0.0, max(high + spare, least)
    return bottom, high + spare
