"""How far a frozen model's credit agrees with that of the policy that wrote the rollouts.

It is what a scorer beside the trainer uses between two refreshes.
"""

from collections.abc import Sequence
from math import isnan

import numpy as np
from torch import Tensor

from flowtracer.credit import TokenCredit
from flowtracer.statistics.ranks import correlation, rank_correlation

SUFFIX = " (frozen)"  # of a rule's name, scored by the frozen model
FIGURES = ("overlap", "weights", "scores")


def with_frozen(names: Sequence[str]) -> list[str]:
    """Names of the rules and, behind them, of those that the frozen model scores, which uniform is not."""
    return [*names, *(name + SUFFIX for name in names[1:])]


def agreement(own: TokenCredit, frozen: TokenCredit, candidates: Tensor) -> dict[str, float | None]:
    """Overlap and correlations of two credits, means over the responses that both scored.

    candidates: (N, T) bool. None where there is no such response, or no correlation is defined.
    """
    by_figure: dict[str, list[float]] = {name: [] for name in FIGURES}
    rows = own.answered & own.scored & frozen.answered & frozen.scored
    for row in rows.nonzero()[:, 0].tolist():
        inside = candidates[row]
        chosen = own.chosen[row] & inside
        if bool(chosen.any()):
            both = (chosen & frozen.chosen[row]).sum() / chosen.sum()
            by_figure["overlap"].append(float(both))
        for name, of, left, right in (
            ("weights", correlation, own.weights, frozen.weights),
            ("scores", rank_correlation, own.scores, frozen.scores),
        ):
            value = of(*(batch[row][inside].double().cpu().numpy() for batch in (left, right)))
            if not isnan(value):
                by_figure[name].append(value)
    return {name: float(np.mean(values)) if values else None for name, values in by_figure.items()}
