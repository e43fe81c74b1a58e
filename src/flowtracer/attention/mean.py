"""The mean over layers and heads, added up block by block, and other weights for the edges."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from flowtracer.attention.by_kernel import add_layer, kernel_reads
from flowtracer.attention.capture import LayerCall, Progress
from flowtracer.attention.layers import Layers, model_layers
from flowtracer.attention.maskless import maskless, maskless_mean_attention
from flowtracer.attention.memory import check_memory
from flowtracer.attention.readers import read_attention
from flowtracer.kernels.sequences import Sequences, stand_together
from flowtracer.models.decoder import (
    AttentionCaptureError,
    device_of,
    find_decoder,
)
from flowtracer.models.pictures import ModelInputs, as_model_inputs

Edges = Literal["mean", "no-sink", "value"]


class MeanReader:
    """Averages the blocks that `read_attention` shows, (B, T, T) float32, over layers and heads.

    edges: what an edge weighs.
        "mean": attention as it is (the paper's).
        "no-sink": the mean without each row's first token, every row scaled back to the sum it had
            (our choice: after averaging, so that heads that rest on the sink stay quiet).
        "value": attention times the norm of what the source contributes, `P[k, i] ||W_O v_i||`, summed
            over a layer's heads, rows scaled to sum to 1, averaged over layers. The norm is that of
            Kobayashi et al. 2020 (arXiv 2004.10102); the order of sums is our choice.
    first: the position of the first query, where those in front of it were read before.
    head_weights: weight of each head of a layer, (B, heads), rows that sum to the weight of the layer
        in the mean. Default: all equal.

    Raises ValueError if T x T does not fit into memory or for unknown edges.
    """

    def __init__(
        self,
        attention_mask: Tensor,
        layers: tuple[int, ...],
        *,
        edges: Edges = "mean",
        first: int = 0,
        head_weights: Mapping[int, Tensor] | None = None,
    ) -> None:
        """attention_mask: (B, T). layers: those to average over."""
        if edges not in get_args(Edges):
            raise ValueError(f"edges is {edges!r}; use {', '.join(get_args(Edges))}")
        batch, length = attention_mask.shape
        check_memory(4 * batch * length * length, attention_mask.device, length)
        self._real = attention_mask > 0
        self.layers = layers
        self._edges = edges
        self._first = first
        self._head_weights = head_weights
        self._sequences: Sequences | None = None  # built when a kernel takes the first layer
        self._norms = torch.empty(0)  # of the layer that is being read, (B, heads, keys)
        self.mean = torch.zeros(
            batch, length, length, dtype=torch.float32, device=attention_mask.device
        )

    def take(self, call: LayerCall) -> bool:
        """Add a complete layer by a kernel; False where none runs or other edges are requested."""
        plain = self._edges != "value" and self._head_weights is None
        if not (plain and self.mean.device == call.query.device and kernel_reads(call)):
            return False
        if self._sequences is None and stand_together(self._real):
            self._sequences = Sequences.padded(self._real, call.query.shape[2])
        if self._sequences is None:
            return False
        weight = 1 / (len(self.layers) * call.query.shape[1])
        add_layer(self.mean, call, self._sequences, weight=weight)
        return True

    def read(self, call: LayerCall, start: int, weights: Tensor) -> None:
        """Take in queries start..start + rows of one layer, (B, heads, rows, keys)."""
        heads, rows, keys = weights.shape[1:]
        scale = 1 / len(self.layers)
        if self._edges == "value":
            if start == 0:
                self._norms = output_norms(call.value, _output_weight(call.module))
            weights = weights.float() * self._norms[:, :, None, :keys]
        if self._head_weights is not None:
            by_head = self._head_weights[call.layer].to(weights)
            part = torch.einsum("bhqk,bh->bqk", weights, by_head).float()
            total: Tensor | float = by_head.sum(1)[:, None, None]
            scale = 1.0
        else:
            part, total, scale = weights.sum(1, dtype=torch.float32), scale, scale / heads
        if self._edges == "value":
            part = part / part.sum(-1, keepdim=True).clamp(min=1e-30) * total
            scale = 1.0
        start += self._first
        # Layers may live on several devices.
        self.mean[:, start : start + rows, :keys].add_(part.to(self.mean.device), alpha=scale)

    def read_layer(self, call: LayerCall) -> None:
        """Add a complete layer, of which nothing but queries and keys is needed."""
        if self.take(call):
            return
        mask = call.mask
        if mask is None and not bool(self._real.all()):
            mask = causal_mask(self._real.to(call.query.device), call.window)
        replace(call, last=True).attend(
            mask=mask, window=call.window, read=partial(self.read, call)
        )

    def finish(self) -> Tensor:
        """The mean, with rows and columns of padding cleared."""
        if not bool(self._real.all()):
            self.mean.mul_(self._real[:, :, None]).mul_(self._real[:, None, :])
        if self._edges == "no-sink":
            without_sink(self.mean, self._real)
        return self.mean


def causal_mask(real: Tensor, window: int | None) -> Tensor:
    """Which keys a query sees, (B, 1, T, T) bool: real ones, not later, and in the window.

    real: (B, T) bool. window: tokens that a query sees, itself included; None: all.
    """
    position = torch.arange(real.shape[1], device=real.device)
    distance = position[:, None] - position[None, :]
    seen = distance >= 0
    if window is not None:
        seen &= distance < window
    return (seen & real[:, None, :])[:, None]


def without_sink(attention: Tensor, real: Tensor) -> Tensor:
    """Attention to each row's first real token spread over the others, in proportion; in place.

    `A'[k, i] = A[k, i] s_k / (s_k - A[k, first])` for i != first, s_k the sum of row k; a row that
    attends to nothing else becomes 0. Shapes: attention (B, T, T), real (B, T) bool.
    """
    rows = torch.arange(len(attention), device=attention.device)
    first = real.int().argmax(1)
    before = attention.sum(2)
    attention[rows, :, first] = 0.0
    after = attention.sum(2)
    scale = torch.where(after > 0, before / after.clamp(min=1e-30), 0.0)
    return attention.mul_(scale[:, :, None])


def output_norms(value: Tensor, weight: Tensor) -> Tensor:
    """`||W_O^h v_i||` of every head and token, by `||W v||^2 = v^T (W^T W) v`: no D x T product is kept.

    Shapes: value (B, Hkv, T, D), weight (size, Hq * D), the output projection. Returns (B, Hq, T).
    """
    key_heads, width = value.shape[1], value.shape[3]
    by_head = weight.float().view(weight.shape[0], -1, width)  # (size, Hq, D)
    gram = torch.einsum("ohd,ohe->hde", by_head, by_head)
    value = value.float().repeat_interleave(by_head.shape[1] // key_heads, 1)  # (B, Hq, T, D)
    return ((value @ gram) * value).sum(-1).clamp(min=0).sqrt()


def _output_weight(module: nn.Module) -> Tensor:
    """The output projection of an attention module; of an adapted one, without its adapter."""
    projection: Any = getattr(module, "o_proj", None)
    weight = getattr(getattr(projection, "base_layer", projection), "weight", None)
    if not isinstance(weight, Tensor):
        raise AttentionCaptureError(
            f"{type(module).__name__} has no output projection `o_proj`; use edges 'mean' or 'no-sink'"
        )
    return weight


def mean_attention(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    layers: Layers = "middle",
    edges: Edges = "mean",
    position_ids: Tensor | None = None,
    model_inputs: ModelInputs | Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Attention averaged over the chosen layers and all their heads, (B, T, T) float32.

    `[b, k, i]` is how much token k attends to token i. Rows and columns of padding are 0; the other
    rows sum to 1 (less with attention sinks, which take a part). Layers above the last chosen
    one and the language-model head do not run; memory beyond the result is one block of queries.

    Args:
        model: a decoder-only model of transformers, PEFT-wrapped or compiled ones included.
        input_ids: (B, T).
        attention_mask: (B, T), 0 at padding, on either side. None: no padding.
        layers: see `select_layers`. Default "middle", section 3.3 of the paper.
        edges: what an edge weighs, see `MeanReader`. Default "mean", the paper's.
        position_ids: (B, T). None: counted from each row's first token, or as the model places pictures.
        model_inputs: the processor's output (pixel values, grids, token types) for a text with pictures.
            Where their tokens attend to later ones of the same picture (Gemma 3), so do rows here.
        progress: called with the layers done and the layers to do.

    On a GPU with Triton, rows are moved to the left or packed and layers are averaged by kernels; numbers
    agree within rounding.

    Raises:
        AttentionCaptureError: the model's attention does not go through transformers' interface.
        ValueError: shapes disagree, a layer does not exist, T x T does not fit into memory, or pictures
            and tokens do not belong together.
    """
    if input_ids.ndim != 2 or input_ids.shape[1] == 0:
        raise ValueError(f"input_ids has shape {tuple(input_ids.shape)}; it must be (B, T), T >= 1")
    if attention_mask is not None and attention_mask.shape != input_ids.shape:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)} but input_ids has "
            f"{tuple(input_ids.shape)}"
        )
    chosen = model_layers(model, layers)
    device = device_of(find_decoder(model))
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    mask = mask.to(device)
    real = mask > 0
    pictures = as_model_inputs(model, model_inputs, input_ids)
    plain = edges != "value" and position_ids is None and pictures is None
    if plain and maskless(model) and stand_together(real):
        check_memory(4 * real.numel() * real.shape[1], device, real.shape[1])
        mean = maskless_mean_attention(model, input_ids.to(device), real, chosen, progress=progress)
        if mean is not None:
            return without_sink(mean, real) if edges == "no-sink" else mean
    reader = MeanReader(mask, chosen, edges=edges)
    read_attention(
        model,
        input_ids,
        attention_mask,
        [reader],
        position_ids=position_ids,
        model_inputs=pictures,
        progress=progress,
    )
    return reader.finish()
