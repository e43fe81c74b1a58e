"""Triton kernel: both triangular solves behind the flow, one program a text."""

import triton
import triton.language as tl


@triton.jit
def solve_kernel(
    A, QUESTION, SINK, RELAY, H, G, a_batch, a_row, length, tiny,
    BS: tl.constexpr, BK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The potential H, then the passage G, as `solve_potential` and `solve_passage` state them.

    A block's right-hand side is one pass over its panel of A; then substitution within the block. Only
    non-negative numbers are added. Grid (texts,).
    """
    text = tl.program_id(0).to(tl.int64)
    a = A + text * a_batch
    v = text * length
    i = tl.arange(0, BS)
    p = tl.arange(0, BK)
    blocks = tl.cdiv(length, BS)
    fed = tl.zeros((BS,), tl.int32)
    for back in range(blocks):
        first = (blocks - 1 - back) * BS
        r = (first + i).to(tl.int64)
        inside = r < length
        part = tl.zeros((BK, BS), WIDE)
        for below in range(first + BS, length, BK):
            k = (below + p).to(tl.int64)
            panel = tl.load(
                a + k[:, None] * a_row + r[None, :],
                mask=(k < length)[:, None] & inside[None, :],
                other=0.0,
            )
            part += panel.to(WIDE) * tl.load(H + v + k, mask=k < length, other=0.0)[:, None]
        relay = tl.load(RELAY + v + r, mask=inside, other=0.0)
        h = tl.load(SINK + v + r, mask=inside, other=0.0) + relay * tl.sum(part, 0)
        for step in range(BS):
            j = BS - 1 - step
            k = (first + j + 0 * i).to(tl.int64)
            edge = tl.load(a + k * a_row + r, mask=(i < j) & (k < length), other=0.0)
            h += relay * edge.to(WIDE) * tl.sum(tl.where(i == j, h, 0.0), 0)
        h = tl.where(h < tiny, 0.0, h)
        tl.store(H + v + r, h, mask=inside)
        question = tl.load(QUESTION + v + r, mask=inside, other=0) != 0
        fed += (question & (h > 0)).to(tl.int32)
        tl.debug_barrier()  # the next block reads what other threads have stored
    ratio = 1.0 / tl.maximum(tl.sum(fed, 0), 1).to(WIDE)
    for block in range(blocks):
        first = block * BS
        r = (first + i).to(tl.int64)
        inside = r < length
        part = tl.zeros((BS, BK), WIDE)
        for before in range(0, first, BK):
            k = (before + p).to(tl.int64)
            panel = tl.load(
                a + r[:, None] * a_row + k[None, :],
                mask=inside[:, None] & (k < first)[None, :],
                other=0.0,
            )
            sent = tl.load(G + v + k, mask=k < first, other=0.0)
            sent *= tl.load(RELAY + v + k, mask=k < first, other=0.0)
            part += panel.to(WIDE) * sent[None, :]
        h = tl.load(H + v + r, mask=inside, other=0.0)
        relay = tl.load(RELAY + v + r, mask=inside, other=0.0)
        question = tl.load(QUESTION + v + r, mask=inside, other=0) != 0
        entering = tl.where(question & (h > 0), ratio / tl.where(h > 0, h, 1.0), 0.0)
        g = tl.where(h > 0, tl.sum(part, 1) + entering, 0.0)
        for j in range(BS):
            edge = tl.load(a + r * a_row + first + j, mask=(i > j) & inside & (h > 0), other=0.0)
            g += edge.to(WIDE) * tl.sum(tl.where(i == j, g * relay, 0.0), 0)
        tl.store(G + v + r, g, mask=inside)
        tl.debug_barrier()
