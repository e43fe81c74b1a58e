"""Table, figure and figures in JSON of a training study."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from flowtracer.evaluation.intervals import Interval, Rewards, two_level_bootstrap
from flowtracer.storage import atomic_write
from flowtracer.training.curves import save_curves

Rows = tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class VariantResult:
    """One variant: held-out rewards (problems, samples) and metrics, per seed."""

    name: str
    rewards: tuple[Rewards, ...]
    metrics: tuple[Rows, ...]

    @property
    def per_problem(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Mean over samples, (seeds, problems)."""
        return np.stack([one.mean(1) for one in self.rewards])


def write_report(
    out: Path,
    results: Sequence[VariantResult],
    *,
    start: Rewards,
    seeds: Sequence[int],
    settings: dict[str, Any],
) -> Path:
    """Write `table.md`, `figures.json` and `curves.png` into `out`; returns the table's path."""
    begin = two_level_bootstrap(start.mean(1)[None])
    first = results[0]
    lines = [
        f"Held-out accuracy, {start.shape[0]} problems x {start.shape[1]} samples at temperature "
        f"{settings['temperature']:g}, seeds {', '.join(map(str, seeds))}. Intervals: 95%, bootstrap "
        "over seeds and problems; differences are paired by seed and problem.",
        "",
        f"| method | accuracy | each seed | over the start | over {first.name} | reward, last 10 steps "
        "| credit's share of a step | minutes a run |",
        "|---|---|---|---|---|---|---|---|",
        f"| start | {begin} | | | | | | |",
    ]
    figures: dict[str, Any] = {"start": asdict(begin)}
    for one in results:
        held = one.per_problem
        accuracy = two_level_bootstrap(held)
        gain = two_level_bootstrap(held - start.mean(1)[None])
        over = two_level_bootstrap(held - first.per_problem)
        each = [float(row.mean()) for row in held]
        share = _mean_of(one.metrics, "credit/ratio_of_step")
        minutes = median(_runtime(rows) for rows in one.metrics) / 60
        lines.append(
            f"| {one.name} | {accuracy} | {', '.join(f'{100 * v:.1f}' for v in each)} "
            f"| {_points(gain)} | {'' if one is first else _points(over)} "
            f"| {fmean(_last(rows) for rows in one.metrics):.3f} "
            f"| {'' if share is None else f'{100 * share:.1f}%'} | {minutes:.1f} |"
        )
        figures[one.name] = {
            "accuracy": asdict(accuracy),
            "each_seed": each,
            "over_start": asdict(gain),
            f"over_{first.name}": asdict(over),
            "credit_ratio_of_step": share,
            "minutes": minutes,
        }
    versions = {name: version(name) for name in ("flowtracer", "torch", "transformers", "trl")}
    lines += [
        "",
        f"{date.today().isoformat()}; "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + f"; model {settings['start_model']}, task {settings['task']}, config {settings['config']}.",
        "",
        "![mean over seeds of the metrics, by optimizer step](curves.png)",
    ]
    save_curves({one.name: mean_rows(one.metrics) for one in results}, out / "curves.png")
    with atomic_write(out / "figures.json") as partial:
        partial.write_text(
            json.dumps({"settings": settings, "versions": versions, "results": figures}, indent=1)
            + "\n"
        )
    with atomic_write(out / "table.md") as partial:
        partial.write_text("\n".join(lines) + "\n")
    return out / "table.md"


def mean_rows(runs: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Metrics averaged over seeds, step by step, of the steps that every seed has."""
    by_step = [
        {row["step"]: row for row in rows if "reward" in row or "credit/seconds" in row}
        for rows in runs
    ]
    shared = sorted(set.intersection(*(set(one) for one in by_step)))
    means = []
    for step in shared:
        rows = [one[step] for one in by_step]
        keys = [key for key, value in rows[0].items() if isinstance(value, float)]
        mean = {key: fmean(row[key] for row in rows) for key in keys if all(key in r for r in rows)}
        means.append({"step": step} | mean)
    return means


def _mean_of(runs: Sequence[Rows], key: str) -> float | None:
    values = [row[key] for rows in runs for row in rows if key in row]
    return fmean(values) if values else None


def _runtime(rows: Rows) -> float:
    """Seconds of training, of all the parts that a resumed run consists of."""
    return sum(row["step_time"] for row in rows if "step_time" in row)


def _last(rows: Rows) -> float:
    return fmean([row["reward"] for row in rows if "reward" in row][-10:])


def _points(one: Interval) -> str:
    return f"{100 * one.value:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
