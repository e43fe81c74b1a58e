"""Sequences packed one after another into rows without padding, and the same ones padded.

Attention never leaves a sequence, so a packed row's credit is that of its sequences. They are
unpacked, scored like any others (sorted by length, cut after their answer, prompts shared), and their
weights are packed again.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Positions of N sequences in rows (R, T); `index` counts through all rows, row after row."""

    index: Tensor  # (N, L) int64, position of token l of sequence n; 0 beyond its end
    real: Tensor  # (N, L) bool, False beyond a sequence's end
    shape: torch.Size  # (R, T)

    def unpack(self, packed: Tensor) -> Tensor:
        """Values (R, T) of tokens as (N, L), sequences padded on the right with 0."""
        if packed.shape != self.shape:
            raise ValueError(
                f"packed values have shape {tuple(packed.shape)}, not {tuple(self.shape)}"
            )
        return packed.reshape(-1)[self.index] * self.real.to(packed.dtype)

    def pack(self, values: Tensor, *, fill: float = 0.0) -> Tensor:
        """Values (N, L) of sequences back as (R, T); `fill` outside of all sequences."""
        packed = values.new_full((self.shape.numel(),), fill)
        packed[self.index[self.real]] = values[self.real]
        return packed.view(self.shape)


def packing_of(
    input_ids: Tensor,
    *,
    cu_seq_lens: Tensor | None = None,
    position_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> Packing:
    """Find the sequences that rows (R, T) hold.

    Args:
        input_ids: (R, T), R = 1 with `cu_seq_lens`.
        cu_seq_lens: (N + 1,) integers, where each sequence begins and where the last one ends, as flash
            attention takes them.
        position_ids: (R, T). A sequence begins in front of every row and wherever a position is not the
            last one plus 1, which is how transformers tells them apart.
        attention_mask: (R, T), 0 at padding, which belongs to no sequence. None: no padding.

    Raises ValueError unless exactly one of `cu_seq_lens` and `position_ids` is given and fits.
    """
    if (cu_seq_lens is None) == (position_ids is None):
        raise ValueError("packed rows need cu_seq_lens or position_ids, one of them")
    for name, value in {"position_ids": position_ids, "attention_mask": attention_mask}.items():
        if value is not None and value.shape != input_ids.shape:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)} but input_ids has {tuple(input_ids.shape)}"
            )
    rows, length = input_ids.shape
    real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    index = real.reshape(-1).nonzero()[:, 0]
    if position_ids is not None:
        position, row = position_ids.reshape(-1)[index], index // max(length, 1)
        begins = (position.diff() != 1) | (row.diff() != 0)
        sequence = torch.cat([begins.new_zeros(1), begins])[: len(index)].cumsum(0)
        count = int(sequence[-1]) + 1 if len(sequence) else 0
    elif cu_seq_lens is not None:
        _check_bounds(cu_seq_lens, rows, length)
        starts = cu_seq_lens[:-1].to(index)
        sequence, count = torch.searchsorted(starts, index, right=True) - 1, len(starts)
    return _packing(index, sequence, count, input_ids.shape)


def _packing(index: Tensor, sequence: Tensor, count: int, shape: torch.Size) -> Packing:
    """index, sequence: (tokens,), the position of each real token and the number of its sequence."""
    lengths = sequence.bincount(minlength=count)
    longest = int(lengths.max()) if count else 0
    begins = lengths.cumsum(0) - lengths
    position = torch.arange(len(index), device=index.device) - begins[sequence]
    table = index.new_zeros(count, longest)
    real = torch.zeros_like(table, dtype=torch.bool)
    table[sequence, position] = index
    real[sequence, position] = True
    return Packing(table, real, shape)


def _check_bounds(bounds: Tensor, rows: int, length: int) -> None:
    if rows != 1:
        raise ValueError(f"cu_seq_lens describes one row of tokens, but input_ids has {rows}")
    fits = (
        bounds.ndim == 1 and len(bounds) > 1 and int(bounds[0]) == 0 and int(bounds[-1]) == length
    )
    if not fits or bool((bounds.diff() < 0).any()):
        raise ValueError(
            f"cu_seq_lens must rise from 0 to the number of tokens, {length}; it is "
            f"{bounds.tolist()[:8]}"
        )
