"""Table, figure and recommendation of the study of gradients, of one policy or of a run's checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from flowtracer.render.charts import (
    CHANCE,
    PALETTE,
    REST,
    SMALL,
    label_ends,
    save_chart,
    tidy,
    tints,
)
from flowtracer.statistics.intervals import Interval
from flowtracer.studies.gradient.frozen import (
    draw_frozen,
    frozen_checkpoint_lines,
    frozen_figures,
    frozen_lines,
)
from flowtracer.studies.gradient.study import GradientStudy
from flowtracer.studies.gradient.summary import Alignment, alignments, informative_batches
from flowtracer.studies.provenance import model_name
from flowtracer.studies.table import (
    PICTURE,
    table_lines,
    write_judged,
    write_table,
)
from flowtracer.studies.verdicts import in_words, judge

NAMED = 6  # rules with a colour of their own, as many as the palette has
COLUMNS = (
    "rule",
    "verdict",
    "cosine with the reward's gradient, less uniform",
    "effective batch",
    "cosine with the reward's gradient",
    "with uniform GRPO's, less uniform",
    "of signs, less uniform",
    "Gini",
    "effective tokens",
)


def write_report(
    study: GradientStudy, rows: Sequence[dict[str, Any]], out: Path, *, command: str
) -> Path:
    """Write `table.md`, `figures.json` and `figure.png`; the table's path."""
    measured = alignments(rows, study.names, out, seed=study.seed)
    others = measured[1:]
    frozen = frozen_figures(rows, measured, seed=study.seed)
    count = len(informative_batches(rows))
    verdicts = judge(
        {alignment.name: alignment.differences for alignment in others}, seed=study.seed
    )
    paragraph = without_signal(
        measured[0].cosine,
        mixed=sum(row["informative"] for row in rows),
        prompts=sum(len(row["groups"]) for row in rows),
    )
    paragraph += in_words(verdicts, baseline="uniform weights", units="batches", count=count)
    words = {verdict.name: verdict.word for verdict in verdicts}
    ordered = [measured[0], *sorted(others, key=lambda alignment: -alignment.difference.value)]
    return write_judged(
        study,
        out,
        command=command,
        title="Alignment of gradients",
        what=_what(study, rows, count),
        table=[
            *table_lines(
                COLUMNS, [_cells(alignment, words.get(alignment.name, "")) for alignment in ordered]
            ),
            *(["", *frozen_lines(frozen, model_name(study.frozen))] if study.frozen else []),
        ],
        verdicts=verdicts,
        paragraph=paragraph,
        figures={
            "rules": [_plain(alignment) for alignment in measured],
            "reward": float(np.mean([row["reward"] for row in rows])),
            **({"frozen": [asdict(alignment) for alignment in frozen]} if frozen else {}),
        },
        figure=_bars(ordered[1:]),
    )


def without_signal(cosine: Interval, *, mixed: int, prompts: int) -> str:
    """A sentence where uniform weights' own gradients do not agree from batch to batch; otherwise "".

    cosine: of uniform weights. mixed: prompts with responses of different rewards.
    """
    if cosine.low > 0:
        return ""
    return (
        f"Uniform weights' own cosine is not clearly above 0 ({_signed(cosine)}): these rollouts hardly show "
        "in which direction more reward lies, so they can hardly show which rule is right. Use more batches, "
        f"or problems that the policy solves only sometimes ({mixed:,} of {prompts:,} prompts have responses "
        "of different rewards). "
    )


def write_checkpoints(reports: Mapping[str, Mapping[str, Any]], out: Path, *, command: str) -> Path:
    """One table and figure over the checkpoints of a run, in their order.

    reports: `figures.json` of each checkpoint's study.
    """
    names = list(
        dict.fromkeys(rule["name"] for report in reports.values() for rule in report["rules"])
    )
    steps = list(reports)
    by_rule = {
        name: [
            next(rule["difference"] for rule in report["rules"] if rule["name"] == name)
            for report in reports.values()
        ]
        for name in names[1:]
    }
    labels = [f"{name}\nreward {report['reward']:.2f}" for name, report in reports.items()]
    figure = _draw_checkpoints(by_rule, labels)
    table = table_lines(
        ["rule", *steps],
        [
            [f"`{name}`", *(_signed(Interval(**difference)) for difference in differences)]
            for name, differences in by_rule.items()
        ],
    )
    lines = [
        "# Alignment of gradients while a policy learns",
        "",
        "Cosine with the reward's own gradient, less that of uniform weights, 95% intervals over batches.",
        "",
        *table,
        "",
        PICTURE,
        "",
        *(f"{name}: {report['recommendation']}\n" for name, report in reports.items()),
        f"`{command}`",
    ]
    summary = {"checkpoints": steps, "differences": by_rule, "command": command}
    picture = draw_frozen(reports, steps)
    if picture is not None:
        save_chart(picture, out / "frozen.png")
        lines[-1:-1] = [
            "## Frozen against current",
            "",
            *frozen_checkpoint_lines(reports),
            "",
            "![Agreement of the frozen model with each policy](frozen.png)",
            "",
        ]
    return write_table(out, lines, summary, figure)


def _draw_checkpoints(
    by_rule: Mapping[str, Sequence[Mapping[str, float]]], labels: Sequence[str]
) -> Figure:
    """A line for each rule over the checkpoints; those that reach furthest from 0 have colour."""
    figure = Figure(figsize=(6.5, 4.6), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    reach = {name: max(by_rule[name], key=_size)["value"] for name in by_rule}
    ordered = sorted(by_rule, key=lambda name: -reach[name])
    half = NAMED // 2
    ends = [*ordered[:half], *ordered[-half:]] if len(ordered) > NAMED else ordered
    colours = tints([*ends, *(name for name in ordered if name not in ends)], {}, NAMED)
    for name in reversed(ordered):
        low, value, high = zip(
            *((d["low"], d["value"], d["high"]) for d in by_rule[name]), strict=True
        )
        strong = colours[name] != REST
        axes.plot(
            range(len(labels)), value, "o-" if strong else "-", markersize=3, color=colours[name],
            linewidth=1.4 if strong else 0.7, zorder=3 if strong else 1,
        )  # fmt: skip
        if strong:
            axes.fill_between(range(len(labels)), low, high, alpha=0.12, color=colours[name], lw=0)
    axes.axhline(0, color=CHANCE, linestyle=":", linewidth=0.9)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.1, max(len(labels) - 1, 0.1))
    axes.set_ylim(*axes.get_ylim())
    last = len(labels) - 1
    label_ends(axes, {name: (last, by_rule[name][-1]["value"]) for name in ends}, colours, 3.8)
    axes.set_ylabel("cosine with the reward's gradient, less uniform", fontsize=SMALL + 1)
    axes.set_title("Alignment of rules while the policy learns", fontsize=9, loc="left")
    return figure


def _size(interval: Mapping[str, float]) -> float:
    return abs(interval["value"])


def _what(study: GradientStudy, rows: Sequence[dict[str, Any]], count: int) -> str:
    responses = sum(row["responses"] for row in rows)
    reward = float(np.mean([row["reward"] for row in rows]))
    source = "of a file" if study.rollouts else f"sampled at temperature {study.temperature:g}"
    return (
        f"{len(rows)} batches of {study.problems} problems, {responses:,} responses {source} (mean reward "
        f"{reward:.3f}); {count} batches with any difference of rewards. Gradient of {study.parameters} "
        f"parameters at up to {study.coordinates:,} coordinates, seed {study.seed}. Every rule sees the same "
        "rollouts; a batch is compared with all the others; 95% intervals by a bootstrap over batches."
    )


def _cells(alignment: Alignment, verdict: str) -> list[str]:
    plain = alignment.name == "uniform"
    batch = alignment.effective_batch
    return [
        alignment.name if plain else f"`{alignment.name}`",
        verdict,
        "" if plain else _signed(alignment.difference),
        "" if batch is None else f"{batch.value:.2f} [{batch.low:.2f}, {batch.high:.2f}]",
        f"{alignment.cosine.value:.3f} [{alignment.cosine.low:.3f}, {alignment.cosine.high:.3f}]",
        "" if plain else _signed(alignment.grpo_difference),
        "" if plain else _signed(alignment.sign_difference),
        f"{alignment.gini:.2f}",
        f"{alignment.effective_tokens:.2f}",
    ]


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _plain(alignment: Alignment) -> dict[str, Any]:
    values = asdict(alignment)
    values["differences"] = [float(f"{value:.6g}") for value in alignment.differences]
    return values


def _bars(ordered: Sequence[Alignment]) -> Figure:
    """Differences to uniform weights, a line a rule, with intervals."""
    figure = Figure(figsize=(5.5, 1.3 + 0.2 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    for index, alignment in enumerate(reversed(ordered)):
        for interval, shift, mark, tint, name in (
            (alignment.difference, 0.16, "o", PALETTE[0], "of gradients"),
            (alignment.sign_difference, -0.16, "s", PALETTE[1], "of signs"),
        ):
            axes.plot([interval.low, interval.high], [index + shift] * 2, color=tint, linewidth=1.3)
            label = name if index == 0 else "_"
            axes.plot(
                interval.value, index + shift, mark, color=tint, markersize=3, label=label, lw=0
            )
    axes.axvline(0, color=CHANCE, linestyle=":", linewidth=0.9)
    names = [alignment.name for alignment in reversed(ordered)]
    axes.set_yticks(range(len(ordered)), names, fontsize=SMALL, parse_math=False)
    axes.set_ylim(-0.7, len(ordered) - 0.3)
    axes.set_xlabel("cosine with the reward's, less that of uniform weights", fontsize=SMALL + 1)
    axes.set_title("Does a rule's gradient point to more reward?", fontsize=9, loc="left")
    figure.legend(loc="outside lower right", ncols=2, fontsize=SMALL, frameon=False)
    return figure
