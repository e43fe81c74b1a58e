"""Keys and values of many rows that grow by a token at a time, without a copy of all at each."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 64  # tokens that are made room for at once, our choice

Layers = list[tuple[Tensor, Tensor]]  # of each layer keys and values, (rows, heads, tokens, D)


class RoomyLayer(DynamicLayer):
    """A layer of a cache with room for tokens to come; all its keys stay, also those behind a window."""

    _room: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values (rows, heads, new, D); returns all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.get_seq_length()
        total = length + key_states.shape[-2]
        if self._room is None or self._room[0].shape[-2] < total:
            keys, values = (
                new.new_empty(*new.shape[:2], total + ROOM, new.shape[-1])
                for new in (key_states, value_states)
            )
            if self.keys is not None and self.values is not None and length:
                keys[:, :, :length] = self.keys
                values[:, :, :length] = self.values
            self._room = keys, values
        keys, values = self._room
        keys[:, :, length:total] = key_states
        values[:, :, length:total] = value_states
        self.keys, self.values = keys[:, :, :total], values[:, :, :total]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        super().batch_select_indices(indices)
        self._room = None


def cache_of(layers: Layers, rows: int) -> Cache:
    """A cache with the given keys and values; a single row is repeated to `rows`."""
    cache = Cache(layer_class_to_replicate=RoomyLayer)
    for number, (keys, values) in enumerate(layers):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
    return cache


def layers_of(cache: Cache) -> Layers:
    """Keys and values of every layer of a cache."""
    layers: list[Any] = cache.layers
    return [(layer.keys, layer.values) for layer in layers]


def joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Keys and values of texts of different lengths as one batch, padded on the left."""
    width = max(keys.shape[2] for keys, _ in parts)

    def join(index: int) -> Tensor:
        return torch.cat(
            [nn.functional.pad(p[index], (0, 0, width - p[index].shape[2], 0)) for p in parts]
        )

    return join(0), join(1)
