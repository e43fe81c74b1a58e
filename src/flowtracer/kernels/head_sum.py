"""Attention of a layer summed over its heads, without probabilities of any head ever being stored."""

import math
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowtracer.kernels.device import current_device
from flowtracer.kernels.sequences import Sequences

WIDEST_OF_THREE = 128  # head of float32 whose products are computed as three of half the bits
MOST_OFFSET = 1 << 31  # numbers between two elements of a row, in the kernels' 32-bit arithmetic


class Blocks(NamedTuple):
    """How a kernel cuts its work: queries and keys of a tile, warps of a program, stages of loads."""

    queries: int
    keys: int
    warps: int
    stages: int


def tile_of(width: int, *, half: bool, heads: bool, capability: int) -> Blocks:
    """The tiles that fit registers and shared memory, chosen by time on an H200.

    width: of a head, a power of two. half: of half precision. heads: of the sum over heads, not the
    logsumexp. capability: 80 for compute capability 8.0.
    """
    if not half:
        if width > WIDEST_OF_THREE:
            return Blocks(32, 32, 8, 1)
        return Blocks(32, 64, 4 if width <= 64 else 8, 1)
    if width > 256:
        return Blocks(32, 32, 4, 1)
    if width > 128:
        return Blocks(64, 64, 8 if heads else 4, 2)
    if not heads:
        return Blocks(64, 64, 4, 3)
    return Blocks(64, 128, 4, 3) if capability >= 90 else Blocks(64, 64, 4, 2)


def _tile(query: Tensor, *, heads: bool) -> Blocks:
    return tile_of(
        _power_of_two(query.shape[3]),
        half=query.dtype != torch.float32,
        heads=heads,
        capability=_capability(query.device),
    )


@cache
def _capability(device: torch.device) -> int:
    if device.type != "cuda":
        return 90
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def fits(query: Tensor, key: Tensor) -> bool:
    """Whether the kernels can take queries and keys (B, heads, T, D)."""
    if query.dtype != key.dtype:
        return False
    if query.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    reach = max(
        part.shape[2] * part.stride(2) + part.shape[1] * part.stride(1) for part in (query, key)
    )
    widest = 256 if query.dtype == torch.float32 else 512
    plain = query.stride(3) == key.stride(3) == 1
    return plain and reach < MOST_OFFSET and query.shape[3] <= widest


@torch.library.custom_op("flowtracer::layer_logsumexp", mutates_args=())
def layer_logsumexp(
    query: Tensor,
    key: Tensor,
    table: Tensor,
    sinks: Tensor | None,
    *,
    queries: int,
    scaling: float,
    softcap: float,
    window: int,
) -> Tensor:
    """Logarithm of the softmax's denominator of every head and query, (B, Hq, T) float32.

    `lse = log(sum over seen keys of exp(cap(scaling q k)) + exp(sink))`.

    Shapes: query (B, Hq, T, D), key (B, Hkv, K, D), sinks (Hq,). table, queries: those of
    `Sequences`. softcap, window: 0 for none. Queries of no sequence have 0.
    """
    from flowtracer.kernels.head_sum_kernels import logsumexp_kernel

    batch, heads, length, width = query.shape
    out = torch.zeros(batch, heads, length, dtype=torch.float32, device=query.device)
    padded = _power_of_two(width)
    tile = _tile(query, heads=False)
    count = table.shape[1]
    grid = (math.ceil(queries / tile.queries), heads, count)
    with current_device(query.device):
        logsumexp_kernel[grid](
            query, key, query if sinks is None else sinks, out, table, count, scaling,
            *query.stride()[:3], *key.stride()[:3], *out.stride()[:2],
            heads // key.shape[1], width, padded, tile.queries, tile.keys,
            softcap, window, sinks is not None, _precision(query),
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
    return out


@layer_logsumexp.register_fake
def _(query: Tensor, *rest: Any, **options: Any) -> Tensor:
    return query.new_empty(query.shape[:3], dtype=torch.float32)


@torch.library.custom_op("flowtracer::add_head_sum", mutates_args=("out",))
def _add_head_sum(
    out: Tensor,
    query: Tensor,
    key: Tensor,
    logsumexp: Tensor,
    table: Tensor,
    *,
    keys: int,
    start: int,
    stop: int,
    scaling: float,
    weight: float,
    softcap: float,
    window: int,
) -> None:
    from flowtracer.kernels.head_sum_kernels import head_sum_kernel

    heads, width = query.shape[1], query.shape[3]
    padded = _power_of_two(width)
    tile = _tile(query, heads=True)
    count = table.shape[1]
    tiles = math.ceil((stop - start) / tile.queries) * math.ceil(keys / tile.keys)
    with current_device(query.device):
        head_sum_kernel[(tiles, count)](
            query, key, logsumexp, out, table, count, scaling, weight,
            *query.stride()[:3], *key.stride()[:3], *logsumexp.stride()[:2], start, stop,
            key.shape[1], heads // key.shape[1], width, padded, tile.queries, tile.keys,
            softcap, window, _precision(query),
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip


@_add_head_sum.register_fake
def _(*arguments: Any, **options: Any) -> None:
    return None


def add_head_sum(
    out: Tensor,
    query: Tensor,
    key: Tensor,
    logsumexp: Tensor,
    sequences: Sequences,
    *,
    scaling: float,
    weight: float,
    softcap: float | None = None,
    window: int | None = None,
    rows: tuple[int, int] | None = None,
) -> None:
    """Add `weight * sum over heads of exp(cap(scaling q k) - lse)` to `out`, at keys that are seen.

    Shapes: out contiguous float32, of the shape that `sequences` describes; query (B, Hq, T, D), key
    (B, Hkv, K, D), logsumexp (B, Hq, T) with its last stride 1. rows: only these queries of each
    sequence, the first of which is row 0 of the result.
    """
    start, stop = (0, sequences.queries) if rows is None else rows
    hidden = sequences.keys - sequences.queries  # keys in front of the first query
    _add_head_sum(
        out,
        query,
        key,
        logsumexp,
        sequences.table,
        keys=sequences.keys if rows is None else min(sequences.keys, stop + hidden),
        start=start,
        stop=stop,
        scaling=scaling,
        weight=weight,
        softcap=softcap or 0.0,
        window=window or 0,
    )


def _power_of_two(width: int) -> int:
    """At least 16: the smallest width of a product on tensor cores."""
    return max(16, 1 << (width - 1).bit_length())


def _precision(query: Tensor) -> str:
    """How products are computed: of float32 as three of half the bits, on tensor cores, if registers allow.

    The interpreter multiplies bfloat16 wrongly, so there they are widened first.
    """
    if not query.is_cuda:
        return "widened"
    three = query.dtype == torch.float32 and query.shape[3] <= WIDEST_OF_THREE
    return "tf32x3" if three else "ieee"
