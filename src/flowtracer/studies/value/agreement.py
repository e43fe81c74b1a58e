"""How well scores of one response agree with its true credit. Pure functions.

Sums are returned where figures of several responses are to be put together as a ratio of sums.
"""

import numpy as np
from torch import Tensor

from flowtracer.credit import Selection, select
from flowtracer.statistics import ranks
from flowtracer.statistics.ranks import Array

LEAST_UNITS = 4  # our choice: a rank correlation of fewer says nothing


def tells_apart(scores: Tensor) -> bool:
    """Whether any of (T,) scores differs; those of a response without the answer a scorer needs do not."""
    return bool((scores != scores[0]).any())


def credit_in_top(scores: Tensor, credit: Tensor, ratio: float) -> tuple[float, float]:
    """Sum of |credit| inside the top `ratio` of tokens by score, and over all tokens.

    Shapes: scores and credit (T,), of the response's tokens. The top is what training would choose
    (`select`): `ceil(ratio * T)` tokens, ties to the earlier one, never a token of score 0.
    """
    top = select(scores[None], (scores == scores)[None], Selection(ratio=ratio))[0]
    size = credit.abs().double()
    return float(size[top].sum()), float(size.sum())


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's rho of two (n,) arrays; NaN for fewer than `LEAST_UNITS` or a constant one."""
    return float("nan") if len(a) < LEAST_UNITS else ranks.rank_correlation(a, b)


def partial_rank_correlation(a: Array, b: Array, z: Array) -> float:
    """Spearman's rho of a and b with z taken out of both.

    `(r_ab - r_az r_bz) / sqrt((1 - r_az^2)(1 - r_bz^2))`; NaN where it is undefined, as for a score
    that orders tokens as z does.
    """
    ab, az, bz = rank_correlation(a, b), rank_correlation(a, z), rank_correlation(b, z)
    rest = (1 - az**2) * (1 - bz**2)
    return float((ab - az * bz) / np.sqrt(rest)) if rest > 1e-9 else float("nan")


def concordance(scores: Array, credit: Array) -> tuple[float, float]:
    """Pairs of a raising and a lowering unit in which the raising one scores higher, and all pairs.

    A tie counts half. Their ratio is the area under the ROC curve: 0.5 is chance. Shapes: (n,).
    """
    raising, lowering = scores[credit > 0], scores[credit < 0]
    apart = raising[:, None] - lowering[None, :]
    return float((apart > 0).sum() + 0.5 * (apart == 0).sum()), float(apart.size)


def unit_scores(scores: Tensor, points: list[int], *, evenly: bool) -> Array:
    """Score of each unit, (n,): its first token's, or the mean over its tokens."""
    stops = [*points[1:], len(scores)]
    values = scores.double()
    return np.array(
        [
            float(values[start:stop].mean() if evenly else values[start])
            for start, stop in zip(points, stops, strict=True)
        ]
    )
