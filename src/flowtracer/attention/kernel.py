"""Exact attention of one layer, query block by query block, with every block shown to a reader.

Never holds more than `heads * block * T` probabilities. Pure tensor code: masks and positions come
in, nothing is read from a model.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from flowtracer.models.loading import emulates

ReadBlock = Callable[[int, Tensor], None]

CPU_BLOCK = 64  # queries; our choice, measured: fewer starve the products, more overflow the cache
CPU_BLOCK_BYTES = 32 << 20
DEVICE_BLOCK_BYTES = 256 << 20
STRIPS = 16  # our choice: few key widths, as a CPU compiles every matrix shape it meets


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    *,
    scaling: float,
    mask: Tensor | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    window: int | None = None,
    looks_ahead: bool = False,
    logsumexp: Tensor | None = None,
    read: ReadBlock | None = None,
) -> Tensor | None:
    """Attention output of one layer; `read` gets its probabilities, a block of queries at a time.

    `P = softmax(cap(scaling * q k^T) + mask)` with `cap(s) = softcap * tanh(s / softcap)` (Gemma 2);
    a sink (gpt-oss) adds one logit per head that takes probability and is then dropped, so that
    rows of P may sum to less than 1. P is computed in float32, and rounded to the model's
    dtype as in transformers' eager attention.

    Shapes: query (B, Hq, T, D), key and value (B, Hkv, K, D) with Hq a multiple of Hkv, sinks (Hq,).
    The queries are those of the last T of K tokens; keys before them come from a cache. mask: None
    for plain causal attention, else (B or 1, 1 or Hq, T, K), bool (True = visible) or additive, which
    alone says what is seen. window: without a mask, how many tokens a query sees, itself included.
    looks_ahead: whether the mask may show a query keys after it; else those of later strips are skipped.
    `read(start, P)` gets P of queries start..start + rows, (B, Hq, rows, keys) with the keys after
    `keys` unseen; its memory is reused for the next block. logsumexp: (B, Hq, T) float32, filled
    with the logarithm of each softmax's denominator. Without `value` the result is None; else the output
    (B, T, Hq, D).
    """
    batch, heads, length, width = query.shape
    pairs = batch * key.shape[1]  # of a text and a head of keys
    grouped = heads // key.shape[1]
    key_count = key.shape[2]
    cached = key_count - length  # keys in front of the first query
    dtype = torch.float32 if emulates(query.device, query.dtype) else query.dtype
    scaled = (query * scaling).to(dtype).reshape(pairs, grouped, length, width)
    output = None if value is None else query.new_empty(batch, length, heads, value.shape[-1])

    block = _block_size(query, key_count)
    strip = max(block, -(-length // (STRIPS * block)) * block)
    # Reused by every block: fresh memory of this size costs as much as the arithmetic on it.
    space = scaled.new_empty(2, batch * heads * min(block, length) * key_count)
    future = torch.ones(strip, strip, dtype=torch.bool, device=query.device).triu(1)
    position = torch.arange(key_count, device=query.device)
    for first in range(0, length, strip):
        last = min(first + strip, length)
        mask_ahead = mask if looks_ahead else None
        seen = _last_seen(mask_ahead, slice(first, last), cached + last, key_count)
        keys = key[:, :, :seen].to(dtype).reshape(pairs, seen, width).transpose(1, 2)
        values = None
        if value is not None:
            values = value[:, :, :seen].to(dtype).reshape(pairs, seen, -1)
        for start in range(first, last, block):
            stop = min(start + block, last)
            rows = stop - start
            logits, weights = (
                part[: batch * heads * rows * seen].view(batch, heads, rows, seen) for part in space
            )
            queries = scaled[:, :, start:stop].reshape(pairs, grouped * rows, width)
            torch.bmm(queries, keys, out=logits.view(pairs, grouped * rows, seen))
            if softcap is not None:
                logits.div_(softcap).tanh_().mul_(softcap)
            if mask is None:
                hidden = future[start - first : stop - first, : last - first]
                logits[..., cached + first :].masked_fill_(hidden, -torch.inf)
                if window is not None:
                    queries_at = position[cached + start : cached + stop, None]
                    logits.masked_fill_(queries_at - position[None, :seen] >= window, -torch.inf)
            elif mask.dtype == torch.bool:
                hidden = ~mask[:, :, start:stop, :seen]
                logits.masked_fill_(hidden, torch.finfo(dtype).min)
            else:
                logits.add_(mask[:, :, start:stop, :seen])
            if logsumexp is not None:
                total = logits.float().logsumexp(-1)
                if sinks is not None:
                    total = torch.logaddexp(total, sinks.float()[None, :, None])
                logsumexp[:, :, start:stop] = total
            if sinks is None:
                torch.softmax(logits, -1, out=weights)
            else:
                weights.copy_(_softmax_with_sinks(logits, sinks))
            if read is not None:
                read(start, weights)
            if output is not None and values is not None:
                mixed = torch.bmm(weights.view(pairs, grouped * rows, seen), values)
                output[:, start:stop] = mixed.view(batch, heads, rows, -1).transpose(1, 2)
    return output


def _last_seen(mask: Tensor | None, queries: slice, causal: int, keys: int) -> int:
    """How many keys a query of these can attend to: those up to the last one, or all if a mask says so."""
    if mask is None or causal == keys:
        return causal
    later = mask[:, :, queries, causal:]
    visible = later if later.dtype == torch.bool else later > torch.finfo(later.dtype).min / 2
    return keys if bool(visible.any()) else causal


def _softmax_with_sinks(logits: Tensor, sinks: Tensor) -> Tensor:
    """Probabilities in float32 of (B, H, rows, keys); sinks (H,) take their part and are dropped."""
    logits = logits.float()
    sink = sinks.float().view(1, -1, 1, 1)
    top = torch.maximum(logits.amax(-1, keepdim=True), sink)
    powers = (logits - top).exp_()
    return powers / (powers.sum(-1, keepdim=True) + (sink - top).exp())


def _block_size(query: Tensor, keys: int) -> int:
    """Queries per block, a power of two from 16 on, so that the block's logits fit the budget."""
    batch, heads, length, _ = query.shape
    on_cpu = query.device.type == "cpu"
    budget = CPU_BLOCK_BYTES if on_cpu else DEVICE_BLOCK_BYTES
    fits = max(16, budget // (query.element_size() * batch * heads * keys))
    return min(1 << fits.bit_length() - 1, CPU_BLOCK if on_cpu else length)
