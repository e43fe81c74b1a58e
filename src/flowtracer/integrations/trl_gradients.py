"""Weights of tokens in losses of TRL that take one advantage for each sequence.

GSPO, GMPO and RLOO clip one ratio of a sequence, so that a factor on a token's advantage has no place in
them. The factor goes on the gradient of that token's log-probability instead: the loss and what it clips
stay as they are, and each token learns its weight times as much. For GSPO this is the gradient of GSPO-token
(arXiv 2507.18071, section 4.3) with advantages `w_t A`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

WEIGHTS = (
    "credit_weights"  # (B, C) in the loss's inputs, and so through TRL's shuffling and splitting
)
METHOD = "_get_per_token_logps_and_entropies"


class _WeighGradient(torch.autograd.Function):
    """Values as they are, and their gradients times weights of the same shape."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        return gradients[0] * weights, None


def weigh_gradient(values: Tensor, weights: Tensor) -> Tensor:
    """The values (B, T), with gradients times `weights` (B, T) >= 0."""
    result: Tensor = _WeighGradient.apply(values, weights.to(values))
    return result


@contextmanager
def gradients_weighed(trainer: Any, inputs: dict[str, Any]) -> Iterator[None]:
    """A block in which log-probabilities (B, C) that the trainer computes have weighed gradients.

    inputs: of the loss. Their weights may be set while the log-probabilities are computed; without any
    nothing is weighed.
    """
    compute = getattr(trainer, METHOD)
    before = vars(trainer).get(METHOD)

    def weighed(*args: Any, **kwargs: Any) -> Any:
        logps, *others = compute(*args, **kwargs)
        weights = inputs.get(WEIGHTS)
        if weights is not None and logps.requires_grad:
            logps = weigh_gradient(logps, weights)
        return (logps, *others)

    # On the object, so that it is outside of every class that computes the rows in parts.
    setattr(trainer, METHOD, weighed)
    try:
        yield
    finally:
        if before is None:
            delattr(trainer, METHOD)
        else:
            setattr(trainer, METHOD, before)
