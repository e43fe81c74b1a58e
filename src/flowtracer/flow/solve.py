"""The two triangular solves behind the flow, block by block.

Both systems are unit triangular with non-negative right-hand sides, so substitution only ever adds
non-negative numbers and is accurate component by component. Working in blocks of tokens keeps the
extra memory at `BLOCK * T` numbers: neither U nor the reweighted graph W' is ever formed.
"""

from typing import Protocol

import torch
from torch import Tensor

BLOCK = 256  # our choice: one block of T = 2048 in float64 is 4 MiB
BLOCK_ON_GPU = 1024  # our choice: a single text of 8,192 tokens takes 2.6 ms, 10 with 256 (H200)


class AttentionRows(Protocol):
    """Attention (B, T, T) that gives blocks of rows, whether it stores or recomputes them."""

    @property
    def shape(self) -> torch.Size: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows start..stop up to column stop, (B, stop - start, stop)."""
        ...


def rows_of(attention: Tensor | AttentionRows, start: int, stop: int) -> Tensor:
    """Rows start..stop up to column stop, (B, stop - start, stop)."""
    if isinstance(attention, Tensor):
        return attention[:, start:stop, :stop]
    return attention.rows(start, stop)


def working_dtype(device: torch.device) -> torch.dtype:
    """float64, because influence shrinks with every hop; float32 where a device has nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def _block_size(device: torch.device) -> int:
    return BLOCK_ON_GPU if device.type == "cuda" else BLOCK


def solve_potential(attention: Tensor | AttentionRows, sink: Tensor, relays: Tensor) -> Tensor:
    """Solve `(I - U) h = sink` for the potential h.

    `U[i, k] = attention[k, i]` for i < k, with row i zeroed where `relays[i]` is 0, so
    `h(i) = sink(i) + relays(i) * sum over k > i of attention[k, i] h(k)`  (equation 2 of the paper).

    Shapes: attention (B, T, T), sink and relays (B, T) in the working dtype. Returns (B, T).
    """
    potential = torch.empty_like(sink)
    onward = torch.zeros_like(sink)  # influence through the blocks solved so far
    length = sink.shape[1]
    block_size = _block_size(sink.device)
    for start in reversed(range(0, length, block_size)):
        stop = min(start + block_size, length)
        rows = rows_of(attention, start, stop).to(sink.dtype)
        relay = relays[:, start:stop]
        system = -(rows[:, :, start:].tril(-1).transpose(1, 2) * relay[:, :, None])
        right_side = sink[:, start:stop] + relay * onward[:, start:stop]
        block = torch.linalg.solve_triangular(
            system, right_side[:, :, None], upper=True, unitriangular=True
        )
        potential[:, start:stop] = block[:, :, 0]
        onward[:, :start] += (block.transpose(1, 2) @ rows[:, :, :start])[:, 0]
    return potential


def solve_passage(
    attention: Tensor | AttentionRows, entering: Tensor, relays: Tensor, reachable: Tensor
) -> Tensor:
    """Solve `(I - U)^T g = entering`, the transpose of the system of `solve_potential`.

    `g(k) = entering(k) + sum over i < k of attention[k, i] relays(i) g(i)`; with
    `entering = source / h` the inflow is `f = h * g` (equation 4 of the paper). It is 0 where
    `reachable` is not set: there h is 0, and g would not be bounded.

    Shapes: attention (B, T, T), entering and relays (B, T) in the working dtype, reachable (B, T)
    bool. Returns (B, T).
    """
    passage = torch.empty_like(entering)
    length = entering.shape[1]
    block_size = _block_size(entering.device)
    for start in range(0, length, block_size):
        stop = min(start + block_size, length)
        rows = rows_of(attention, start, stop).to(entering.dtype)
        sent = (relays[:, :start] * passage[:, :start])[:, :, None]
        solved = reachable[:, start:stop, None]
        right_side = entering[:, start:stop, None] + rows[:, :, :start] @ sent
        right_side = torch.where(solved, right_side, 0.0)
        system = -(rows[:, :, start:].tril(-1) * relays[:, None, start:stop] * solved)
        passage[:, start:stop] = torch.linalg.solve_triangular(
            system, right_side, upper=False, unitriangular=True
        )[:, :, 0]
    return passage
