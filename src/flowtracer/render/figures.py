"""Static figures for papers: the token graph and ranked bars (the paper's figures 2 and 3).

The same trace gives the same bytes: no dates, no random ids.
"""

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from flowtracer.render.colours import colour, full_scale, ink, strength
from flowtracer.render.font import FONT, printable
from flowtracer.render.visible import one_line, visible
from flowtracer.storage import atomic_write

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace, Unit

COLUMNS = 110  # characters in a line of the graph
MOST_LINES = 50  # longer texts show their end, where the answer is
MOST_ARCS = 60  # our choice: more cannot be distinguished in print
BARS = 14
DPI = 200
LINE_HEIGHT = 1.9  # in character heights; arcs run between the lines


def save_figures(
    trace: "Trace",
    folder: str | os.PathLike[str],
    *,
    formats: tuple[str, ...] = ("png", "svg"),
    cloud: bool = False,
) -> list[Path]:
    """Write `graph` and `bars` (and `cloud`) in every format into a folder; the paths written."""
    figures = {"graph": token_graph(trace), "bars": ranked_bars(trace)}
    if cloud:
        from flowtracer.render.cloud import word_cloud

        figures["cloud"] = word_cloud(trace)
    return [
        save_figure(figure, Path(folder) / f"{name}.{kind}")
        for name, figure in figures.items()
        for kind in formats
    ]


def save_figure(figure: Figure, path: Path) -> Path:
    """Write one figure as .png or .svg, the same bytes every time."""
    settings: Any = {"svg.hashsalt": "flowtracer", "svg.fonttype": "none"}
    with matplotlib.rc_context(settings), atomic_write(path) as partial:
        if path.suffix == ".svg":
            FigureCanvasSVG(figure).print_svg(partial, metadata={"Date": None, "Creator": None})
        else:
            FigureCanvasAgg(figure)
            figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
    return path


def token_graph(trace: "Trace") -> Figure:
    """The running text, darker where more flow passes, with arcs for the strongest edges."""
    units = trace.units
    layout, lines = _lay_out(units)
    first_line = max(0, lines - MOST_LINES)
    shown = lines - first_line
    figure = Figure(figsize=(10, 0.9 + 0.36 * shown), layout="constrained")
    axes = figure.add_subplot()
    full = full_scale(trace.throughput, [role == "response" for role in trace.roles])
    in_backbone = set(trace.backbone())
    centre: dict[int, tuple[float, float]] = {}
    for unit, pieces in zip(units, layout, strict=True):
        score = max(trace.throughput[unit.first : unit.last + 1])
        for line, column, text in pieces:
            if line < first_line:
                continue
            x, y = float(column), -LINE_HEIGHT * (line - first_line)
            for token in range(unit.first, unit.last + 1):
                centre.setdefault(token, (x + len(text) / 2, y + 1.02))
            _draw_piece(axes, text, x, y, strength(score, full), trace.roles[unit.last])
            if unit.first in in_backbone:
                axes.plot([x + 0.1, x + len(text) - 0.1], [y - 0.08] * 2, color="#9c2f00", lw=1.1)
    _draw_arcs(axes, trace, centre)
    axes.set_xlim(-0.5, COLUMNS + 0.5)
    axes.set_ylim(-LINE_HEIGHT * (shown - 1) - 0.6, 2.6)
    axes.set_axis_off()
    part = "" if first_line == 0 else f", last {shown} of {lines} lines"
    model, layers = printable(one_line(trace.provenance.model)), trace.provenance.layers
    axes.set_title(
        f"{model}, layers {layers[0]} to {layers[-1]}{part}: darker = more flow, "
        "underlined = backbone, boxed = answer",
        fontsize=8,
        loc="left",
        parse_math=False,
    )
    return figure


def ranked_bars(trace: "Trace") -> Figure:
    """Pieces of the response with the highest and the lowest mean percentile of throughput."""
    percentiles = mean_percentiles(trace)
    ranked = sorted(percentiles.items(), key=lambda item: (-item[1][0], item[0]))
    count = min(BARS, (len(ranked) + 1) // 2)
    figure = Figure(figsize=(9, 0.9 + 0.27 * count), layout="constrained")
    panels = {
        "high-flow": (ranked[:count], "#083370"),
        "low-flow": (ranked[count:][::-1][:count], "#aea371"),
    }
    for axes, (title, (rows, tint)) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        names = [f"{printable(one_line(text))}  ×{n}" for text, (_, n) in rows]
        values = [mean for _, (mean, _) in rows]
        axes.barh(range(len(rows)), values, color=tint, height=0.72)
        axes.set_yticks(range(len(rows)), names, fontproperties=FONT, parse_math=False)
        axes.tick_params(axis="y", length=0, labelsize=8)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("mean percentile of throughput", fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_title(f"{title} pieces of the response", fontsize=9, loc="left")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    return figure


def mean_percentiles(trace: "Trace") -> dict[str, tuple[float, int]]:
    """For each text among the response's pieces: mean percentile of throughput, and how many.

    The percentile of a piece is the percentage of the other pieces with less throughput, ties
    counted half. The answer and what comes after it are left out.
    """
    roles = trace.roles
    last = max((i for i, role in enumerate(roles) if role == "answer"), default=0)
    pieces = [u for u in trace.units if roles[u.last] == "response" and u.last < last]
    scores = [max(trace.throughput[u.first : u.last + 1]) for u in pieces]
    ordered = sorted(scores)
    below: dict[float, float] = {}
    for value in ordered:
        if value not in below:
            start, ties = ordered.index(value), ordered.count(value)
            below[value] = start + (ties - 1) / 2
    grouped: dict[str, list[float]] = defaultdict(list)
    for unit, score in zip(pieces, scores, strict=True):
        grouped[unit.text].append(100 * below[score] / max(1, len(pieces) - 1))
    return {text: (sum(values) / len(values), len(values)) for text, values in grouped.items()}


def _lay_out(units: tuple["Unit", ...]) -> tuple[list[list[tuple[int, int, str]]], int]:
    """(line, column, text) of every unit's pieces in a grid of characters, and the number of lines."""
    line = column = 0
    layout: list[list[tuple[int, int, str]]] = []
    for unit in units:
        pieces: list[tuple[int, int, str]] = []
        for n, part in enumerate(printable(visible(unit.text)).split("\n")):
            if n:
                line, column = line + 1, 0
            if column + len(part) > COLUMNS and column:
                line, column = line + 1, 0
            while part:
                pieces.append((line, column, part[:COLUMNS]))
                column += len(part[:COLUMNS])
                part = part[COLUMNS:]
                if part:
                    line, column = line + 1, 0
        layout.append(pieces or [(line, column, "")])
    return layout, line + 1


def _draw_piece(axes: Axes, text: str, x: float, y: float, level: float, role: str) -> None:
    fill = colour(level) if level > 0 else "#ffffff"
    edge = "#9c2f00" if role == "answer" else "none"
    box = Rectangle(
        (x, y), max(len(text), 0.4), 1.0, facecolor=fill, edgecolor=edge, lw=1.3,
        zorder=3 if role == "answer" else 1,
    )  # fmt: skip
    axes.add_patch(box)
    axes.text(
        x, y + 0.24, text, fontproperties=FONT, fontsize=10.4, color=ink(fill), zorder=4,
        style="italic" if role == "template" else "normal",
        weight="bold" if role == "answer" else "normal", parse_math=False,
    )  # fmt: skip


def _draw_arcs(axes: Axes, trace: "Trace", centre: dict[int, tuple[float, float]]) -> None:
    edges = [edge for edge in trace.edges if edge.source in centre and edge.target in centre]
    for edge in edges[:MOST_ARCS]:
        heavy = strength(edge.flow, edges[0].flow)
        start, stop = centre[edge.source], centre[edge.target]
        same_line = start[1] == stop[1]
        bend = min(0.25, 3 / max(1.0, abs(stop[0] - start[0]))) if same_line else 0.12
        axes.add_patch(
            FancyArrowPatch(
                start, stop, connectionstyle=f"arc3,rad={-bend}", arrowstyle="-",
                lw=0.4 + 1.6 * heavy, alpha=0.2 + 0.6 * heavy, color="#1f5fa8", zorder=5,
            )
        )  # fmt: skip
