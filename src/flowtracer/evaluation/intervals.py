"""Accuracy and pass@k over problems, with bootstrap intervals. Pure functions on arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000  # our choice
CONFIDENCE = 0.95

Rewards = NDArray[np.float64]  # (problems, samples)


@dataclass(frozen=True)
class Interval:
    """A figure and where it lies with 95% confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f}% [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def mean_accuracy(rewards: Rewards, *, seed: int = 0) -> Interval:
    """Mean over samples, then over problems; the bootstrap draws whole problems.

    rewards: (N, k), N problems with k samples each, in [0, 1].
    """
    return bootstrap(rewards.mean(1), seed=seed)


def pass_at(rewards: Rewards, k: int, *, seed: int = 0) -> Interval:
    """Chance that at least one of k samples is right: `1 - C(n - c, k) / C(n, k)` per problem.

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), n samples of which c are right.
    Raises ValueError if there are fewer than k samples.
    """
    samples = rewards.shape[1]
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples a problem; there are {samples}")
    wrong = samples - (rewards > 0).sum(1)
    # C(w, k) / C(n, k) as a product, so that nothing overflows.
    factors = np.arange(samples - k + 1, samples + 1)
    ratios = np.clip(wrong[:, None] - (samples - factors)[None, :], 0, None) / factors
    return bootstrap(1 - ratios.prod(1), seed=seed)


def bootstrap(values: NDArray[np.float64], *, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean of (N,) values; one value gives an interval of no width."""
    if len(values) == 0:
        raise ValueError("there is nothing to average: no problem was evaluated")
    generator = np.random.default_rng(seed)
    figures = []
    for _ in range(0, RESAMPLES, 500):  # parts, so that memory stays small for many problems
        drawn = generator.integers(0, len(values), (500, len(values)))
        figures.append(values[drawn].mean(-1))
    tails = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(figures), [tails, 1 - tails])
    return Interval(float(values.mean()), float(low), float(high))


def two_level_bootstrap(values: NDArray[np.float64], *, seed: int = 0) -> Interval:
    """Mean of (S, N) values, S training runs on the same N problems; draws runs and problems.

    With few runs the interval is rough, but it does not pretend that a single run is the method.
    """
    generator = np.random.default_rng(seed)
    runs, problems = values.shape
    figures = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        mean = values[generator.integers(0, runs, runs)].mean(0)
        figures[index] = mean[generator.integers(0, problems, problems)].mean()
    tails = (1 - CONFIDENCE) / 2
    low, high = np.quantile(figures, [tails, 1 - tails])
    return Interval(float(values.mean()), float(low), float(high))


def ratio_of_sums(table: NDArray[np.float64], *, seed: int = 0) -> Interval:
    """Second column's sum over the first's, (N, 2), with an interval over the N responses."""
    generator = np.random.default_rng(seed)
    # How often each response is drawn, instead of which: small even for many responses.
    figures = []
    for _ in range(0, RESAMPLES, 500):
        drawn = generator.multinomial(len(table), np.full(len(table), 1 / len(table)), 500)
        sums = drawn @ table
        figures.append(sums[:, 1] / sums[:, 0].clip(min=1))
    tails = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(figures), [tails, 1 - tails])
    return Interval(float(table[:, 1].sum() / table[:, 0].sum()), float(low), float(high))
