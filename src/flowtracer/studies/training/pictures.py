"""Figures of a training study: curves, differences to the first method, and what was foretold of them."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure

from flowtracer.render.charts import CHANCE, FLOW, REST, SMALL, label_ends, save_chart, tidy
from flowtracer.statistics.intervals import Interval
from flowtracer.statistics.ranks import Array
from flowtracer.studies.training.foretold import Prediction
from flowtracer.studies.training.learning import Rows, mean_rows, over_seeds
from flowtracer.studies.training.study import TrainingResults
from flowtracer.training.calibration_picture import calibration_picture
from flowtracer.training.curves import SMOOTHING, running_mean, save_curves

COLUMNS = 4  # of panels, our choice
PANEL = (2.3, 1.7)  # inches
TITLE = 32  # characters of a line that fit over a panel


def save_pictures(
    results: TrainingResults, seeds: Sequence[int], seen: Mapping[str, Array], out: Path
) -> list[str]:
    """Draw the curves, the differences to the first method, and the rules that calibrated credit used.

    seen: of each method but the first its differences in the primary measure, by seed. Returns the lines of
    the report that show the pictures.
    """
    intervals = {name: over_seeds(values.tolist()) for name, values in seen.items()}
    overall = {name: interval for name, interval in intervals.items() if interval is not None}
    runs = {variant.name: variant.metrics for variant in results.variants}
    save_curves(
        {name: mean_rows(rows) for name, rows in runs.items()}, out / "curves.png", seeds=runs
    )
    lines = [
        "",
        "![mean over seeds of the metrics, by optimizer step; bands from lowest to highest seed]"
        "(curves.png)",
    ]
    first = next(iter(runs))
    pictures = {
        "differences.png": (
            difference_curves(runs, overall),
            f"reward of each method less that of {first}, step by step, with 95% over seeds",
        )
    }
    for name, rows in runs.items():
        by_seed = {f"seed {seed}": of_seed for seed, of_seed in zip(seeds, rows, strict=True)}
        pictures[f"rules-{name}.png"] = calibration_picture(by_seed), f"rules in use, {name}"
    for file, (figure, caption) in pictures.items():
        if figure is not None:
            save_chart(figure, out / file)
            lines += ["", f"![{caption}]({file})"]
    return lines


def difference_curves(
    runs: Mapping[str, Sequence[Rows]], overall: Mapping[str, Interval]
) -> Figure | None:
    """A panel for each method but the first: its reward less the first one's, step by step.

    Differences of running means, paired by seed, with 95% over seeds (Student's t). None where there is
    nothing to pair: one method, or a single seed.

    runs: of each method the rows of every seed, the same seeds in the same order. overall: of each method
    but the first the difference in the primary measure, for the title.
    """
    (_, base), *others = runs.items()
    if not others or len(base) < 2:
        return None
    rows = ceil(len(others) / COLUMNS)
    columns = min(COLUMNS, len(others))
    figure = Figure(figsize=(PANEL[0] * columns + 0.5, PANEL[1] * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, (name, seeds) in zip(panels, others, strict=False):
        steps, intervals = paired_differences(seeds, base)
        axes.axhline(0, color=CHANCE, linewidth=0.9, linestyle=":")
        axes.plot(steps, [each.value for each in intervals], color=FLOW, linewidth=1.4)
        axes.fill_between(
            steps, [each.low for each in intervals], [each.high for each in intervals],
            color=FLOW, alpha=0.18, linewidth=0,
        )  # fmt: skip
        tidy(axes)
        axes.margins(x=0)
        whole = overall[name]
        title = fill(name, TITLE)
        axes.set_title(
            f"{title}\n{whole.value:+.3f} [{whole.low:+.3f}, {whole.high:+.3f}]",
            fontsize=SMALL + 1, loc="left", parse_math=False,
        )  # fmt: skip
    for axes in panels[len(others) :]:
        axes.remove()
    for axes in panels[: len(others)][-columns:]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    first = next(iter(runs))
    figure.supxlabel("optimizer step", fontsize=SMALL + 1)
    figure.supylabel(f"reward, less {first}'s\n(mean of {SMOOTHING} steps)", fontsize=SMALL + 1)
    return figure


def paired_differences(
    runs: Sequence[Rows], base: Sequence[Rows]
) -> tuple[list[int], list[Interval]]:
    """Running mean of the reward less the base's, over seeds, at each step that all of them have."""
    curves = [
        {step: value - other[step] for step, value in mean.items() if step in other}
        for mean, other in zip(map(_by_step, runs), map(_by_step, base), strict=True)
    ]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    intervals = [over_seeds([curve[step] for curve in curves]) for step in steps]
    return steps, [interval for interval in intervals if interval is not None]


def scatter(prediction: Prediction, measure: str) -> Figure:
    """Foretold against seen, a cross of intervals for each method."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for pair in prediction.pairs:
        x, y = pair.foretold, pair.seen
        axes.plot([x.low, x.high], [y.value] * 2, color=FLOW, linewidth=1, alpha=0.6)
        axes.plot([x.value] * 2, [y.low, y.high], color=FLOW, linewidth=1, alpha=0.6)
        axes.plot(x.value, y.value, "o", color=FLOW, markersize=4)
    ends = {pair.name: (pair.foretold.value, pair.seen.value) for pair in prediction.pairs}
    label_ends(axes, ends, dict.fromkeys(ends, REST), 4.4)
    axes.axhline(0, color="0.6", linestyle=":")
    axes.axvline(0, color="0.6", linestyle=":")
    axes.set_xlabel("foretold: cosine with the reward's gradient, less uniform")
    axes.set_ylabel(f"seen: {measure}, less uniform")
    return figure


def _by_step(rows: Rows) -> dict[int, float]:
    logged: list[Mapping[str, Any]] = [row for row in rows if "reward" in row]
    means = running_mean([row["reward"] for row in logged])
    return {row["step"]: mean for row, mean in zip(logged, means, strict=True)}
