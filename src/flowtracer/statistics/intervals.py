"""95% intervals of rates, means and differences, and pass@k. Pure functions on arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from flowtracer.statistics.student import student_p, student_quantile

RESAMPLES = 10_000  # our choice
CONFIDENCE = 0.95
TAIL = (1 + CONFIDENCE) / 2  # the probability of a two-sided quantile
NORMAL = 1.959964  # the quantile of a normal distribution for 95%, two-sided

Rewards = NDArray[np.float64]  # (problems, samples)
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f}% [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def mean_accuracy(rewards: Rewards, *, seed: int = 0) -> Interval:
    """Mean over samples, then over problems; the interval is over problems.

    rewards: (N, k), N problems with k samples each, in [0, 1].
    """
    return rate_interval(rewards.mean(1), seed=seed)


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
    return rate_interval(1 - ratios.prod(1), seed=seed)


def rate_interval(values: Values, *, seed: int = 0) -> Interval:
    """Mean of (N,) values in [0, 1]: Wilson's interval if all are 0 or 1, or all the same.

    A bootstrap of 0 out of N has no width, although a rate above 0 gives that as well. Values between, such
    as means over several samples of a problem, and rewards beyond [0, 1] are bootstrapped.
    """
    _check(values)
    rate = float(values.mean())
    if _all_in(values, (0, 1)) or (_constant(values) and 0 <= rate <= 1):
        return wilson(rate, len(values))
    return bootstrap(values, seed=seed)


def difference_interval(values: Values, *, seed: int = 0) -> Interval:
    """Mean of (N,) paired differences of rates, in [-1, 1].

    Where all are -1, 0 or 1, or all the same: Wald's interval with one more pair on either side (Bonett
    and Price 2012, doi 10.3102/1076998611411915), as a bootstrap of N equal pairs has no width. Else the
    bootstrap.
    """
    _check(values)
    if not (_all_in(values, (-1, 0, 1)) or (_constant(values) and abs(values[0]) <= 1)):
        return bootstrap(values, seed=seed)
    count = len(values) + 2
    middle = float(values.sum()) / count
    differing = (float(np.abs(values).sum()) + 2) / count
    half = NORMAL * sqrt((differing - middle**2) / count)
    value = float(values.mean())
    return Interval(
        value, min(value, max(-1.0, middle - half)), max(value, min(1.0, middle + half))
    )


def wilson(rate: float, count: int) -> Interval:
    """Wilson's score interval of a rate that was seen in `count` independent trials.

    Wilson 1927, doi 10.1080/01621459.1927.10502953.
    """
    weight = 1 + NORMAL**2 / count
    middle = (rate + NORMAL**2 / (2 * count)) / weight
    half = NORMAL / weight * sqrt(rate * (1 - rate) / count + NORMAL**2 / (4 * count**2))
    return Interval(rate, min(rate, max(0.0, middle - half)), max(rate, min(1.0, middle + half)))


def bootstrap(values: Values, *, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean of (N,) values of any size; equal ones give no width."""
    _check(values)
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(0, RESAMPLES, 500):  # parts, so that memory stays small for many problems
        drawn = generator.integers(0, len(values), (500, len(values)))
        means.append(values[drawn].mean(-1))
    return _between(float(values.mean()), np.concatenate(means))


def runs_interval(
    values: Values, of_problems: Callable[[Values], Interval] = rate_interval
) -> Interval:
    """Mean of (S, N) values, S training runs on the same N problems; both runs and problems vary.

    With mean squares A over runs, B over problems and E of what is left, the variance of the mean is
    `(A + B - E) / (S N)`. A comes from few runs and counts with Student's t of S - 1 degrees of freedom,
    `B - E` from many problems and counts as normal, added in squares (Welch and Cochran). A bootstrap over
    few runs is too narrow. One run says nothing of how runs differ, and neither do runs that are all the
    same: then the interval is that of the problems alone.

    of_problems: `rate_interval`, or `difference_interval` for paired differences.
    """
    runs, problems = values.shape
    mean, by_run, by_problem = float(values.mean()), values.mean(1), values.mean(0)
    if runs == 1 or problems == 1 or _constant(values):
        return of_problems(by_problem)
    residual = values - by_run[:, None] - by_problem[None] + mean
    a = problems * float(by_run.var(ddof=1))
    b = runs * float(by_problem.var(ddof=1))
    e = float((residual**2).sum()) / ((runs - 1) * (problems - 1))
    squares = student_quantile(TAIL, runs - 1) ** 2 * a + NORMAL**2 * max(b - e, 0.0)
    half = sqrt(squares / (runs * problems))
    return Interval(mean, mean - half, mean + half)


def paired_p(differences: Sequence[float]) -> float:
    """Two-sided p of Student's paired t test that the mean of n differences is 0; 1 for fewer than two.

    For a few runs, of which signs alone could say little: of 8 the smallest p by signs is 1/128.
    """
    values = np.asarray(differences, float)
    if len(values) < 2 or not values.any():
        return 1.0
    spread = values.std(ddof=1)
    if spread == 0:
        return 0.0
    t = values.mean() / spread * sqrt(len(values))
    return student_p(t, len(values) - 1)


def ratio_of_sums(table: Values, *, seed: int = 0) -> Interval:
    """Second column's sum over the first's, (N, 2), with an interval over the N responses.

    0 and 1 have Wilson's interval, as if each response were one trial: a bootstrap has no width there.
    """
    ratio = float(table[:, 1].sum() / table[:, 0].sum())
    if ratio in (0.0, 1.0):
        return wilson(ratio, len(table))
    generator = np.random.default_rng(seed)
    # How often each response is drawn, instead of which: small even for many responses.
    ratios = []
    for _ in range(0, RESAMPLES, 500):
        drawn = generator.multinomial(len(table), np.full(len(table), 1 / len(table)), 500)
        sums = drawn @ table
        ratios.append(sums[:, 1] / np.where(sums[:, 0] > 0, sums[:, 0], 1))
    return _between(ratio, np.concatenate(ratios))


def _between(value: float, resampled: Values) -> Interval:
    tails = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tails, 1 - tails])
    return Interval(value, float(low), float(high))


def _all_in(values: Values, numbers: tuple[int, ...]) -> bool:
    return bool(np.isin(values, numbers).all())


def _constant(values: Values) -> bool:
    return bool((values == values.flat[0]).all())


def _check(values: Values) -> None:
    if values.size == 0:
        raise ValueError("there is nothing to average: no problem was evaluated")
