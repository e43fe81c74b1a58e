"""Figures of true credit: which scorers find it, one response coloured by it, score against credit."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flowtracer.credit.values import spread
from flowtracer.statistics.intervals import Interval
from flowtracer.statistics.ranks import ranks
from flowtracer.studies.value.agreement import tells_apart, unit_scores
from flowtracer.studies.value.summary import CEILING, Agreement

LINE = 92  # characters of a line of the coloured response
MOST_TOKENS = 240  # of the coloured response
TRUTH = "true credit: blue raised the chance of being right, red lowered it"


def draw_agreement(agreements: Sequence[Agreement], ratio: float) -> Figure:
    """Ratio of |credit| in the top tokens and concordance of signs, one line per scorer with its interval."""
    ordered = sorted(agreements, key=lambda agreement: agreement.in_top[ratio].value)
    figure = Figure(figsize=(11, 1.2 + 0.28 * len(ordered)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [agreement.name for agreement in ordered]
    for index, agreement in enumerate(ordered):
        colour = "0.45" if agreement.name == CEILING else "C0"
        _bar(left, index, agreement.in_top[ratio], colour)
        for interval, shift, hue in (
            (agreement.sign_right, 0.13, "C2"),
            (agreement.sign_wrong, -0.13, "C3"),
        ):
            if interval is not None:
                _bar(right, index + shift, interval, hue)
    left.axvline(ratio, color="0.6", linestyle=":")
    right.axvline(0.5, color="0.6", linestyle=":")
    left.set_yticks(range(len(names)), names)
    left.set_xlabel(f"part of credit in the top {ratio:.0%} (dotted: chance)")
    right.set_xlabel("raising above lowering (green: right responses, red: wrong)")
    return figure


def draw_response(
    row: dict[str, Any], names: Sequence[str], texts: Sequence[str], *, evenly: bool
) -> Figure:
    """A response coloured by true credit (red lowers, blue raises), and below by each score's rank.

    texts: of its tokens, printable.
    """
    count = min(len(texts), MOST_TOKENS)
    credit = np.array(row["credit"])
    truth = spread(torch.tensor(credit), row["points"], len(texts), evenly=evenly).numpy()[:count]
    bands: list[tuple[str, np.ndarray[Any, Any], str]] = [
        (TRUTH, truth / max(abs(truth).max(), 1e-12) / 2 + 0.5, "RdBu")
    ]
    for name in names:
        scores = np.array(row["scores"][name])[:count]
        rank = scores.argsort(kind="stable").argsort(kind="stable") / max(1, count - 1)
        bands.append((name, np.where(scores > 0, rank, 0.0), "Oranges"))
    lines = _lines(texts[:count])
    height = sum(len(lines) + 1.6 for _ in bands)
    figure = Figure(figsize=(11, 0.19 * height + 0.2), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, LINE)
    axes.set_ylim(-height, 0)
    top = 0.0
    for name, colours, palette in bands:
        axes.text(0, top - 0.9, name, fontsize=9, fontweight="bold", va="center")
        top -= 1.4
        shades = matplotlib.colormaps[palette]
        for line in lines:
            for token, begin in line:
                width = len(texts[token])
                shade = shades(0.85 * colours[token] + (0.075 if palette == "RdBu" else 0.0))
                axes.add_patch(Rectangle((begin, top - 1), width, 1, color=shade, linewidth=0))
                axes.text(
                    begin, top - 0.5, texts[token], fontsize=9.5, family="monospace", va="center"
                )
            top -= 1
        top -= 0.2
    return figure


def draw_against(rows: Sequence[dict[str, Any]], names: Sequence[str], *, evenly: bool) -> Figure:
    """Credit of every unit over the rank of its score within its response, a panel a scorer."""
    figure = Figure(figsize=(11, 2.6 * ((len(names) + 3) // 4)), layout="constrained")
    panels = np.atleast_1d(figure.subplots((len(names) + 3) // 4, 4, sharex=True, sharey=True)).flat
    for axes, name in zip(panels, [*names, *[""] * 3], strict=False):
        if not name:
            axes.set_axis_off()
            continue
        points = []
        for row in rows:
            for response in row["responses"]:
                of_tokens = torch.tensor(response["scores"][name])
                scores = unit_scores(of_tokens, response["points"], evenly=evenly)
                if not tells_apart(of_tokens):
                    continue
                within = (ranks(scores) + 0.5) / len(scores)
                points += list(zip(within, response["credit"], strict=True))
        x, y = np.array(points).T
        axes.plot(x, y, ".", markersize=2, alpha=0.35)
        edges = np.linspace(0, 1, 9)
        middle = (edges[1:] + edges[:-1]) / 2
        inside = np.clip(np.digitize(x, edges) - 1, 0, 7)
        means = [
            abs(y[inside == part]).mean() if (inside == part).any() else np.nan for part in range(8)
        ]
        axes.plot(middle, means, "k-", linewidth=1)
        axes.set_title(name, fontsize=9)
    figure.supxlabel("rank of the score within the response (black: mean |credit|)", fontsize=9)
    figure.supylabel("true credit", fontsize=9)
    return figure


def _bar(axes: Any, y: float, interval: Interval, colour: str) -> None:
    axes.plot([interval.low, interval.high], [y, y], color=colour, linewidth=1.5)
    axes.plot([interval.value], [y], "o", color=colour, markersize=4)


def _lines(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Tokens with their first column, broken into lines."""
    lines: list[list[tuple[int, int]]] = [[]]
    column = 0
    for token, text in enumerate(texts):
        if column + len(text) > LINE and lines[-1]:
            lines.append([])
            column = 0
        lines[-1].append((token, column))
        column += len(text)
    return lines
