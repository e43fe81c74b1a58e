"""How fast a run learns, out of its metrics. Pure functions."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from flowtracer.statistics.intervals import TAIL, Interval
from flowtracer.statistics.student import student_quantile
from flowtracer.training.curves import SMOOTHING, running_mean

EARLY_STEPS = 60  # our choice: on Countdown the reward has risen by three quarters of what it will

Rows = Sequence[Mapping[str, Any]]


def early_reward(rows: Rows, steps: int) -> float:
    """Mean reward of the first `steps` optimizer steps: the area under the curve while it learns.

    Raises ValueError for a run without a reward among them.
    """
    rewards = [row["reward"] for row in rows if "reward" in row and row["step"] <= steps]
    if not rewards:
        raise ValueError(f"the metrics hold no reward of the first {steps} steps")
    return fmean(rewards)


def steps_to_reach(rows: Rows, level: float, window: int = SMOOTHING) -> int | None:
    """First step at which the mean reward of the last `window` logged steps is at the level, or None."""
    logged = [(row["step"], row["reward"]) for row in rows if "reward" in row]
    means = running_mean([reward for _, reward in logged], window)
    for index, ((step, _), mean) in enumerate(zip(logged, means, strict=True)):
        if index + 1 >= window and mean >= level:
            return int(step)
    return None


def over_seeds(values: Sequence[float]) -> Interval | None:
    """Mean of one value a seed with Student's interval of 95%; None for a single seed."""
    if len(values) < 2:
        return None
    mean = fmean(values)
    half = student_quantile(TAIL, len(values) - 1) * stdev(values) / sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def mean_rows(runs: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Metrics averaged over seeds, step by step, of the steps that every seed has."""
    by_step = [
        {row["step"]: row for row in rows if "reward" in row or "credit/seconds" in row}
        for rows in runs
    ]
    shared = sorted(set.intersection(*(set(steps) for steps in by_step)))
    means = []
    for step in shared:
        rows = [steps[step] for steps in by_step]
        keys = [key for key, value in rows[0].items() if isinstance(value, float)]
        mean = {key: fmean(row[key] for row in rows) for key in keys if all(key in r for r in rows)}
        means.append({"step": step} | mean)
    return means
