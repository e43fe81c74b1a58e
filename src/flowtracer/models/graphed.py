"""Rows that grow by a token a step in buffers of fixed shape, so that a GPU runs the step as one graph.

A step of a small model is hundreds of launches, each of which takes the host longer than the GPU. Recorded
once as a CUDA graph they are one launch. A graph needs shapes that stay: every row attends to the whole
buffer behind a mask. Buffers and graph are made anew, smaller or longer, when half of the rows have ended
or the columns are used up.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

from flowtracer.models.cache import layers_of
from flowtracer.models.layer_kinds import layer_types, text_config

COLUMNS = 256  # our choice: room for so many tokens at a time, as attention reads all of it
LEFT = 0.5  # our choice: ratio of rows that still run below which the others are left out
EAGER_STEPS = 2  # kernels are loaded and workspaces made before a graph is recorded

Step = Callable[[], None]
KeysValues = tuple[Tensor, Tensor]  # of a layer, (rows, heads, tokens, D)


def runs_in_graphs(model: nn.Module) -> bool:
    """Whether a step of this model can be recorded: on a GPU, all layers under one mask that may be given."""
    # Autocast keeps casts of weights, which a graph would take from it.
    on_gpu = next(model.parameters()).device.type == "cuda" and not torch.is_autocast_enabled(
        "cuda"
    )
    return on_gpu and has_one_mask(model)


def has_one_mask(model: nn.Module) -> bool:
    """Whether every layer sees all earlier tokens, by an attention that takes a mask of scores."""
    config = text_config(model)
    kinds = layer_types(config)
    windowed = bool(not kinds and getattr(config, "sliding_window", None))
    takes_scores = getattr(config, "_attn_implementation", None) in ("sdpa", "eager")
    return takes_scores and set(kinds) <= {"full_attention"} and not windowed


class FixedLayer(DynamicLayer):
    """A layer of a cache with all of its columns, of which `column` is written next."""

    def __init__(self, keys: Tensor, values: Tensor, column: Tensor) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.keys, self.values, self.column = keys, values, column

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write keys and values (rows, heads, 1, D); returns all columns."""
        assert self.keys is not None and self.values is not None
        self.keys.index_copy_(2, self.column, key_states)
        self.values.index_copy_(2, self.column, value_states)
        return self.keys, self.values


class FixedTexts:
    """Texts of one sequence a row, as `Texts`, in buffers of fixed shape.

    layers: keys and values of what was read, (B, heads, P, D). mask: (B, P), which columns are tokens.
    steps: the largest number of tokens to come.
    """

    def __init__(
        self, model: nn.Module, layers: Iterable[KeysValues], mask: Tensor, steps: int
    ) -> None:
        self.model = model
        self.last = mask.shape[1] + steps
        self._make_buffers(layers, mask.bool(), mask.sum(1))

    def grow(self, row: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """Put a token behind each row that still runs, and run it; their rows from now on and logits (R, V).

        row, token: (n,), n <= R. Logits of rows that no longer run mean nothing.
        """
        if self.used == self.width or len(row) < LEFT * len(self.token):
            row = self._keep(row)
        self.token[row, 0] = token
        if self.replay is None and self.recordable and self.steps >= EAGER_STEPS:
            self._record()
        (self.replay or self._step)()
        self.used += 1
        self.steps += 1
        return row, self.logits

    def _make_buffers(self, layers: Iterable[KeysValues], mask: Tensor, position: Tensor) -> None:
        rows, self.used = mask.shape
        self.width = min(self.last, self.used + COLUMNS)
        room, device = self.width - self.used, mask.device
        self.column = torch.tensor([self.used], device=device)
        fixed: list[Any] = []
        for pair in layers:
            keys, values = (nn.functional.pad(part, (0, 0, 0, room)) for part in pair)
            fixed.append(FixedLayer(keys, values, self.column))
        self.cache = Cache(layers=fixed)
        dtype = fixed[0].dtype
        self.mask = torch.full(
            (rows, 1, 1, self.width), torch.finfo(dtype).min, dtype=dtype, device=device
        )
        self.mask[:, 0, 0, : self.used].masked_fill_(mask, 0)
        self.position = position[:, None].clone()
        self.token = torch.zeros_like(self.position)
        self.logits = torch.empty(0)
        self.steps, self.recordable = 0, device.type == "cuda"
        self.replay: Step | None = None

    def _keep(self, row: Tensor) -> Tensor:
        """Buffers of these rows alone, with room for more columns."""
        used, before = self.used, layers_of(self.cache)
        # What the graph and each layer hold is freed before more is allocated.
        self.replay, self.cache = None, Cache(layers=[])

        def kept() -> Iterator[KeysValues]:
            while before:
                keys, values = before.pop(0)
                yield keys[row, :, :used], values[row, :, :used]

        self._make_buffers(kept(), self.mask[row, 0, 0, :used] == 0, self.position[row, 0])
        return torch.arange(len(row), device=row.device)

    def _step(self) -> None:
        self.mask.index_fill_(3, self.column, 0)
        output = self.model(
            self.token,
            past_key_values=self.cache,
            attention_mask=self.mask,
            position_ids=self.position,
            use_cache=True,
        )
        self.logits = output.logits[:, -1]
        self.column += 1
        self.position += 1

    def _record(self) -> None:
        """Make `replay` of a step; what cannot be recorded runs as before."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._step()
        except RuntimeError as error:
            self.recordable = False
            first = str(error).splitlines()[0]
            warnings.warn(
                f"a step of {type(self.model).__name__} was not recorded as a CUDA graph ({first}); "
                "responses are drawn without",
                stacklevel=2,
            )
        else:
            self.replay = graph.replay
