"""Student's t without a statistics library: quantiles and p-values, exact far out in the tails.

With `t = sqrt(freedom) tan(angle)` the density over angles is that of `cos(angle)^(freedom - 1)`. It is
summed from the tail inwards, so that a probability of 1e-6 has as many digits as one of 0.5.
"""

from functools import cache
from math import atan, pi, sqrt, tan

import numpy as np
from numpy.typing import NDArray

ANGLES = np.linspace(0, pi / 2, (1 << 16) + 1)


@cache
def student_quantile(probability: float, freedom: float) -> float:
    """The t below which a share of `probability` lies, from 0.5 to below 1; freedom: at least 1."""
    outside = _outside(freedom)
    angle = np.interp(2 * (1 - probability), outside[::-1], ANGLES[::-1])
    return sqrt(freedom) * tan(angle)


def student_p(t: float, freedom: float) -> float:
    """How likely a value at least as far from 0 as t is; freedom: at least 1."""
    return float(np.interp(atan(abs(t) / sqrt(freedom)), ANGLES, _outside(freedom)))


def _outside(freedom: float) -> NDArray[np.float64]:
    """How much of the distribution is beyond +- sqrt(freedom) tan(angle), of `ANGLES`: from 1 to 0."""
    density = np.cos(ANGLES).clip(min=0) ** (freedom - 1)
    between = density[1:] + density[:-1]
    outside = np.append(np.cumsum(between[::-1])[::-1], 0.0)
    return outside / outside[0]
