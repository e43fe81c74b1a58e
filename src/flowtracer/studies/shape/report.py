"""Table and figure of the study of the flow's shape."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from flowtracer.evaluation.intervals import Interval, bootstrap, ratio_of_sums
from flowtracer.flow import BACKBONE_RATIO
from flowtracer.render.visible import one_line
from flowtracer.studies.provenance import provenance, provenance_line, without_paths
from flowtracer.studies.resume import SolutionStudy, solutions_line
from flowtracer.studies.shape.study import SHARES, unevenness
from flowtracer.studies.table import percent, points, write_table

LEAST = 30  # occurrences of a token before anything is said of it, our choice
RESPONSES = 10  # and responses that it is in
SHOWN = 15  # tokens at either end


@dataclass(frozen=True)
class Token:
    """How often a token is among the high-flow ones."""

    text: str
    count: int
    share: Interval


def token_shares(rows: Sequence[dict[str, Any]]) -> list[Token]:
    """Tokens that occur often enough, most high-flow first; the bootstrap draws whole responses.

    Blanks around a token do not count, so that " 5" and "5" are one; a token of blanks keeps them.
    """
    counts: dict[str, dict[int, list[int]]] = {}
    for place, row in enumerate(rows):
        for text, high in zip(row["texts"], row["high"], strict=True):
            inside = counts.setdefault(text.strip() or text, {}).setdefault(place, [0, 0])
            inside[0] += 1
            inside[1] += high
    found = []
    for text, by_response in counts.items():
        table = np.array(list(by_response.values()), dtype=float)
        if len(table) >= RESPONSES and table[:, 0].sum() >= LEAST:
            found.append(Token(text, int(table[:, 0].sum()), ratio_of_sums(table)))
    return sorted(found, key=lambda one: (-one.share.value, one.text))


def against_chance(
    rows: Sequence[dict[str, Any]], figure: Callable[[Sequence[int]], float | None]
) -> tuple[Interval, Interval, Interval] | None:
    """A figure of hub spacings, the same with shuffled throughput, and the paired difference."""
    pairs = []
    for row in rows:
        own = figure(row["spacing"])
        null = [one for one in map(figure, row["shuffled"]) if one is not None]
        if own is not None and null:
            pairs.append((own, float(np.mean(null))))
    if not pairs:
        return None
    table = np.array(pairs)
    return bootstrap(table[:, 0]), bootstrap(table[:, 1]), bootstrap(table[:, 0] - table[:, 1])


def write_report(
    study: SolutionStudy, rows: Sequence[dict[str, Any]], out: Path, *, command: str = ""
) -> Path:
    """Write `table.md`, `figures.json` and `figure.png` into `out`; returns the table's path."""
    origin = provenance(study.solutions.model, command, out)
    tokens = token_shares(rows)
    kinds = _kinds(rows)
    lines = [
        f"Tokens of {solutions_line(study, len(rows))} in front of the answer, by {study.measure}. "
        f"High means among a response's top {100 * BACKBONE_RATIO:g}%. 95% bootstrap intervals over "
        "responses.",
        "",
        "### How much of the flow the top tokens hold",
        "",
        "| top share of tokens | flow in front of the answer, percent | answer tokens included |",
        "|---|---|---|",
    ]
    held = {}
    for place, share in enumerate(SHARES):
        both = [
            bootstrap(np.array([row[name][place] for row in rows]))
            for name in ("held", "held_with_answer")
        ]
        held[f"{share:g}"] = [asdict(one) for one in both]
        lines.append(f"| {100 * share:g}% | {percent(both[0])} | {percent(both[1])} |")
    lines += ["", "### Delimiters and other tokens", "", "| kind | share that is high, percent |"]
    lines += ["|---|---|", *(f"| {name} | {percent(one)} |" for name, one in kinds.items())]
    lines += _token_tables(tokens)
    spacings = {
        "tokens from hub to hub, mean": against_chance(rows, _mean),
        "unevenness (deviation / mean)": against_chance(rows, unevenness),
    }
    lines += [
        "",
        "### Hubs",
        "",
        "A hub is a local maximum of throughput. Even hubs would have a low unevenness. Chance: the "
        "throughput of each response shuffled among its tokens, 20 times.",
        "",
        "| figure | found | by chance | difference |",
        "|---|---|---|---|",
    ]
    for name, found in spacings.items():
        if found:
            own, null, gap = found
            lines.append(f"| {name} | {_plain(own)} | {_plain(null)} | {_plain(gap, '+')} |")
    lines += ["", provenance_line(origin), "", "![figure](figure.png)"]
    figures = {
        "study": without_paths(study),
        "origin": origin,
        "held": held,
        "kinds": {name: asdict(one) for name, one in kinds.items()},
        "tokens": [{"text": t.text, "count": t.count} | asdict(t.share) for t in tokens],
        "hubs": {name: [asdict(one) for one in found or ()] for name, found in spacings.items()},
    }
    return write_table(out, lines, figures, _figure(tokens) if tokens else None)


def _kinds(rows: Sequence[dict[str, Any]]) -> dict[str, Interval]:
    found = {}
    for name, wanted in (("delimiters", 1), ("other tokens", 0)):
        table = np.array(
            [
                (
                    sum(kind == wanted for kind in row["structural"]),
                    sum(
                        high
                        for kind, high in zip(row["structural"], row["high"], strict=True)
                        if kind == wanted
                    ),
                )
                for row in rows
            ],
            dtype=float,
        )
        if table[:, 0].sum():
            found[name] = ratio_of_sums(table)
    return found


def _token_tables(tokens: Sequence[Token]) -> list[str]:
    lines = []
    count = min(SHOWN, len(tokens) // 2)
    for title, part in (
        ("Most often high", tokens[:count]),
        ("Least often high", tokens[::-1][:count]),
    ):
        lines += ["", f"### {title}", ""]
        lines += [
            "| token | occurrences | share that is high, percent | over all tokens |",
            "|---|---|---|---|",
        ]
        for one in part:
            gap = Interval(*(v - BACKBONE_RATIO for v in asdict(one.share).values()))
            text = one_line(one.text).replace("|", "\\|").replace("`", "'")
            lines.append(f"| `{text}` | {one.count} | {percent(one.share)} | {points(gap)} |")
    return lines


def _mean(gaps: Sequence[int]) -> float | None:
    return float(np.mean(gaps)) if gaps else None


def _plain(one: Interval, sign: str = "") -> str:
    return f"{one.value:{sign}.2f} [{one.low:{sign}.2f}, {one.high:{sign}.2f}]"


def _figure(tokens: Sequence[Token]) -> Figure:
    """The ends of the ranking, as bars with intervals around the share of all tokens."""
    count = min(SHOWN, len(tokens) // 2)
    shown = [*tokens[:count], *tokens[len(tokens) - count :]][::-1]
    figure = Figure(figsize=(5.4, 1.2 + 0.2 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(shown):
        value, low, high = (100 * v for v in asdict(one.share).values())
        axes.barh(place, value, color="#083370" if place >= count else "#b9c4d6", height=0.66)
        axes.errorbar(
            value, place, xerr=[[value - low], [high - value]], color="#222", linewidth=0.9
        )
    axes.axvline(100 * BACKBONE_RATIO, color="#b45309", linewidth=1)
    axes.margins(y=0.01)
    names = [one_line(one.text) for one in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=7, parse_math=False)
    axes.set_xlabel("share of occurrences that are high-flow (%); line: all tokens", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
