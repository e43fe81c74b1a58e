"""Ranks and correlations of arrays. Pure functions."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ranks(values: Array) -> Array:
    """Ranks of (n,) values from 0, equal values by their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Array = (last - (counts + 1) / 2)[inverse]
    return mean


def correlation(a: Array, b: Array) -> float:
    """Pearson's correlation of two (n,) arrays; NaN if one of them is constant."""
    x, y = a - a.mean(), b - b.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's rho of two (n,) arrays; NaN if one of them is constant."""
    return correlation(ranks(a), ranks(b))
