"""The backbone: the tokens with the highest throughput."""

import math

import torch
from torch import Tensor

from flowtracer.flow.graph import BACKBONE_RATIO


def select_backbone(
    throughput: Tensor, candidates: Tensor, *, ratio: float = BACKBONE_RATIO
) -> Tensor:
    """The `ceil(ratio * n)` of each row's n candidates with the highest throughput, (B, T) bool.

    Ties go to the earlier token (our choice). Tokens without flow are never chosen, even if fewer
    than `ceil(ratio * n)` remain. Shapes: throughput (B, T), candidates (B, T) bool.

    Raises ValueError if `ratio` is not in (0, 1].
    """
    return select_highest(throughput, candidates, ratio=ratio) & (throughput > 0)


def select_highest(scores: Tensor, candidates: Tensor, *, ratio: float) -> Tensor:
    """`select_backbone` for scores of any sign, with 0 a score like any other."""
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio is {ratio}; it must be above 0 and at most 1")
    # A ratio such as 0.4 is not exact in binary: without the margin, ceil(0.4 * 5) could be 3.
    counts = [math.ceil(ratio * n - 1e-9) for n in candidates.sum(1).tolist()]
    order = scores.masked_fill(~candidates, -torch.inf).argsort(dim=1, descending=True, stable=True)
    position = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, position)
    return (rank < torch.tensor(counts, device=scores.device)[:, None]) & candidates
