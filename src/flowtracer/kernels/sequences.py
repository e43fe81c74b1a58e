"""Where the sequences of a batch are: padded on either side, packed, or after a cached prompt."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """N sequences of queries and keys (B, heads, time, D), and their rows in a flat result.

    table: (7, N) int64, of each sequence: its batch index, the first of its queries in time and how
        many they are, the same of its keys, where the first query's row begins in the result, and the
        distance between two rows. Query l sees keys up to `keys - queries + l` of its sequence.
    queries, keys: upper bounds of the numbers in the table, known without asking the device.
    """

    table: Tensor
    queries: int
    keys: int

    @classmethod
    def padded(cls, real: Tensor, queries: int | None = None) -> "Sequences":
        """Rows of a batch whose real tokens are contiguous, with padding on either side.

        real: (B, K) bool. queries: of the last so many columns only, the keys in front of them come
        from a cache; None: all. The result is (B, K, K).
        """
        rows, length = real.shape
        count = length if queries is None else queries
        column = torch.arange(length, device=real.device)
        first = real.int().argmax(1)
        stop = (real * (column + 1)).amax(1)
        begin = first.clamp(min=length - count)  # of the first query
        row = torch.arange(rows, device=real.device)
        table = torch.stack(
            [
                row,
                begin - (length - count),
                (stop - begin).clamp(min=0),
                first,
                stop - first,
                row * length * length + begin * length + first,
                torch.full_like(row, length),
            ]
        )
        return cls(table, count, length)

    @classmethod
    def packed(
        cls, first: Tensor, lengths: Tensor, longest: int, at: Tensor, stride: int
    ) -> "Sequences":
        """Sequences one after another in batch row 0.

        first, lengths: (N,), where each begins and its tokens, at most `longest`. at: (N,), where its
        first row begins in the result, with `stride` numbers between two rows.
        """
        zero = torch.zeros_like(first)
        table = torch.stack(
            [zero, first, lengths, first, lengths, at, torch.full_like(first, stride)]
        )
        return cls(table.long(), longest, longest)

    @classmethod
    def rows(cls, lengths: Tensor, longest: int, at: Tensor, stride: int) -> "Sequences":
        """A text a batch row, from its first column on; arguments as in `packed`."""
        row, zero = torch.arange(len(lengths), device=lengths.device), torch.zeros_like(lengths)
        table = torch.stack(
            [row, zero, lengths, zero, lengths, at, torch.full_like(lengths, stride)]
        )
        return cls(table, longest, longest)

    @classmethod
    def strips(cls, texts: int, keys: int, rows: int, device: torch.device) -> "Sequences":
        """Texts of so many tokens each; the result is a strip of their rows, (texts, rows, keys)."""
        row = torch.arange(texts, device=device)
        zero, count = torch.zeros_like(row), torch.full_like(row, keys)
        table = torch.stack([row, zero, count, zero, count, row * rows * keys, count])
        return cls(table, keys, keys)


def stand_together(real: Tensor) -> bool:
    """Whether the real tokens of every row have no padding between them; real: (B, T) bool."""
    return not bool((real[:, 1:] & ~real[:, :-1] & (real[:, :-1].int().cummax(1).values > 0)).any())
