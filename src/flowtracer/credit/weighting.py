"""From scores and chosen tokens to a weight per token (equation 5 and table 7 of the paper)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

UNIFORM = "uniform"  # the name of weights that are all 1
EMPHASIS = 1.5  # section 3.3 of the paper


@dataclass(frozen=True)
class Weighting:
    """How a token's weight follows from its score.

    rule: "emphasis" gives chosen tokens `emphasis` and the others 1 (equation 5). The others are
        continuous and ignore what was chosen; see `CONTINUOUS`. The paper names them (table 7)
        without formulas: ours have mean 1 over the candidates of each response.
    emphasis: 1.5, section 3.3 of the paper; 1 switches credit off.
    normalise: whether weights by emphasis are divided by their mean over the candidates too, so that
        credit moves a response's gradient without scaling it. The paper does not (section 3.3).
    """

    rule: str = "emphasis"
    emphasis: float = EMPHASIS
    normalise: bool = False

    def __post_init__(self) -> None:
        if self.rule != "emphasis" and self.rule not in CONTINUOUS:
            names = ", ".join(["emphasis", *CONTINUOUS])
            raise ValueError(f"weighting rule {self.rule!r} is unknown; use {names}")
        if not 0 < self.emphasis < float("inf"):
            raise ValueError(f"emphasis is {self.emphasis}; it must be above 0 and finite")

    @property
    def neutral(self) -> bool:
        """Whether every weight is 1 whatever the scores."""
        return self.rule == "emphasis" and self.emphasis == 1


def weigh(scores: Tensor, chosen: Tensor, candidates: Tensor, weighting: Weighting) -> Tensor:
    """Weights, (B, T) float32: finite, above or equal 0, exactly 1 outside the candidates.

    Shapes: scores (B, T), chosen and candidates (B, T) bool. A row whose scores are all 0 gets 1.
    """
    unit_weights = torch.ones(scores.shape, dtype=torch.float32, device=scores.device)
    count = candidates.sum(1, keepdim=True).clamp(min=1)
    if weighting.rule == "emphasis":
        weights = unit_weights.masked_fill(chosen & candidates, weighting.emphasis)
        if weighting.normalise:
            mean = torch.where(candidates, weights, 0.0).sum(1, keepdim=True) / count
            weights = torch.where(candidates, weights / mean, weights)
        return weights
    scores = torch.where(candidates, scores.double(), 0.0)
    weights = CONTINUOUS[weighting.rule](scores, candidates, count).masked_fill(~candidates, 0.0)
    mean = weights.sum(1, keepdim=True) / count
    usable = candidates & (mean > 0) & (scores.sum(1, keepdim=True) > 0)
    weights = torch.where(usable, weights / mean.clamp(min=torch.finfo(mean.dtype).tiny), 1.0)
    return weights.nan_to_num(nan=1.0, posinf=1.0, neginf=1.0).float()


def raw(scores: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """`w = s`, before division by the mean."""
    return scores


def tanh(scores: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """`w = 1 + tanh(z)` with the z-score `z = (s - mean) / std` over the response."""
    return 1 + _z_score(scores, candidates, count).tanh()


def sigmoid(scores: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """`w = sigmoid(z)`."""
    return _z_score(scores, candidates, count).sigmoid()


def mad(scores: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """`w = 1 + clip((s - median) / (1.4826 MAD), -1, 1)`, MAD the median absolute deviation.

    1.4826 MAD estimates the standard deviation of a normal sample. A row with MAD 0 gets 1.
    """
    median = _median(scores, candidates)
    spread = 1.4826 * _median((scores - median).abs(), candidates)
    z = torch.where(spread > 0, (scores - median) / spread.clamp(min=1e-300), 0.0)
    return 1 + z.clamp(-1, 1)


def log1p(scores: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """`w = log(1 + s / mean(s))`."""
    mean = scores.sum(1, keepdim=True) / count
    return (scores / mean.clamp(min=1e-300)).log1p()


CONTINUOUS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "raw": raw,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "mad": mad,
    "log1p": log1p,
}


def _z_score(scores: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    mean = scores.sum(1, keepdim=True) / count
    apart = torch.where(candidates, scores - mean, 0.0)
    deviation = (apart.square().sum(1, keepdim=True) / count).sqrt()
    return torch.where(deviation > 0, apart / deviation.clamp(min=1e-300), 0.0)


def _median(values: Tensor, candidates: Tensor) -> Tensor:
    """Median over the candidates of each row, the mean of the middle two for an even number, (B, 1).

    0 for a row without candidates. `nanmedian` would take the lower of the two.
    """
    ascending = values.masked_fill(~candidates, torch.inf).sort(1).values
    count = candidates.sum(1, keepdim=True)
    middle = torch.cat([(count - 1).clamp(min=0) // 2, count // 2], 1)
    return ascending.gather(1, middle).mean(1, keepdim=True).masked_fill(count == 0, 0.0)
