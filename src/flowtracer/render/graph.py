"""The token graph: the running text coloured by throughput, with arcs of the strongest edges beside it.

All lengths are in points: 1/72 inch.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.path import Path

from flowtracer.render.colours import colour, full_scale, ink, levels
from flowtracer.render.font import FONT, printable
from flowtracer.render.lines import Line, Piece, lay_out, shorten
from flowtracer.render.pictures import items
from flowtracer.render.visible import one_line

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

WIDTH = 3.4  # inches: a column of a paper, where the text has the size of a caption's, our choice
SIZE = 6.5  # of the text
ADVANCE = 0.60205 * SIZE  # of a character of the font
PITCH = 10.2  # from line to line
BOX = 7.8  # height of a coloured box
MARGIN = 5
GUTTER = 46  # for the arcs, right of the text
MOST_PROMPT, MOST_RESPONSE = 12, 32  # lines; our choice, together most of a page's height
MOST_ARCS = 24  # our choice: more cannot be distinguished
ANSWER, ARC, QUIET = "#d55e00", "#0072b2", "#5b6675"  # Okabe and Ito's vermilion and blue; grey


@dataclass(frozen=True)
class Row:
    """A line of the text with the height of its boxes' lower edge."""

    line: Line
    y: float


def token_graph(trace: "Trace", *, width: float = WIDTH) -> Figure:
    """The prompt and the response, darker where more flow passes.

    width: inches. Texts of more than 12 (prompt) or 32 lines (response) are shortened in the middle.
    """
    columns = max(8, int((72 * width - 2 * MARGIN - GUTTER) / ADVANCE))
    units, start = items(trace), trace.response_start
    prompt = shorten(lay_out([u for u in units if u.first < start], columns), MOST_PROMPT)
    response = shorten(lay_out([u for u in units if u.first >= start], columns), MOST_RESPONSE)
    rows, y = [], -30.0
    headings = []
    for name, lines in (("Prompt", prompt), ("Response", response)):
        headings.append((name, y))
        y -= 4
        for line in lines:
            y -= PITCH
            rows.append(Row(line, y))
        y -= 13
    height = 46 - y
    figure = Figure(figsize=(width, height / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 72 * width)
    axes.set_ylim(-height, 0)
    axes.set_axis_off()
    full = full_scale(trace.throughput, [role == "response" for role in trace.roles])
    _title(axes, trace, int((72 * width - 2 * MARGIN) / 3.75))
    for name, at in headings:
        axes.text(MARGIN, at, name, fontsize=7, fontweight="bold", va="baseline")
        end = MARGIN + columns * ADVANCE
        axes.plot([MARGIN + 42, end], [at + 2.3] * 2, color="#c3c9d1", linewidth=0.6)
    _draw_text(axes, trace, rows)
    _draw_arcs(axes, trace, rows, MARGIN + columns * ADVANCE + 3)
    _legend(axes, full, y + 2, 72 * width - 2 * MARGIN)
    return figure


def _title(axes: Axes, trace: "Trace", most: int) -> None:
    """What is shown, and of which model."""
    axes.text(
        MARGIN, -10, "Flow from the prompt to the answer", fontsize=8.5, fontweight="bold",
        va="baseline",
    )  # fmt: skip
    origin = trace.provenance
    name = one_line(origin.model).rstrip("/").rsplit("/", 1)[-1]
    first, last, count = origin.layers[0], origin.layers[-1], len(origin.layers)
    layers = "layers" if last - first + 1 == count else f"{count} of layers"  # some were left out
    said = f", {layers} {first} to {last}, {len(trace.ids):,} tokens"
    room = max(8, most - len(said))
    name = name if len(name) <= room else name[: room - 1] + "…"
    axes.text(
        MARGIN, -19, printable(name) + said, fontsize=6, color=QUIET, va="baseline",
        parse_math=False,
    )  # fmt: skip


def _draw_text(axes: Axes, trace: "Trace", rows: Sequence[Row]) -> None:
    """Boxes, runs of text in one ink, underlines of the backbone, and a frame around the answer."""
    backbone = set(trace.backbone())
    level = levels(trace.throughput, trace.roles)
    boxes, fills = [], []
    under: list[tuple[float, float, float]] = []
    frames: list[tuple[float, float, float]] = []
    for row in rows:
        if row.line.left_out:
            count = len(set(row.line.tokens))
            note = f"⋯ {row.line.left_out} lines ({count:,} tokens) not shown ⋯"
            axes.text(
                MARGIN, row.y + 2, note, fontsize=6, color=QUIET, style="italic", va="baseline"
            )
        runs: list[tuple[tuple[str, str, str], float, str]] = []
        for piece in row.line.pieces:
            strongest = max(level[piece.first : piece.last + 1])
            fill = colour(strongest) if strongest > 0 else "#ffffff"
            left, right = _span(piece)
            boxes.append(_corners(left, row.y, right, row.y + BOX))
            fills.append(fill)
            role = trace.roles[piece.last]
            if piece.first in backbone:
                _join(under, left, right, row.y - 0.7)
            if role == "answer":
                _join(frames, left, right, row.y)
            look = (
                ink(fill),
                "italic" if role == "template" else "normal",
                "bold" if role == "answer" else "normal",
            )
            text = printable(piece.text)
            if runs and runs[-1][0] == look and (runs[-1][2] + text).isascii():
                runs[-1] = (look, runs[-1][1], runs[-1][2] + text)
            else:
                runs.append((look, left, text))
        for (tint, style, weight), x, text in runs:
            if text.strip():
                axes.text(
                    x, row.y + 2, text, fontproperties=FONT, fontsize=SIZE, color=tint,
                    style=style, weight=weight, va="baseline", parse_math=False, zorder=4,
                )  # fmt: skip
    axes.add_collection(PolyCollection(boxes, facecolors=fills, linewidths=0, zorder=1))
    lines: list[Any] = [[(left + 0.4, y), (right - 0.4, y)] for left, right, y in under]
    axes.add_collection(LineCollection(lines, colors="#222222", linewidths=0.8, zorder=3))
    outlines = [
        _corners(left - 0.3, y - 0.3, right + 0.3, y + BOX + 0.3) for left, right, y in frames
    ]
    axes.add_collection(
        PolyCollection(
            outlines, facecolors="none", edgecolors=ANSWER, linewidths=1.3, zorder=5, gid="answer"
        )
    )


def _draw_arcs(axes: Axes, trace: "Trace", rows: Sequence[Row], x: float) -> None:
    """Flow from line to line, beside the text: the edges of a trace, summed over each pair of lines."""
    row_of = {token: index for index, row in enumerate(rows) for token in row.line.tokens}
    flows: dict[tuple[int, int], float] = defaultdict(float)
    for edge in trace.edges:
        pair = row_of.get(edge.source), row_of.get(edge.target)
        if pair[0] is not None and pair[1] is not None and pair[0] != pair[1]:
            flows[pair[0], pair[1]] += edge.flow
    strongest = sorted(flows.items(), key=lambda item: (-item[1], item[0]))[:MOST_ARCS]
    if not strongest:
        return
    most, furthest = strongest[0][1], max(abs(a - b) for (a, b), _ in strongest)
    paths, widths = [], []
    for (source, target), flow in strongest:
        above, below = (rows[index].y + BOX / 2 for index in (source, target))
        reach = x + (GUTTER - 7) * 4 / 3 * (abs(source - target) / furthest) ** 0.5
        corners = [(x, above), (reach, above), (reach, below), (x, below)]
        paths.append(Path(corners, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]))
        widths.append(0.3 + 2.4 * flow / most)
    axes.add_collection(
        PathCollection(
            paths, facecolors="none", edgecolors=ARC, linewidths=widths, alpha=0.6, gid="arcs",
            capstyle="round",
        )
    )  # fmt: skip


def _legend(axes: Axes, full: float, y: float, width: float) -> None:
    """The colour bar with its unit, and what frame, underline and arcs mean."""
    steps, bar = 60, 0.46 * width
    part = bar / steps
    cells = [
        _corners(MARGIN + part * n, y - 7, MARGIN + part * (n + 1), y - 1) for n in range(steps)
    ]
    fills = [colour(n / (steps - 1)) for n in range(steps)]
    axes.add_collection(
        PolyCollection(cells, facecolors=fills, edgecolors=fills, linewidths=0.2, gid="colour-bar")
    )
    small: dict[str, Any] = {"fontsize": 5.6, "color": "#222222"}
    for level in (0.0, 0.5, 1.0):  # a strength is the square root of a ratio, see `strength`
        text = f"{100 * full * level**2:.2g}"
        text = f"≥ {text}%" if level == 1 else f"{text}%"
        side = "left" if level == 0 else "right" if level == 1 else "center"
        axes.text(MARGIN + bar * level, y - 14, text, ha=side, va="baseline", **small)
    unit = (
        "throughput: part of the flow\nthat passes through a token\n(the prompt on its own scale)"
    )
    axes.text(MARGIN, y - 22, unit, va="baseline", linespacing=1.25, **small)
    axes.texts[-1].set_verticalalignment("top")
    axes.texts[-1].set_y(y - 17)
    left = MARGIN + bar + 18
    axes.add_collection(
        PolyCollection(
            [_corners(left, y - 7, left + 14, y - 1)], facecolors="none", edgecolors=ANSWER,
            linewidths=1.3,
        )
    )  # fmt: skip
    axes.plot([left, left + 14], [y - 13.5] * 2, color="#222222", linewidth=0.8)
    axes.plot([left, left + 14], [y - 22.5] * 2, color=ARC, linewidth=1.8, alpha=0.6)
    for row, words in enumerate(("the answer", "backbone: top 40%", "strongest edges, by line")):
        axes.text(left + 18, y - 6 - 9 * row, words, va="baseline", **small)


def _span(piece: Piece) -> tuple[float, float]:
    left = MARGIN + piece.column * ADVANCE
    return left, left + max(len(piece.text), 0.4) * ADVANCE


def _corners(left: float, low: float, right: float, high: float) -> list[tuple[float, float]]:
    return [(left, low), (right, low), (right, high), (left, high)]


def _join(spans: list[tuple[float, float, float]], left: float, right: float, y: float) -> None:
    """Add a span at a height; one that touches the last one there becomes part of it."""
    if spans and spans[-1][2] == y and abs(spans[-1][1] - left) < 0.01:
        spans[-1] = (spans[-1][0], right, y)
    else:
        spans.append((left, right, y))
