"""Table, curves and figures in JSON of a training study."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from flowtracer.render.charts import save_chart
from flowtracer.statistics.intervals import (
    CONFIDENCE,
    Interval,
    difference_interval,
    paired_p,
    rate_interval,
    runs_interval,
)
from flowtracer.statistics.ranks import Array
from flowtracer.studies.provenance import provenance, provenance_line, without_paths
from flowtracer.studies.table import points, table_lines, write_table
from flowtracer.studies.training.foretold import (
    Prediction,
    in_words,
    plain,
    predict,
    read_foretold,
)
from flowtracer.studies.training.learning import early_reward, over_seeds, steps_to_reach
from flowtracer.studies.training.pictures import save_pictures, scatter
from flowtracer.studies.training.study import Rows, TrainingResults, TrainingStudy, VariantResult
from flowtracer.studies.training.tuning import Choice
from flowtracer.studies.verdicts import holm


def write_report(
    study: TrainingStudy,
    results: TrainingResults,
    out: Path,
    *,
    command: str = "",
    foretold: Path | None = None,
) -> Path:
    """Write `table.md`, `figures.json` and the figures into `out`; returns the table's path.

    foretold: folder of a `study gradient` of the model at its start, to be compared with the results.
    """
    start, first = results.start, results.variants[0]
    begin = rate_interval(start.mean(1))
    primary = f"reward, first {study.early_steps} steps"
    columns = ["method", primary, f"{primary}, over {first.name}", "accuracy"]
    columns += [f"over {first.name}", "over the start", "reward, last 10 steps", "each seed"]
    columns += [f"steps to {study.reach:g}"] if study.reach is not None else []
    columns += ["credit's ratio of a step", "minutes a run"]
    entries = [["start", "", "", str(begin), *[""] * (len(columns) - 4)]]
    figures: dict[str, Any] = {"start": asdict(begin)}
    for variant in results.variants:
        cells, figures[variant.name] = _learned(study, variant, first)
        entry, compared = _compare(variant, start.mean(1)[None], first)
        figures[variant.name] |= compared
        reached = cells[2:]
        entries.append([variant.name, *cells[:2], *entry[:5], *reached, *entry[5:]])
    seen = _seen(study, results)
    origin = provenance(study.start_model, command, out)
    summary = {"study": without_paths(study), "origin": origin, "results": figures}
    summary["failed"] = dict(results.failed)
    lines = [
        f"Primary measure: mean reward over the first {study.early_steps} steps; "
        "95% over seeds (Student's t), differences paired by seed.",
        "",
        f"Held-out accuracy, {start.shape[0]} problems x {start.shape[1]} samples at temperature "
        f"{study.temperature:g}, seeds {', '.join(map(str, study.seeds))}. Intervals: 95%, "
        "over seeds (Student's t) and problems; differences are paired by seed and problem.",
        "",
        *table_lines(columns, entries),
        "",
        *_verdict_lines(seen, first.name),
        f"Task {study.task}, config {study.config}. {provenance_line(origin)}",
        *save_pictures(results, study.seeds, seen, out),
    ]
    lines += [f"\nLeft out, because a run failed: {name}." for name in results.failed]
    choices = {
        variant.name: variant.choice for variant in results.variants if variant.choice is not None
    }
    if choices:
        lines += rate_lines(choices, study.tuning_seeds, study.early_steps)
        summary["learning_rates"] = {name: asdict(choice) for name, choice in choices.items()}
    if foretold is not None:
        prediction = _prediction(study, seen, foretold)
        lines += prediction_lines(prediction, primary)
        summary["foretold"] = plain(prediction)
        save_chart(scatter(prediction, primary), out / "foretold.png")
    return write_table(out, lines, summary)


def _verdict_lines(seen: Mapping[str, Array], first: str) -> list[str]:
    """Which methods differ from the first in the primary measure; nothing where there is nothing to say."""
    count = len(next(iter(seen.values()), ()))
    if count < 2:
        return []
    adjusted = dict(
        zip(seen, holm([paired_p(values.tolist()) for values in seen.values()]), strict=True)
    )
    decided = {name: p for name, p in adjusted.items() if p < 1 - CONFIDENCE}
    words = []
    for word, sign in (("Better", 1), ("Worse", -1)):
        names = sorted(decided, key=lambda name: decided[name])
        chosen = [f"{n} (p = {decided[n]:.2g})" for n in names if sign * seen[n].mean() > 0]
        words.append(f"{word} than {first}: {', '.join(chosen) or 'none'}.")
    text = " ".join(words)
    return [
        f"{text} In the primary measure, paired t over {count} seeds, corrected for "
        f"{len(seen)} methods (Holm); the intervals of the table are of single methods.",
        "",
    ]


def rate_lines(choices: Mapping[str, Choice], seeds: Sequence[int], steps: int) -> list[str]:
    """How each method's learning rate was chosen, as a table."""
    rates = list(next(iter(choices.values())).tried)
    rows = []
    for name, choice in choices.items():
        values = [choice.tried[rate] for rate in rates]
        cells = [
            "a run failed" if None in each else f"{fmean(v for v in each if v is not None):.3f}"
            for each in values
        ]
        rows.append([name, *cells, f"{choice.rate:g}"])
    edges = [name for name, choice in choices.items() if choice.at_edge]
    more = f" At the edge of what was tried: {', '.join(edges)}." if edges else ""
    return [
        "",
        f"Learning rate of each method, by the mean reward over the first {steps} steps with seeds "
        f"{', '.join(map(str, seeds))}, of which no other table has any.{more}",
        "",
        *table_lines(["method", *(f"{rate:g}" for rate in rates), "chosen"], rows),
    ]


def prediction_lines(prediction: Prediction, measure: str) -> list[str]:
    """What the referee foretold of each method beside what was seen, as a table."""
    rows = [
        [pair.name, _signed(pair.foretold), _signed(pair.seen)]
        for pair in sorted(prediction.pairs, key=lambda pair: -pair.foretold.value)
    ]
    return [
        "",
        in_words(prediction),
        "",
        *table_lines(["method", "alignment, less uniform", f"{measure}, less uniform"], rows),
        "",
        "![foretold against seen](foretold.png)",
    ]


def _prediction(study: TrainingStudy, seen: Mapping[str, Array], folder: Path) -> Prediction:
    if not study.variants[0].plain:
        raise ValueError(
            "alignment is foretold against uniform weights; make the first method grpo"
        )
    return predict(read_foretold(folder, study.variants), seen)


def _seen(study: TrainingStudy, results: TrainingResults) -> dict[str, Array]:
    """Of each method but the first, its primary measure less the first one's, (seeds,)."""
    first, *others = (
        np.array([early_reward(rows, study.early_steps) for rows in variant.metrics])
        for variant in results.variants
    )
    names = [variant.name for variant in results.variants[1:]]
    return {name: values - first for name, values in zip(names, others, strict=True)}


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _learned(
    study: TrainingStudy, variant: VariantResult, first: VariantResult
) -> tuple[list[str], dict[str, Any]]:
    """The cells of the primary measure and of the steps to a reward, and their figures."""
    each = [early_reward(rows, study.early_steps) for rows in variant.metrics]
    against = [early_reward(rows, study.early_steps) for rows in first.metrics]
    differences = [mean - other for mean, other in zip(each, against, strict=True)]
    reward, over_first = over_seeds(each), over_seeds(differences)
    cells = [_reward(fmean(each), reward)]
    cells.append("" if variant is first else _reward(fmean(differences), over_first, "+"))
    figures: dict[str, Any] = {
        "early_reward_each_seed": each,
        "early_reward": asdict(reward) if reward else None,
        f"early_reward_over_{first.name}": asdict(over_first) if over_first else None,
    }
    if study.reach is not None:
        steps = [steps_to_reach(rows, study.reach) for rows in variant.metrics]
        cells.append(", ".join("never" if step is None else str(step) for step in steps))
        figures["steps_to_reach_each_seed"] = steps
    return cells, figures


def _reward(mean: float, interval: Interval | None, sign: str = "") -> str:
    """A mean reward, with an interval where there are several seeds."""
    if interval is None:
        return f"{mean:{sign}.3f}"
    return f"{mean:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def _compare(
    variant: VariantResult, start: Any, first: VariantResult
) -> tuple[list[str], dict[str, Any]]:
    """A variant's line of the table and its figures; start: accuracy by problem, (1, problems)."""
    rewards = variant.per_problem
    accuracy = runs_interval(rewards)
    gain = runs_interval(rewards - start, difference_interval)
    over_first = runs_interval(rewards - first.per_problem, difference_interval)
    each = [float(of_seed.mean()) for of_seed in rewards]
    ratio = _mean_of(variant.metrics, "credit/ratio_of_step")
    minutes = median(_seconds(rows) for rows in variant.metrics) / 60
    entry = [
        str(accuracy),
        "" if variant is first else points(over_first),
        points(gain),
        f"{fmean(_last_reward(rows) for rows in variant.metrics):.3f}",
        ", ".join(f"{100 * value:.1f}" for value in each),
        "" if ratio is None else f"{100 * ratio:.1f}%",
        f"{minutes:.1f}",
    ]
    return entry, {
        "accuracy": asdict(accuracy),
        "each_seed": each,
        "over_start": asdict(gain),
        f"over_{first.name}": asdict(over_first),
        "credit_ratio_of_step": ratio,
        "minutes": minutes,
    }


def _mean_of(runs: Sequence[Rows], key: str) -> float | None:
    values = [row[key] for rows in runs for row in rows if key in row]
    return fmean(values) if values else None


def _seconds(rows: Rows) -> float:
    """Seconds of training, of all the parts that a resumed run consists of."""
    return sum(row["step_time"] for row in rows if "step_time" in row)


def _last_reward(rows: Rows) -> float:
    return fmean([row["reward"] for row in rows if "reward" in row][-10:])
