"""Exact attention of one layer, query block by query block, with its mean over heads kept.

Never holds more than `heads * block * T` probabilities. Pure tensor code: masks and positions come
in, nothing is read from a model.
"""

import torch
from torch import Tensor

CPU_BLOCK_BYTES = 2 << 20  # our choice, measured: probabilities of a block stay in cache
DEVICE_BLOCK_BYTES = 256 << 20


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    *,
    scaling: float,
    mask: Tensor | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    mean_into: Tensor | None = None,
    share: float = 1.0,
) -> Tensor | None:
    """Attention output of one layer; adds `share * (mean over heads of the probabilities)`.

    `P = softmax(cap(scaling * q k^T) + mask)` with `cap(s) = softcap * tanh(s / softcap)` (Gemma 2);
    a sink (gpt-oss) adds one logit per head that takes probability and is then dropped, so that
    rows of P may sum to less than 1. P is computed in float32.

    Shapes: query (B, Hq, T, D), key and value (B, Hkv, T, D) with Hq a multiple of Hkv, sinks (Hq,).
    mask: None for plain causal attention, else (B or 1, 1 or Hq, T, T), bool (True = visible) or
    additive; it must already be causal. mean_into: (B, T, T) float32, changed in place.
    Without `value` only the mean is wanted and None comes back; else the output (B, T, Hq, D).
    """
    batch, heads, length, width = query.shape
    kv_heads = key.shape[1]
    groups = heads // kv_heads
    dtype = torch.float32 if emulates(query.device, query.dtype) else query.dtype
    scaled = (query * scaling).to(dtype).view(batch, kv_heads, groups, length, width)
    keys = key.to(dtype).transpose(2, 3)
    values = None if value is None else value.to(dtype)
    output = None
    if value is not None:
        output = query.new_empty(batch, length, heads, value.shape[-1])

    block = _block_size(query)
    for start in range(0, length, block):
        stop = min(start + block, length)
        rows = stop - start
        queries = scaled[:, :, :, start:stop].reshape(batch, kv_heads, groups * rows, width)
        logits = (queries @ keys[..., :stop]).view(batch, heads, rows, stop)
        if softcap is not None:
            logits = logits.div_(softcap).tanh_().mul_(softcap)
        if mask is None:
            future = torch.ones(rows, rows, dtype=torch.bool, device=query.device).triu(1)
            logits[..., start:].masked_fill_(future, -torch.inf)
        else:
            seen = mask[:, :, start:stop, :stop]
            if seen.dtype == torch.bool:
                logits = logits.masked_fill_(~seen, torch.finfo(logits.dtype).min)
            else:
                logits = logits + seen
        weights = _softmax(logits, sinks)
        if mean_into is not None:
            mean = weights.sum(1).to(mean_into.device)  # layers may live on several devices
            mean_into[:, start:stop, :stop].add_(mean, alpha=share / heads)
        if output is not None and values is not None:
            mixed = weights.to(dtype).view(batch, kv_heads, groups * rows, stop)
            mixed = (mixed @ values[:, :, :stop]).view(batch, heads, rows, -1)
            output[:, start:stop] = mixed.transpose(1, 2)
    return output


def _softmax(logits: Tensor, sinks: Tensor | None) -> Tensor:
    """Probabilities in float32 of (B, H, rows, keys); sinks (H,) take their part and are dropped."""
    if sinks is None:
        return logits.softmax(-1, dtype=torch.float32)
    logits = logits.float()
    sink = sinks.float().view(1, -1, 1, 1)
    top = torch.maximum(logits.amax(-1, keepdim=True), sink)
    powers = (logits - top).exp_()
    return powers / (powers.sum(-1, keepdim=True) + (sink - top).exp())


def emulates(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether products of this half-precision dtype are emulated, and 50 times slower than float32."""
    if device.type != "cpu":
        return False
    if dtype == torch.bfloat16:
        return not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float16 and not torch.ops.mkldnn._is_mkldnn_fp16_supported()


def _block_size(query: Tensor) -> int:
    """Queries per block so that the block's float32 probabilities fit the budget."""
    batch, heads, length, _ = query.shape
    budget = CPU_BLOCK_BYTES if query.device.type == "cpu" else DEVICE_BLOCK_BYTES
    return max(16, min(length, budget // (4 * batch * heads * length)))
