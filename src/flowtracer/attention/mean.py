"""The mean over layers and heads, added up block by block."""

import torch
from torch import Tensor

from flowtracer.attention.memory import check_memory


class MeanReader:
    """Averages the blocks that `read_attention` shows, (B, T, T) float32, over layers and heads.

    Raises ValueError if T x T does not fit into memory.
    """

    def __init__(self, attention_mask: Tensor, layers: int) -> None:
        """attention_mask: (B, T). layers: how many will be read."""
        batch, length = attention_mask.shape
        check_memory(4 * batch * length * length, attention_mask.device, length)
        self._real = attention_mask > 0
        self._layers = layers
        self.mean = torch.zeros(
            batch, length, length, dtype=torch.float32, device=attention_mask.device
        )

    def read(self, layer: int, start: int, weights: Tensor) -> None:
        """Take in queries start..start + rows of one layer, (B, heads, rows, keys)."""
        heads, rows, keys = weights.shape[1:]
        # Layers may live on several devices.
        part = weights.sum(1, dtype=torch.float32).to(self.mean.device)
        self.mean[:, start : start + rows, :keys].add_(part, alpha=1 / (heads * self._layers))

    def finish(self) -> Tensor:
        """The mean, with rows and columns of padding cleared."""
        if not bool(self._real.all()):
            self.mean.mul_(self._real[:, :, None]).mul_(self._real[:, None, :])
        return self.mean
