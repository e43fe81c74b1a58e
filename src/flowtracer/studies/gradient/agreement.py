"""How far a frozen model's credit agrees with that of the policy that wrote the rollouts.

It is what a scorer beside the trainer uses between two refreshes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flowtracer.credit import TokenCredit

SUFFIX = " (frozen)"  # of a rule's name, scored by the frozen model
FIGURES = ("overlap", "weights", "scores")


def with_frozen(names: Sequence[str]) -> list[str]:
    """Names of the rules and, behind them, of those that the frozen model scores, which uniform is not."""
    return [*names, *(name + SUFFIX for name in names[1:])]


def agreement(own: TokenCredit, frozen: TokenCredit, candidates: Tensor) -> dict[str, float | None]:
    """Overlap and correlations of two credits, means over the responses that both scored.

    candidates: (N, T) bool. None where there is no such response, or no correlation is defined.
    """
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    rows = own.answered & own.scored & frozen.answered & frozen.scored
    for row in rows.nonzero()[:, 0].tolist():
        inside = candidates[row]
        chosen = own.chosen[row] & inside
        if bool(chosen.any()):
            both = (chosen & frozen.chosen[row]).sum() / chosen.sum()
            found["overlap"].append(float(both))
        for name, left, right in (
            ("weights", own.weights[row][inside], frozen.weights[row][inside]),
            ("scores", ranks(own.scores[row][inside]), ranks(frozen.scores[row][inside])),
        ):
            value = correlation(left, right)
            if value is not None:
                found[name].append(value)
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


def correlation(left: Tensor, right: Tensor) -> float | None:
    """Pearson's of two rows of numbers (n,); None if one of them is constant."""
    left, right = left.double(), right.double()
    left, right = left - left.mean(), right - right.mean()
    lengths = float(left.norm() * right.norm())
    return float(left @ right) / lengths if lengths > 0 else None


def ranks(values: Tensor) -> Tensor:
    """Ranks of (n,) values from 0, equal values by their mean rank, float64."""
    _, index, counts = values.unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    return torch.stack([ends - counts, ends - 1]).mean(0)[index]
