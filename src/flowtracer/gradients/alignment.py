"""How gradients of batches agree: cosine, cosine of signs, signal-to-noise. Pure functions.

g_b is the gradient of a rule on batch b of B, r_b that of the reference.
"""

import torch
from torch import Tensor


def others(gradients: Tensor) -> Tensor:
    """Sum over all other batches, (B, P): row b is `sum over c != b of r_c`.

    The reference of a batch holds nothing of that batch, so that its noise is not shared.
    """
    return gradients.sum(0, keepdim=True) - gradients


def cosines(gradients: Tensor, references: Tensor) -> Tensor:
    """`g_b . r_b / (|g_b| |r_b|)`, (B,); 0 where a gradient is 0. Shapes (B, P)."""
    products = (gradients * references).sum(1)
    lengths = gradients.norm(dim=1) * references.norm(dim=1)
    return torch.where(
        lengths > 0, products / lengths.clamp(min=torch.finfo(lengths.dtype).tiny), 0.0
    )


def sign_cosines(gradients: Tensor, references: Tensor) -> Tensor:
    """Mean over coordinates of `sign(g) sign(r)`, (B,): what an optimizer that sees signs sees.

    Adam's first steps, and Adam with little momentum, move each parameter by its gradient's sign.
    """
    return cosines(gradients.sign(), references.sign())


def gram(gradients: Tensor) -> Tensor:
    """Inner products of all batches, (B, B)."""
    return gradients @ gradients.T


def signal(products: Tensor) -> Tensor:
    """`|mean g|^2` without bias: the mean of the products of different batches, (B, B), B >= 2."""
    count = len(products)
    return (products.sum() - products.diagonal().sum()) / (count * (count - 1))


def signal_to_noise(products: Tensor) -> float:
    """`|mean g|^2 / trace(covariance of g)` of one batch's gradient, without bias.

    products: (B, B) inner products, B >= 2. `|mean|^2` is `signal`, `trace` the mean of the squares
    less that. The ratio of two rules' values is how many
    times the rollouts the worse one needs for the same signal. Negative where there is only noise.
    """
    mean = signal(products)
    noise = products.diagonal().mean() - mean
    return float(mean / noise) if noise > 0 else float("inf")
