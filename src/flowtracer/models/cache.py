"""Keys and values of many rows that grow by a token at a time, without a copy of all at each."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 16  # our choice: tokens to allocate room for at once, or an eighth of the present ones
GROWTH = 1.5  # our choice: so much larger is a cache that has run out of room for rows

Layers = list[tuple[Tensor, Tensor]]  # of each layer keys and values, (rows, heads, tokens, D)


class RoomyLayer(DynamicLayer):
    """A layer of a cache with room for tokens and rows to come.

    All of its keys stay, also those behind a window.
    """

    _room: tuple[Tensor, Tensor] | None = None

    @property
    def room(self) -> tuple[Tensor, Tensor]:
        """Keys and values of all rows with the room behind them, contiguous; zero where unused.

        A product with a contiguous batch of keys is twice as fast as with a slice of it.
        """
        assert self._room is not None and self.keys is not None
        keys, values = self._room
        return keys[: len(self.keys)], values[: len(self.keys)]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values (rows, heads, new, D); returns all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, _, new, _ = key_states.shape
        length = self.get_seq_length()
        if not self._has_room(rows, length + new):
            self._make_room(rows, length + new, like=(key_states, value_states))
        assert self._room is not None
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[:rows, :, length : length + new] = states
        self._show(rows, length + new)
        return self.keys, self.values  # type: ignore[return-value]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        super().batch_select_indices(indices)
        self._room = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows in another order, some left out or repeated."""
        self.batch_select_indices(beam_idx)

    def copy_rows(self, sources: Tensor, targets: Tensor, rows: int) -> None:
        """Copy rows onto others or behind the last one; there are `rows` rows afterwards."""
        length = self.get_seq_length()
        if length == 0 or self.keys is None or self.values is None:
            return
        if not self._has_room(rows, length):
            more = max(rows, int(GROWTH * len(self.keys)))
            self._make_room(more, length, like=(self.keys, self.values))
        self._show(rows, length)
        for states in (self.keys, self.values):
            states[targets] = states[sources]

    def _has_room(self, rows: int, tokens: int) -> bool:
        if self._room is None:
            return False
        room = self._room[0].shape
        return room[0] >= rows and room[2] >= tokens

    def _make_room(self, rows: int, tokens: int, *, like: tuple[Tensor, Tensor]) -> None:
        length = self.get_seq_length()
        tokens += max(ROOM, tokens // 8)
        keys, values = (
            states.new_zeros(rows, states.shape[1], tokens, states.shape[3]) for states in like
        )
        if length and self.keys is not None and self.values is not None:
            keys[: len(self.keys), :, :length] = self.keys
            values[: len(self.values), :, :length] = self.values
        self._room = keys, values

    def _show(self, rows: int, tokens: int) -> None:
        assert self._room is not None
        self.keys, self.values = (room[:rows, :, :tokens] for room in self._room)


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
