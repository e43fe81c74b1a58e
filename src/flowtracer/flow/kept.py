"""Rows of attention that two solves read one after the other, computed once where memory allows."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from flowtracer.flow.solve import AttentionRows


@dataclass
class KeptRows:
    """Attention whose rows are read twice; those of the first reading are kept until the second.

    room: bytes that they may take; rows beyond are computed again.
    """

    attention: AttentionRows
    room: int
    _kept: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    @property
    def shape(self) -> torch.Size:
        return self.attention.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.attention.dtype

    @property
    def device(self) -> torch.device:
        return self.attention.device

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows start..stop up to column stop, (B, stop - start, stop)."""
        kept = self._kept.pop((start, stop), None)
        if kept is not None:
            self.room += kept.nbytes
            progress: Any = getattr(self.attention, "computed", None)
            if progress:
                progress(stop - start)
            return kept
        rows = self.attention.rows(start, stop)
        if rows.nbytes <= self.room:
            self.room -= rows.nbytes
            self._kept[start, stop] = rows
        return rows


def read_twice(attention: Tensor | AttentionRows) -> Tensor | AttentionRows:
    """The attention for two readings; what is computed at each is kept if it names a `room` for that."""
    if isinstance(attention, Tensor):
        return attention
    room = getattr(attention, "room", 0)
    return KeptRows(attention, room) if room else attention
