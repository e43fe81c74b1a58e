"""Table and figure of the study of the flow's shape."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from flowtracer.flow import BACKBONE_RATIO
from flowtracer.render.charts import CHANCE, PALETTE, SMALL, tidy
from flowtracer.render.font import FONT, printable
from flowtracer.render.visible import one_line
from flowtracer.statistics.intervals import Interval, bootstrap, rate_interval, ratio_of_sums
from flowtracer.studies.provenance import provenance, provenance_line, without_paths
from flowtracer.studies.resume import solutions_line
from flowtracer.studies.shape.study import RATIOS, ShapeStudy, coefficient_of_variation
from flowtracer.studies.table import nats, percent, points, table_lines, write_table

LEAST = 30  # occurrences of a token before anything is said of it, our choice
RESPONSES = 10  # and responses that it is in
SHOWN = 15  # tokens at either end


@dataclass(frozen=True)
class Token:
    """How often a token is among the high-flow ones."""

    text: str
    count: int
    high: Interval


def token_ratios(rows: Sequence[dict[str, Any]]) -> list[Token]:
    """Tokens that occur often enough, most high-flow first; the bootstrap resamples complete responses.

    Blanks around a token do not count, so that " 5" and "5" are one; a token of blanks keeps them.
    """
    counts: dict[str, dict[int, list[int]]] = {}
    for index, row in enumerate(rows):
        for text, high in zip(row["texts"], row["high"], strict=True):
            inside = counts.setdefault(text.strip() or text, {}).setdefault(index, [0, 0])
            inside[0] += 1
            inside[1] += high
    tokens = []
    for text, by_response in counts.items():
        table = np.array(list(by_response.values()), dtype=float)
        if len(table) >= RESPONSES and table[:, 0].sum() >= LEAST:
            tokens.append(Token(text, int(table[:, 0].sum()), ratio_of_sums(table)))
    return sorted(tokens, key=lambda token: (-token.high.value, token.text))


def against_chance(
    rows: Sequence[dict[str, Any]], figure: Callable[[Sequence[int]], float | None]
) -> tuple[Interval, Interval, Interval] | None:
    """A figure of hub spacings, the same with shuffled throughput, and the paired difference."""
    pairs = []
    for row in rows:
        actual = figure(row["spacing"])
        by_chance = [value for value in map(figure, row["shuffled"]) if value is not None]
        if actual is not None and by_chance:
            pairs.append((actual, float(np.mean(by_chance))))
    if not pairs:
        return None
    table = np.array(pairs)
    return bootstrap(table[:, 0]), bootstrap(table[:, 1]), bootstrap(table[:, 0] - table[:, 1])


def write_report(
    study: ShapeStudy, rows: Sequence[dict[str, Any]], out: Path, *, command: str = ""
) -> Path:
    """Write `table.md`, `figures.json` and `figure.png` into `out`; returns the table's path."""
    origin = provenance(study.solutions.model, command, out)
    tokens = token_ratios(rows)
    kinds = _kinds(rows)
    top_flow = {
        ratio: [
            rate_interval(np.array([row[name][index] for row in rows]))
            for name in ("top_flow", "top_flow_with_answer")
        ]
        for index, ratio in enumerate(RATIOS)
    }
    hubs = {
        "tokens from hub to hub, mean": against_chance(rows, _mean),
        "coefficient of variation": against_chance(rows, coefficient_of_variation),
    }
    lines = [
        f"Tokens of {solutions_line(study, len(rows))} in front of the answer, by {study.scorer}. "
        f"High means among a response's top {100 * BACKBONE_RATIO:g}%. 95% intervals over "
        "responses.",
        "",
        "### How much of the flow the top tokens have",
        "",
        *table_lines(
            ["top tokens", "flow in front of the answer, percent", "answer tokens included"],
            [[f"{100 * ratio:g}%", *map(percent, both)] for ratio, both in top_flow.items()],
        ),
        "",
        "### Delimiters and other tokens",
        "",
        *table_lines(["kind", "high, percent"], [[name, percent(kinds[name])] for name in kinds]),
        *_token_tables(tokens),
        "",
        "### Hubs",
        "",
        "A hub is a local maximum of throughput. Hubs at regular intervals would have a low coefficient "
        "of variation (standard deviation of the spacing over its mean). Chance: the throughput of each "
        "response shuffled among its tokens, 20 times.",
        "",
        *_hub_table(hubs),
        "",
        provenance_line(origin),
        *(["", "![figure](figure.png)"] if tokens else []),
    ]
    figures = {
        "study": without_paths(study),
        "origin": origin,
        "top_flow": {f"{ratio:g}": [asdict(i) for i in both] for ratio, both in top_flow.items()},
        "kinds": {name: asdict(interval) for name, interval in kinds.items()},
        "tokens": [{"text": t.text, "count": t.count} | asdict(t.high) for t in tokens],
        "hubs": {name: [asdict(i) for i in three or ()] for name, three in hubs.items()},
    }
    return write_table(out, lines, figures, _figure(tokens) if tokens else None)


def _kinds(rows: Sequence[dict[str, Any]]) -> dict[str, Interval]:
    """How often delimiters and other tokens are high."""
    kinds = {}
    for name, kind in (("delimiters", 1), ("other tokens", 0)):
        high = [
            [high for is_structural, high in zip(row["structural"], row["high"], strict=True)
             if is_structural == kind]
            for row in rows
        ]  # fmt: skip
        table = np.array([(len(of_row), sum(of_row)) for of_row in high], dtype=float)
        if table[:, 0].sum():
            kinds[name] = ratio_of_sums(table)
    return kinds


def _hub_table(hubs: Mapping[str, tuple[Interval, Interval, Interval] | None]) -> list[str]:
    """What was found beside chance, or that there was too little."""
    entries = [
        [name, nats(three[2], "+"), nats(three[0]), nats(three[1])]
        for name, three in hubs.items()
        if three
    ]
    if not entries:
        return ["No response has hubs enough for a spacing."]
    return table_lines(["figure", "difference", "found", "by chance"], entries)


def _token_tables(tokens: Sequence[Token]) -> list[str]:
    if not tokens:
        return [
            "",
            f"No token occurs {LEAST} times or more in {RESPONSES} responses or more, so none is ranked and "
            "nothing is drawn; use more problems.",
        ]
    lines = []
    high, low = _ends(tokens)
    for title, part in (("Most often high", high), ("Least often high", low)):
        if not part:
            continue
        entries = []
        for token in part:
            gap = Interval(*(bound - BACKBONE_RATIO for bound in asdict(token.high).values()))
            text = one_line(token.text).replace("|", "\\|").replace("`", "'")
            entries.append([f"`{text}`", percent(token.high), points(gap), str(token.count)])
        columns = ["token", "high, percent", "over all tokens", "occurrences"]
        lines += ["", f"### {title}", "", *table_lines(columns, entries)]
    return lines


def _ends(tokens: Sequence[Token]) -> tuple[Sequence[Token], Sequence[Token]]:
    """The tokens most often high, and those least often, none in both."""
    high = tokens[: min(SHOWN, (len(tokens) + 1) // 2)]
    return high, tokens[len(high) :][::-1][:SHOWN]


def _mean(gaps: Sequence[int]) -> float | None:
    return float(np.mean(gaps)) if gaps else None


def _figure(tokens: Sequence[Token]) -> Figure:
    """The ends of the ranking, as bars with intervals around the ratio of all tokens."""
    high, low = _ends(tokens)
    bars = [(-float(index), token, PALETTE[0]) for index, token in enumerate(high)]
    bars += [(-index - len(high) - 0.6, token, PALETTE[4]) for index, token in enumerate(low[::-1])]
    figure = Figure(figsize=(3.6, 1.1 + 0.155 * len(bars)), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    for height, token, tint in bars:
        value, least, most = (100 * bound for bound in asdict(token.high).values())
        axes.barh(height, value, color=tint, height=0.66)
        axes.errorbar(
            value, height, xerr=[[value - least], [most - value]], color="#222", linewidth=0.9
        )
    axes.axvline(100 * BACKBONE_RATIO, color=CHANCE, linewidth=0.9, linestyle="--")
    axes.annotate(
        "all tokens", (100 * BACKBONE_RATIO, 1), (3, -2), xycoords=("data", "axes fraction"),
        textcoords="offset points", va="top", fontsize=SMALL - 1, color=CHANCE,
    )  # fmt: skip
    axes.set_ylim(bars[-1][0] - 0.6, 1.4)
    axes.set_yticks(
        [height for height, _, _ in bars],
        [printable(one_line(token.text)) for _, token, _ in bars],
        fontproperties=FONT,
        fontsize=SMALL,
        parse_math=False,
    )
    axes.set_xlim(0, 100)
    axes.set_xlabel(
        f"occurrences among a response's top {BACKBONE_RATIO:.0%} (%)", fontsize=SMALL + 1
    )
    axes.set_title(
        "Tokens most and least often high-flow", fontsize=9, fontweight="bold", loc="left"
    )
    return figure
