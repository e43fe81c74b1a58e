"""Which pieces of a response carry flow again and again: ranked by their mean percentile."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from flowtracer.render.charts import CHANCE, PALETTE, SMALL, tidy
from flowtracer.render.font import FONT, printable
from flowtracer.render.visible import one_line

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

LEAST = 3  # occurrences of a piece before it is ranked, our choice: one is an accident
BARS = 10  # pieces at either end
WIDTH = 3.4  # inches, as the graph


def ranked_bars(trace: "Trace") -> Figure | None:
    """The repeated pieces of the response with the highest and the lowest mean percentile.

    A dot is an occurrence, a diamond their mean. None if fewer than two pieces occur often enough.
    """
    by_text = percentiles(trace)
    means = {text: sum(values) / len(values) for text, values in by_text.items()}
    ranked = sorted(
        (text for text, values in by_text.items() if len(values) >= LEAST),
        key=lambda text: (-means[text], text),
    )
    if len(ranked) < 2:
        return None
    high = ranked[: min(BARS, (len(ranked) + 1) // 2)]
    low = ranked[len(high) :][-BARS:]
    gap = 0.8 if len(high) + len(low) < len(ranked) else 0.0
    figure = Figure(figsize=(WIDTH, 1.05 + 0.16 * (len(high) + len(low))), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    heights, names = [], []
    for index, text in enumerate([*high, *low]):
        y = -index - (gap if index >= len(high) else 0.0)
        tint = PALETTE[0] if means[text] >= 50 else PALETTE[1]
        values = by_text[text]
        axes.plot([50, means[text]], [y, y], color=tint, linewidth=2.2, alpha=0.35, zorder=1)
        axes.plot(values, [y] * len(values), ".", color=tint, markersize=3, alpha=0.5)
        axes.plot(means[text], y, "D", color=tint, markersize=4, zorder=3)
        heights.append(y)
        name = printable(one_line(text))
        name = name if len(name) <= 20 else name[:19] + "…"
        names.append(f"{name} ×{len(values)}")
    axes.axvline(50, color=CHANCE, linewidth=0.8, linestyle="--", zorder=0)
    axes.set_yticks(heights, names, fontproperties=FONT, fontsize=SMALL, parse_math=False)
    axes.set_ylim(heights[-1] - 0.8, 0.8)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("percentile of throughput in the response", fontsize=SMALL)
    figure.suptitle(
        f"Pieces that occur {LEAST} times or more:\nwhich carry the flow?", fontsize=8.5,
        fontweight="bold", x=0.02, ha="left",
    )  # fmt: skip
    return figure


def percentiles(trace: "Trace") -> dict[str, list[float]]:
    """For each text among the response's pieces: the percentile of throughput of every occurrence.

    The percentile of a piece is the percentage of the other pieces with less throughput, ties
    counted half. The answer and what comes after it are left out.
    """
    roles = trace.roles
    last = max((i for i, role in enumerate(roles) if role == "answer"), default=0)
    pieces = [u for u in trace.units if roles[u.last] == "response" and u.last < last]
    scores = [max(trace.throughput[u.first : u.last + 1]) for u in pieces]
    counts = Counter(scores)
    below, total = {}, 0
    for value in sorted(counts):
        below[value] = total + (counts[value] - 1) / 2
        total += counts[value]
    grouped: dict[str, list[float]] = defaultdict(list)
    for unit, score in zip(pieces, scores, strict=True):
        grouped[unit.text].append(100 * below[score] / max(1, len(pieces) - 1))
    return dict(grouped)
