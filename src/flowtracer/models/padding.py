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


def text_positions(mask: Tensor) -> Tensor:
    """Positions (B, T) int64 that count the real tokens of a row from 0; mask: (B, T), padding 0.

    Padding in front of a text has position 0, as the models of transformers expect.
    """
    return (mask.long().cumsum(1) - 1).clamp(min=0)
