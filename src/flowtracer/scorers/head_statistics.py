"""Three numbers per head that local and global attention are told by, read while the model runs.

All are linear in a head's attention A, so that they can be averaged over any heads afterwards and no
head's T x T matrix is kept. Source: "Attention Illuminates LLM Reasoning" (arXiv 2510.13554, v2).
Distances count real tokens of the row, whatever the padding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flowtracer.attention.capture import LayerCall
from flowtracer.attention.layers import Layers, nearest, select_layers

NEAR = 10  # W, the distance beyond which WAAD no longer grows; the source's value
AHEAD = (10, 100)  # distances at which FAI counts; version 2 of the source, version 1 has 10 to 50
LAYERS = 5  # the source's number


class HeadStatistics(NamedTuple):
    """Of every head of the layers read, in the order of the layers."""

    span: Tensor  # (B, heads), mean over response tokens t of sum over s of A[t, s] (t - s)
    waad: Tensor  # (B, heads, T), sum over s of A[t, s] min(t - s, W)
    fai: Tensor  # (B, heads, T), mean of A[t, s] over response tokens t with t - s in AHEAD


def rhythm_layers(
    layers: Layers, depth: int, *, softmax: Sequence[int] | None = None
) -> tuple[int, ...]:
    """For "middle": 5 evenly spaced from floor(L/3) to floor(2L/3), fewer if there are fewer.

    Of a hybrid model, 5 evenly spaced of those that have softmax attention, chosen as in `select_layers`.

    The source does not say whether the upper end belongs to it, nor how to round; our choice: it
    does, and down. Any other value is read as by `select_layers`.
    """
    if layers != "middle":
        return select_layers(layers, depth, softmax=softmax)
    softmax = range(depth) if softmax is None else softmax
    among = nearest(softmax, depth // 3, 2 * depth // 3)
    steps = LAYERS - 1
    return tuple(sorted({among[step * (len(among) - 1) // steps] for step in range(LAYERS)}))


class HeadReader:
    """Collects `HeadStatistics` from blocks of attention, see `read_attention`."""

    def __init__(self, attention_mask: Tensor, candidates: Tensor, layers: tuple[int, ...]) -> None:
        """attention_mask and candidates: (B, T)."""
        self.layers = layers
        self._real = attention_mask > 0
        self._position = self._real.cumsum(1)
        self._response = candidates & self._real
        self._sums: dict[int, HeadStatistics] = {}
        self._queries: dict[int, Tensor] = {}  # how many queries count for the FAI of a token

    def take(self, call: LayerCall) -> bool:
        """Never: the statistics need every head's probabilities."""
        return False

    def read(self, call: LayerCall, start: int, weights: Tensor) -> None:
        """Take in queries start..start + rows of one layer, (B, heads, rows, keys)."""
        batch, heads, rows, keys = weights.shape
        queries = slice(start, start + rows)
        if start == 0:
            sums = self._real.new_zeros(batch, heads, self._real.shape[1], dtype=torch.float32)
            self._sums[call.layer] = HeadStatistics(sums[:, :, 0].clone(), sums, sums.clone())
            self._queries[call.layer] = torch.zeros_like(sums[:, 0])
        span, waad, fai = self._sums[call.layer]

        distance = (self._position[:, queries, None] - self._position[:, None, :keys]).clamp(min=0)
        distance = distance.float() * self._real[:, None, :keys]
        response = self._response[:, queries]
        ahead = (distance >= AHEAD[0]) & (distance <= AHEAD[1])
        ahead &= response[:, :, None] & self._real[:, None, :keys]
        far, near, seen = read_block(weights, distance.to(weights.device), ahead.to(weights.device))
        span += (far.to(span.device) * response[:, None]).sum(2)
        waad[:, :, queries] = near.to(waad.device) * self._real[:, None, queries]
        fai[:, :, :keys] += seen.to(fai.device)
        self._queries[call.layer][:, :keys] += ahead.sum(1)

    def finish(self) -> HeadStatistics:
        """All heads of all layers read."""
        tokens = self._response.sum(1)[:, None].clamp(min=1)
        sums = [self._sums[layer] for layer in self.layers]
        counts = [self._queries[layer][:, None].clamp(min=1) for layer in self.layers]
        return HeadStatistics(
            torch.cat([layer.span / tokens for layer in sums], 1),
            torch.cat([layer.waad for layer in sums], 1),
            torch.cat([layer.fai / count for layer, count in zip(sums, counts, strict=True)], 1),
        )


def read_block(weights: Tensor, distance: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A block's mean distances, mean near distances, and attention summed over its queries.

    Shapes: weights (B, heads, rows, keys); distance (B, rows, keys), 0 at padding; ahead
    (B, rows, keys) bool. Returns (B, heads, rows), (B, heads, rows) and (B, heads, keys), float32.
    """
    weights = weights.float()
    far = torch.einsum("bhqk,bqk->bhq", weights, distance)
    near = torch.einsum("bhqk,bqk->bhq", weights, distance.clamp(max=NEAR))
    seen = torch.einsum("bhqk,bqk->bhk", weights, ahead.float())
    return far, near, seen
