"""Rows of several lengths as one tensor, and a mask of what is not padding."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pad_rows(
    rows: Sequence[Sequence[int] | Tensor],
    *,
    left: bool,
    value: int = 0,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Rows of integers as a tensor (B, T) filled up with `value`, and its mask (B, T); both int64."""
    width = max((len(row) for row in rows), default=0)
    values = torch.full((len(rows), width), value, dtype=torch.long, device=device)
    mask = torch.zeros_like(values)
    for number, row in enumerate(rows):
        columns = slice(width - len(row), None) if left else slice(len(row))
        values[number, columns] = torch.as_tensor(row, dtype=torch.long)
        mask[number, columns] = 1
    return values, mask
