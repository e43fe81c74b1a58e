"""Advantages and coefficients of token log-probabilities: the gradient of each rule. Pure functions.

On-policy, with every ratio 1 and nothing clipped, the gradient of GRPO with credit (equation 5 of the
paper) is `sum over i, t of c[i, t] grad log p[i, t]` with `c = w A / (N n_i)`.
"""

import torch
from torch import Tensor

STD_FLOOR = 1e-4  # as TRL adds it to the standard deviation


def group_normalised(rewards: Tensor, groups: Tensor) -> Tensor:
    """GRPO's advantage `(r - mean) / (std + 1e-4)` within each group, (N,); std with n - 1.

    rewards: (N,). groups: (N,) int, responses to one prompt share a number. A group of one gets 0.
    """
    mean, count = _group_mean(rewards, groups)
    variance, _ = _group_mean((rewards - mean).square(), groups)
    deviation = (variance * count / (count - 1).clamp(min=1)).sqrt()
    return torch.where(count > 1, (rewards - mean) / (deviation + STD_FLOOR), 0.0)


def leave_one_out(rewards: Tensor, groups: Tensor) -> Tensor:
    """`r - mean of the others' rewards` within each group, (N,), which keeps the gradient unbiased.

    Ahmadian et al. 2024 (arXiv 2402.14740), RLOO. A group of one gets 0.
    """
    mean, count = _group_mean(rewards, groups)
    return torch.where(count > 1, (rewards - mean) * count / (count - 1).clamp(min=1), 0.0)


def reward_coefficients(advantages: Tensor, candidates: Tensor) -> Tensor:
    """Coefficients of the reward's own gradient, (N, T): `A / N` on every token, nothing normalised.

    With the advantage of `leave_one_out` it is an unbiased estimate of the gradient of the mean reward.
    """
    return torch.where(candidates, advantages[:, None], 0.0) / len(advantages)


def grpo_coefficients(advantages: Tensor, weights: Tensor, candidates: Tensor) -> Tensor:
    """Coefficients of equation 5 on-policy, (N, T): `w A / (N n_i)`, n_i the tokens of response i.

    Shapes: advantages (N,), weights and candidates (N, T).
    """
    length = candidates.sum(1, keepdim=True).clamp(min=1)
    weighted = torch.where(candidates, weights * advantages[:, None], 0.0)
    return weighted / (length * len(advantages))


def _group_mean(values: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of each response's group and its size, (N,) each."""
    _, index = groups.unique(return_inverse=True)
    size = int(index.max()) + 1 if len(index) else 0
    count = torch.zeros(size, dtype=values.dtype, device=values.device)
    count.index_add_(0, index, torch.ones_like(values))
    total = torch.zeros_like(count).index_add_(0, index, values)
    return (total / count)[index], count[index]
