"""Triton kernels: log-sum-exp of a layer's logits, and the sum over its heads of their softmax.

TABLE is that of `Sequences`, SEQUENCES its width. Dtypes of Q and K are the model's; sums are float32.
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-1e30)  # below every logit, and finite, so that differences are


@triton.jit
def _logits(query, key, scale, SOFTCAP: tl.constexpr, PRECISION: tl.constexpr):
    """`cap(scale q k^T) log2(e)`, (BM, BN) float32."""
    if PRECISION == "widened":
        query = query.to(tl.float32)
        key = key.to(tl.float32)
        logits = tl.dot(query, tl.trans(key), input_precision="ieee")
    else:
        logits = tl.dot(query, tl.trans(key), input_precision=PRECISION)
    if SOFTCAP > 0:
        # softcap tanh(x / 2) = softcap (2 sigmoid(x) - 1)
        logits = tl.sigmoid(logits * (scale * 2.0 / SOFTCAP))
        logits = (2.0 * logits - 1.0) * (SOFTCAP * LOG2E)
    else:
        logits = logits * (scale * LOG2E)
    return logits


@triton.jit
def _load(at, d, D: tl.constexpr, WIDTH: tl.constexpr):
    """A tile whose rows all exist; columns from D on are 0."""
    return tl.load(at) if D == WIDTH else tl.load(at, mask=(d < D)[None, :], other=0.0)


@triton.jit
def logsumexp_kernel(
    Q, K, SINK, LSE, TABLE, SEQUENCES, scale,
    q_batch, q_head, q_time, k_batch, k_head, k_time, lse_batch, lse_head,
    GROUP: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    SOFTCAP: tl.constexpr, WINDOW: tl.constexpr, SINKS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """LSE[b, h, t] = log(sum over seen keys of exp(logit), plus exp(sink)).

    Grid (blocks of queries, heads, sequences).
    """
    block = tl.program_id(0)
    head = tl.program_id(1)
    entry = TABLE + tl.program_id(2)
    queries = tl.load(entry + 2 * SEQUENCES).to(tl.int32)
    keys = tl.load(entry + 4 * SEQUENCES).to(tl.int32)
    if block * BM >= queries:
        return
    row = tl.load(entry)
    q_first = tl.load(entry + SEQUENCES)
    k_first = tl.load(entry + 3 * SEQUENCES)
    cached = keys - queries
    start = block * BM
    m = start + tl.arange(0, BM)
    n = tl.arange(0, BN)
    d = tl.arange(0, WIDTH)
    query_at = Q + row * q_batch + head * q_head + q_first * q_time
    # Rows beyond the last repeat it, which costs no mask.
    query_row = tl.minimum(m, queries - 1)
    query = _load(query_at + query_row[:, None] * q_time + d[None, :], d, D, WIDTH)
    key_at = K + row * k_batch + (head // GROUP) * k_head + k_first * k_time
    key_offset = n[:, None] * k_time + d[None, :]
    top = tl.full((BM,), LOWEST, tl.float32)
    total = tl.zeros((BM,), tl.float32)
    low = 0
    if WINDOW > 0:
        low = tl.maximum(0, (start + cached - WINDOW + 1) // BN * BN)
    high = tl.minimum(keys, start + BM + cached)
    # Keys that every query of the block sees need no mask: those before the first query's own.
    plain = tl.maximum(low, (start + cached + 1) // BN * BN)
    if WINDOW > 0:
        plain = low
    for first in range(low, plain, BN):
        key = _load(key_at + first * k_time + key_offset, d, D, WIDTH)
        logits = _logits(query, key, scale, SOFTCAP, PRECISION)
        highest = tl.maximum(top, tl.max(logits, 1))
        total = total * tl.exp2(top - highest) + tl.sum(tl.exp2(logits - highest[:, None]), 1)
        top = highest
    for first in range(plain, high, BN):
        key_row = tl.minimum(first + n, keys - 1)
        key = _load(key_at + key_row[:, None] * k_time + d[None, :], d, D, WIDTH)
        logits = _logits(query, key, scale, SOFTCAP, PRECISION)
        distance = (m + cached)[:, None] - (first + n)[None, :]
        seen = (distance >= 0) & (first + n < keys)[None, :]
        if WINDOW > 0:
            seen = seen & (distance < WINDOW)
        logits = tl.where(seen, logits, -float("inf"))
        highest = tl.maximum(top, tl.max(logits, 1))
        total = total * tl.exp2(top - highest) + tl.sum(tl.exp2(logits - highest[:, None]), 1)
        top = highest
    logsumexp = top + tl.log2(total)
    if SINKS:
        sink = tl.load(SINK + head).to(tl.float32) * LOG2E
        highest = tl.maximum(logsumexp, sink)
        logsumexp = highest + tl.log2(tl.exp2(logsumexp - highest) + tl.exp2(sink - highest))
    at = LSE + row * lse_batch + head * lse_head + q_first + m
    tl.store(at, logsumexp / LOG2E, mask=m < queries)


@triton.jit
def head_sum_kernel(
    Q, K, LSE, OUT, TABLE, SEQUENCES, scale, weight,
    q_batch, q_head, q_time, k_batch, k_head, k_time, lse_batch, lse_head, q_from, q_to,
    KEY_HEADS: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, WIDTH: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, SOFTCAP: tl.constexpr, WINDOW: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """OUT += weight * sum over heads of exp(logit - logsumexp), for keys that a query sees.

    Grid (tiles, sequences), a tile being a block of queries and a block of keys, by rows; queries
    q_from..q_to only. The mask is the same for all heads, so it is applied once, to the sum: a hidden
    logit that overflows costs nothing.
    """
    tile = tl.program_id(0)
    entry = TABLE + tl.program_id(1)
    queries = tl.load(entry + 2 * SEQUENCES).to(tl.int32)
    keys = tl.load(entry + 4 * SEQUENCES).to(tl.int32)
    cached = keys - queries
    stop = tl.minimum(q_to, queries)
    blocks = tl.cdiv(stop + cached, BN)  # of keys, seen by the last query
    if blocks <= 0:
        return
    q_start = q_from + tile // blocks * BM
    k_start = tile % blocks * BN
    if q_start >= stop:
        return
    if k_start > q_start + BM - 1 + cached:
        return
    if WINDOW > 0:  # noqa: SIM102, known when the kernel is built
        if q_start + cached - (k_start + BN - 1) >= WINDOW:
            return
    row = tl.load(entry)
    q_first = tl.load(entry + SEQUENCES)
    k_first = tl.load(entry + 3 * SEQUENCES)
    m = q_start + tl.arange(0, BM)
    n = k_start + tl.arange(0, BN)
    d = tl.arange(0, WIDTH)
    # Offsets of a tile in 32 bits take half the registers of pointers.
    query_at = Q + row * q_batch + q_first * q_time
    key_at = K + row * k_batch + k_first * k_time
    lse_at = LSE + row * lse_batch + q_first
    query_row = tl.minimum(m, stop - 1)
    query_offset = query_row[:, None] * q_time + d[None, :]
    key_offset = tl.minimum(n, keys - 1)[:, None] * k_time + d[None, :]
    total = tl.zeros((BM, BN), tl.float32)
    for key_head in range(KEY_HEADS):
        key = _load(key_at + key_head * k_head + key_offset, d, D, WIDTH)
        for member in range(GROUP):
            head = key_head * GROUP + member
            query = _load(query_at + head * q_head + query_offset, d, D, WIDTH)
            logsumexp = tl.load(lse_at + head * lse_head + query_row) * LOG2E
            logits = _logits(query, key, scale, SOFTCAP, PRECISION)
            total += tl.exp2(logits - logsumexp[:, None])
    distance = (m + cached)[:, None] - n[None, :]
    seen = (distance >= 0) & (n < keys)[None, :]
    if WINDOW > 0:
        seen = seen & (distance < WINDOW)
    total = tl.where(seen, total * weight, 0.0)
    stride = tl.load(entry + 6 * SEQUENCES)
    out_at = OUT + tl.load(entry + 5 * SEQUENCES) + (m - q_from)[:, None] * stride + n[None, :]
    stored = (m < stop)[:, None] & (n < keys)[None, :]
    tl.store(out_at, total + tl.load(out_at, mask=stored, other=0.0), mask=stored)
