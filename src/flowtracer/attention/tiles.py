"""Mean attention of long texts without any T x T matrix: rows of it are computed when they are read.

One truncated forward pass keeps the queries and keys of the chosen layers and the logarithm of each
softmax's denominator; `P[k, i] = exp(scale q_k . k_i - lse_k)` then gives any tile of attention
again. Memory is linear in T; the price is one more product of queries and keys at every reading. The two
solves of the flow keep rows from the first to the second reading, as many as `room` allows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.attention.capture import LayerCall, Progress, visit_layers
from flowtracer.attention.causal import attend_causal, no_mask
from flowtracer.attention.layers import Layers, model_layers
from flowtracer.attention.memory import KEPT_RATIO, available_bytes
from flowtracer.kernels.availability import kernels_run
from flowtracer.kernels.head_sum import add_head_sum, fits
from flowtracer.kernels.sequences import Sequences
from flowtracer.models.decoder import (
    AttentionCaptureError,
    device_of,
    find_decoder,
    is_sharded,
)
from flowtracer.models.layer_kinds import masks_are_plain, text_config
from flowtracer.models.pictures import ModelInputs, as_model_inputs, looks_ahead

QUERIES = 64  # of one tile, our choice: with KEYS, a tile of 9 heads fits the second-level cache
KEYS = 1024
PRODUCTS = 1 << 33  # of one call, our choice: about a second of one core, so that Ctrl-C is noticed
QUERIES_OF_CALL = 192  # at the least, our choice: below, PyTorch takes smaller blocks


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
    """Mean attention (B, T, T) over some layers and their heads that is never stored as one matrix."""

    layers: tuple[TiledLayer, ...]
    computed: Callable[[int], None] | None = None  # told how many rows, each time some are computed
    queries: int = QUERIES  # of one tile
    keys: int = KEYS
    room: int = 0  # bytes that a reader of all rows may keep of them for a second reading

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
                if kernels_run(self.device) and fits(layer.query, layer.key):
                    _add_rows_by_kernel(total, layer, start, stop)
                else:
                    self._add_rows(total, layer, start, stop)
        if self.computed:
            self.computed(stop - start)
        return total.div_(heads)

    def _add_rows(self, total: Tensor, layer: TiledLayer, start: int, stop: int) -> None:
        """Add the sum over a layer's heads of P to total (B, stop - start, stop)."""
        batch, heads, _, width = layer.query.shape
        pairs = batch * layer.key.shape[1]
        grouped = heads // layer.key.shape[1]
        keys = layer.key[:, :, :stop].float().reshape(pairs, stop, width).transpose(1, 2)
        position = torch.arange(stop, device=keys.device)
        for first in range(start, stop, self.queries):
            last = min(first + self.queries, stop)
            rows = last - first
            query = layer.query[:, :, first:last].float().reshape(pairs, grouped * rows, width)
            offset = layer.logsumexp[:, :, first:last].reshape(pairs, grouped * rows, 1)
            lowest = 0 if layer.window is None else max(0, first - layer.window + 1)
            for left in range(lowest // self.keys * self.keys, last, self.keys):
                right = min(left + self.keys, last)
                part = keys[:, :, left:right]
                if layer.softcap is None:
                    weights = torch.baddbmm(-offset, query, part)
                else:
                    capped = torch.bmm(query, part).div_(layer.softcap).tanh_().mul_(layer.softcap)
                    weights = capped.sub_(offset)
                weights = weights.exp_().view(batch, heads, rows, right - left).sum(1)
                if right > first or layer.window is not None:
                    distance = position[first:last, None] - position[None, left:right]
                    hidden = distance < 0
                    if layer.window is not None:
                        hidden |= distance >= layer.window
                    weights.masked_fill_(
                        hidden, 0.0
                    )  # a hidden logit may have overflowed: not times 0
                # Layers may live on several devices.
                total[:, first - start : last - start, left:right] += weights.to(total.device)


def _add_rows_by_kernel(total: Tensor, layer: TiledLayer, start: int, stop: int) -> None:
    """Add the sum over a layer's heads of P to total (B, stop - start, stop)."""
    strip = Sequences.strips(layer.query.shape[0], stop, stop - start, total.device)
    add_head_sum(
        total,
        layer.query,
        layer.key,
        layer.logsumexp,
        strip,
        scaling=1.0,
        weight=1.0,
        softcap=layer.softcap,
        window=layer.window,
        rows=(start, stop),
    )


def can_tile(model: nn.Module) -> bool:
    """Whether tiles give this model's attention: masks are plain and nothing is sharded."""
    return not is_sharded(model) and masks_are_plain(text_config(model))


def tiled_attention(
    model: nn.Module,
    input_ids: Tensor,
    *,
    layers: Layers = "middle",
    model_inputs: ModelInputs | Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> TiledAttention:
    """What `mean_attention` gives, in memory linear in T; for texts without padding.

    Shapes: input_ids (B, T), all of them real tokens. model_inputs: see `mean_attention`.

    Raises AttentionCaptureError for a model whose attention cannot be captured, or that is sharded, and
    for pictures whose tokens attend to later ones (Gemma 3).
    """
    if not can_tile(model):
        raise AttentionCaptureError(
            f"{type(model).__name__} is sharded by FSDP or ZeRO-3, or attends in chunks or to a selection "
            "of tokens, and is not read in tiles; use `mean_attention` and shorter texts"
        )
    pictures = as_model_inputs(model, model_inputs, input_ids)
    if pictures is not None and looks_ahead(model):
        raise AttentionCaptureError(
            f"{type(model).__name__} lets tokens of a picture attend to later ones, which is not read in "
            "tiles; use `mean_attention`"
        )
    chosen = model_layers(model, layers)
    kept: dict[int, TiledLayer] = {}

    def visit(call: LayerCall) -> Tensor | None:
        output, logsumexp = _attend(call)
        if call.chosen:
            query = (call.query * call.scaling).contiguous()
            kept[call.layer] = TiledLayer(
                query, call.key.contiguous(), logsumexp, call.softcap, call.window
            )
        return output

    device = device_of(find_decoder(model))
    inputs: dict[str, Any] = {"input_ids": input_ids.to(device), "use_cache": False}
    inputs |= {} if pictures is None else pictures.arguments(device)
    visit_layers(model, inputs, chosen, visit, mask=no_mask, progress=progress)
    room = int(KEPT_RATIO * (available_bytes(device) or 0))
    return TiledAttention(tuple(kept[layer] for layer in chosen), room=room)


def _attend(call: LayerCall) -> tuple[Tensor | None, Tensor]:
    """Output (B, T, Hq, D), which the last layer may lack, and logsumexp (B, Hq, T)."""
    if not call.says_window:
        raise AttentionCaptureError(
            f"{type(call.module).__name__} does not say how far it sees; use `mean_attention`"
        )
    plain = call.softcap is None and call.sinks is None and call.window is None
    plain &= call.value.shape[3] <= call.query.shape[3]
    if plain and call.query.device.type == "cpu":
        return causal_attention(call.query, call.key, call.value, call.scaling)
    if call.query.is_cuda and kernels_run(call.query.device):
        causal, known = attend_causal(call)
        if known is not None:
            return causal, known
    logsumexp = torch.empty(call.query.shape[:3], dtype=torch.float32, device=call.query.device)
    output = call.attend(window=call.window, logsumexp=logsumexp if call.chosen else None)
    return output, logsumexp


def causal_attention(
    query: Tensor, key: Tensor, value: Tensor, scaling: float, *, products: int = PRODUCTS
) -> tuple[Tensor, Tensor]:
    """PyTorch's own blocked attention on the CPU, output (B, T, Hq, D) and logsumexp (B, Hq, T).

    products: multiplications of a call for the logits; a text that takes more is cut into blocks of
    queries. The keys in front of a block and those in it are two calls, put together by their logsumexp.
    """
    batch, heads, length, width = query.shape
    groups = heads // key.shape[1]
    # Under autocast they can differ in type.
    key, value = (part.to(query.dtype).repeat_interleave(groups, 1) for part in (key, value))
    rows = length
    if batch * heads * length * length * width > products:
        rows = max(QUERIES_OF_CALL, products // (batch * heads * length * width))
    outputs, logsumexps = [], []
    for start in range(0, length, rows):
        block = slice(start, start + rows)
        output, logsumexp = _flash(
            query[:, :, block], key[:, :, block], value[:, :, block], True, scaling
        )
        if start:
            front = slice(start)
            before, lse = _flash(
                query[:, :, block], key[:, :, front], value[:, :, front], False, scaling
            )
            total = torch.logaddexp(lse, logsumexp)
            output = output * (logsumexp - total).exp()[..., None]
            output += before * (lse - total).exp()[..., None]
            logsumexp = total
        outputs.append(output.to(query.dtype).transpose(1, 2))
        logsumexps.append(logsumexp)
    return torch.cat(outputs, 1), torch.cat(logsumexps, 2)


def _flash(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, scaling: float
) -> tuple[Tensor, Tensor]:
    width = value.shape[3]  # narrower than that of the keys in multi-head latent attention
    value = torch.nn.functional.pad(value, (0, query.shape[3] - width))
    output, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, causal, scale=scaling
    )
    return output[..., :width], logsumexp
