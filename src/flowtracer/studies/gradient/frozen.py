"""Table and figure of a frozen model's credit against that of the policy that wrote the rollouts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from flowtracer.render.charts import CHANCE, PALETTE, SMALL, tidy
from flowtracer.statistics.intervals import Interval, bootstrap
from flowtracer.studies.gradient.agreement import FIGURES, SUFFIX
from flowtracer.studies.gradient.summary import Alignment
from flowtracer.studies.table import percent, table_lines

COLUMNS = (
    "rule",
    "same tokens chosen",
    "correlation of weights",
    "rank correlation of scores",
    "alignment, frozen less current",
)


@dataclass(frozen=True)
class Frozen:
    """A rule's agreement between the frozen and the current model; intervals over batches.

    overlap: ratio of the tokens chosen by the current model that the frozen one chooses too. weights, scores:
    correlation of weights and rank correlation of scores within a response, means over responses.
    alignment: cosine with the reward's gradient, frozen less current.
    """

    name: str
    overlap: Interval
    weights: Interval
    scores: Interval
    alignment: Interval


def frozen_figures(
    rows: Sequence[Mapping[str, Any]], measured: Sequence[Alignment], *, seed: int
) -> list[Frozen]:
    """Figures of every rule that was scored twice, but one without a response to compare.

    rows: of the batches. measured: alignment of all rules, those of the frozen model among them.
    """
    by_name = {alignment.name: alignment for alignment in measured}
    used = [row["frozen"] for row in rows if row.get("frozen")]
    result = []
    for name in used[0] if used else ():
        values = {
            figure: np.array(
                [batch[name][figure] for batch in used if batch[name][figure] is not None]
            )
            for figure in FIGURES
        }
        if not all(map(len, values.values())):
            continue
        apart = by_name[name + SUFFIX].differences - by_name[name].differences
        intervals = {figure: bootstrap(array, seed=seed) for figure, array in values.items()}
        result.append(Frozen(name, **intervals, alignment=bootstrap(apart, seed=seed)))
    return result


def frozen_lines(figures: Sequence[Frozen], model: str) -> list[str]:
    """A paragraph and a table of one policy."""
    intro = f"Frozen: scored by {model} instead of the policy, on the same rollouts."
    return [intro, "", *table_lines(COLUMNS, [_cells(rule) for rule in figures])]


def frozen_checkpoint_lines(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table over checkpoints from their `figures.json`; nothing if no model was frozen."""
    rows = [
        [step, *_cells(_from_json(rule))]
        for step, report in reports.items()
        for rule in report.get("frozen", ())
    ]
    return table_lines(("policy", *COLUMNS), rows) if rows else []


def draw_frozen(reports: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> Figure | None:
    """Overlap and correlation over checkpoints, a line a rule; None if no model was frozen."""
    by_rule: dict[str, list[Mapping[str, Any]]] = {}
    for report in reports.values():
        for rule in report.get("frozen", ()):
            by_rule.setdefault(rule["name"], []).append(rule)
    by_rule = {name: rules for name, rules in by_rule.items() if len(rules) == len(labels)}
    if not by_rule:
        return None
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    titles = ("same tokens chosen", "correlation of weights", "alignment, frozen less current")
    for axes, field, title in zip(panels, ("overlap", "weights", "alignment"), titles, strict=True):
        tidy(axes)
        for number, (name, rules) in enumerate(by_rule.items()):
            colour = PALETTE[number % len(PALETTE)]
            low, value, high = zip(
                *(
                    (rule[field]["low"], rule[field]["value"], rule[field]["high"])
                    for rule in rules
                ),
                strict=True,
            )
            axes.plot(range(len(labels)), value, "o-", markersize=3, color=colour, label=name)
            axes.fill_between(range(len(labels)), low, high, alpha=0.15, color=colour, lw=0)
        axes.set_xticks(range(len(labels)), labels, fontsize=SMALL)
        axes.set_title(title, fontsize=SMALL + 1, loc="left")
        if field == "alignment":
            axes.axhline(0, color=CHANCE, linestyle=":", linewidth=0.9)
        else:
            axes.set_ylim(0, 1.02)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower right", ncols=3, fontsize=SMALL, frameon=False)
    return figure


def _cells(rule: Frozen) -> list[str]:
    """In the order of `COLUMNS`."""
    numbers = (_number(rule.weights), _number(rule.scores), _number(rule.alignment, "+"))
    return [f"`{rule.name}`", percent(rule.overlap), *numbers]


def _from_json(row: Mapping[str, Any]) -> Frozen:
    return Frozen(row["name"], *(Interval(**row[name]) for name in (*FIGURES, "alignment")))


def _number(interval: Interval, sign: str = "") -> str:
    return f"{interval.value:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"
