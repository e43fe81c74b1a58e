"""Mean attention of long texts without any T x T matrix: rows of it are computed when asked for.

One truncated forward pass keeps the queries and keys of the chosen layers and the logarithm of each
softmax's denominator; `P[k, i] = exp(scale q_k . k_i - lse_k)` then gives any tile of attention
again. Memory is linear in T, the price is one more product of queries and keys for every look.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.attention.kernel import attend
from flowtracer.attention.layers import Layers, select_layers
from flowtracer.attention.memory import dense_limit
from flowtracer.models.decoder import (
    SUPPORTED,
    AttentionCaptureError,
    depth_of,
    device_of,
    find_decoder,
    is_sharded,
    kinds_of_layers,
)
from flowtracer.models.swap import check_causal, switched

INTERFACE = "flowtracer_tiles"
QUERIES = (
    64  # of one tile, our choice: with the keys, a tile of 9 heads fits the second-level cache
)
KEYS = 1024


@dataclass(frozen=True)
class TiledLayer:
    """What is kept of one layer; queries (B, Hq, T, D) scaled, keys (B, Hkv, T, D)."""

    query: Tensor
    key: Tensor
    logsumexp: Tensor  # (B, Hq, T) float32
    softcap: float | None
    window: int | None


@dataclass(frozen=True)
class TiledAttention:
    """Mean attention (B, T, T) over some layers and their heads that is never held as a whole."""

    layers: tuple[TiledLayer, ...]
    computed: Callable[[int], None] | None = None  # told how many rows, each time some are made

    @property
    def shape(self) -> torch.Size:
        batch, _, length, _ = self.layers[0].query.shape
        return torch.Size([batch, length, length])

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def device(self) -> torch.device:
        return self.layers[0].query.device

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows start..stop up to column stop, (B, stop - start, stop) float32; later columns are 0."""
        batch = self.shape[0]
        total = torch.zeros(batch, stop - start, stop, device=self.device)
        heads = sum(layer.query.shape[1] for layer in self.layers)
        # Under autocast the products and logsumexp would be rounded to half precision.
        with torch.autocast(self.device.type, enabled=False):
            for layer in self.layers:
                _add_rows(total, layer, start, stop)
        if self.computed:
            self.computed(stop - start)
        return total.div_(heads)


@dataclass
class _Capture:
    """What one forward pass is to keep."""

    layers: tuple[int, ...]
    progress: Callable[[int, int], None] | None
    kept: dict[int, TiledLayer] = field(default_factory=dict)


class _AllSeen(Exception):
    """Ends the forward pass: the last chosen layer's queries and keys are known."""


_capture: ContextVar[_Capture] = ContextVar("flowtracer_tiles")


def can_tile(model: nn.Module) -> bool:
    """Whether tiles give this model's attention: it is whole, and no layer's mask is cut in chunks."""
    return not is_sharded(model) and "chunked_attention" not in kinds_of_layers(model)


def reads_in_tiles(model: nn.Module, length: int, tile_above: int | None) -> bool:
    """Whether a text of `length` tokens is longer than `tile_above` and the model can be read so.

    tile_above: None for what free memory suggests.
    """
    if tile_above is None:
        tile_above = dense_limit(device_of(find_decoder(model)))
    return length > tile_above and can_tile(model)


def tiled_attention(
    model: nn.Module,
    input_ids: Tensor,
    *,
    layers: Layers = "middle",
    progress: Callable[[int, int], None] | None = None,
) -> TiledAttention:
    """What `mean_attention` gives, in memory linear in T; for texts without padding.

    Shapes: input_ids (B, T), all of them real tokens.

    Raises AttentionCaptureError for a model whose attention cannot be captured, or that is sharded.
    """
    if not can_tile(model):
        raise AttentionCaptureError(
            f"{type(model).__name__} is sharded by FSDP or ZeRO-3, or attends in chunks, and is not read "
            "in tiles; use `mean_attention` and shorter texts"
        )
    decoder = find_decoder(model)
    device = device_of(decoder)
    capture = _Capture(select_layers(layers, depth_of(model)), progress)
    ours = switched(decoder, INTERFACE, _attention, _no_mask, name=type(model).__name__)
    with torch.no_grad(), ours:
        token = _capture.set(capture)
        try:
            decoder(input_ids=input_ids.to(device), use_cache=False)
        except _AllSeen:
            pass
        finally:
            _capture.reset(token)
    missing = sorted(set(capture.layers) - set(capture.kept))
    if missing:
        raise AttentionCaptureError(
            f"{type(decoder).__name__}: layers {missing} have no softmax attention to capture; "
            f"choose other layers or use {SUPPORTED}"
        )
    return TiledAttention(tuple(capture.kept[layer] for layer in capture.layers))


def _add_rows(total: Tensor, layer: TiledLayer, start: int, stop: int) -> None:
    """Add the sum over a layer's heads of P to total (B, stop - start, stop)."""
    batch, heads, _, width = layer.query.shape
    pairs = batch * layer.key.shape[1]
    grouped = heads // layer.key.shape[1]
    keys = layer.key[:, :, :stop].float().reshape(pairs, stop, width).transpose(1, 2)
    place = torch.arange(stop, device=keys.device)
    for first in range(start, stop, QUERIES):
        last = min(first + QUERIES, stop)
        rows = last - first
        query = layer.query[:, :, first:last].float().reshape(pairs, grouped * rows, width)
        offset = layer.logsumexp[:, :, first:last].reshape(pairs, grouped * rows, 1)
        lowest = 0 if layer.window is None else max(0, first - layer.window + 1)
        for left in range(lowest // KEYS * KEYS, last, KEYS):
            right = min(left + KEYS, last)
            part = keys[:, :, left:right]
            if layer.softcap is None:
                weights = torch.baddbmm(-offset, query, part)
            else:
                capped = torch.bmm(query, part).div_(layer.softcap).tanh_().mul_(layer.softcap)
                weights = capped.sub_(offset)
            weights = weights.exp_().view(batch, heads, rows, right - left).sum(1)
            if right > first or layer.window is not None:
                distance = place[first:last, None] - place[None, left:right]
                hidden = distance < 0
                if layer.window is not None:
                    hidden |= distance >= layer.window
                weights.masked_fill_(hidden, 0.0)  # a hidden logit may have overflowed: not times 0
            # Layers may live on several devices.
            total[:, first - start : last - start, left:right] += weights.to(total.device)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """No T x T mask: texts have no padding, and windows are cut by what the layer says of itself."""
    return None


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention signature; query (B, Hq, T, D), key and value (B, Hkv, T, D)."""
    capture = _capture.get()
    layer: int = module.layer_idx  # type: ignore[assignment]
    check_causal(module, kwargs)
    if capture.progress:
        capture.progress(layer + 1, capture.layers[-1] + 1)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    kinds = getattr(getattr(module, "config", None), "layer_types", None)
    if kinds and kinds[layer] == "sliding_attention" and sliding_window is None:
        raise AttentionCaptureError(
            f"{type(module).__name__} does not say how far it looks; use `mean_attention`"
        )
    window = sliding_window if sliding_window and sliding_window < query.shape[2] else None
    special = softcap is not None or s_aux is not None or window is not None
    wanted = layer in capture.layers
    last = layer == capture.layers[-1]
    logsumexp = None
    if wanted:
        logsumexp = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    output: Tensor | None
    if special or query.device.type != "cpu":
        output = attend(
            query,
            key,
            None if last else value,
            scaling=scaling,
            softcap=softcap,
            sinks=s_aux,
            window=window,
            logsumexp=logsumexp,
        )
    else:
        output, logsumexp = _flash(query, key, value, scaling)
    if wanted:
        assert logsumexp is not None
        kept = (query * scaling).contiguous()
        capture.kept[layer] = TiledLayer(kept, key.contiguous(), logsumexp, softcap, window)
    if last:
        raise _AllSeen
    assert output is not None
    return output, None


def _flash(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """PyTorch's own blocked attention on the CPU, output (B, T, Hq, D) and logsumexp (B, Hq, T)."""
    groups = query.shape[1] // key.shape[1]
    # Under autocast they can differ in type.
    key, value = (part.to(query.dtype).repeat_interleave(groups, 1) for part in (key, value))
    output, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, True, scale=scaling
    )
    return output.transpose(1, 2).contiguous(), logsumexp
