"""How far the kernels are from float64, on whatever device runs them; used by bench/gpu.py.

Inputs are random, rounded to the dtype under test, and the reference is computed from the rounded ones,
so that an error is the kernels' own.
"""

from typing import Any

import torch
from torch import Tensor

from flowtracer.flow import send_flow
from flowtracer.kernels.availability import kernels_everywhere
from flowtracer.kernels.head_sum import add_head_sum, layer_logsumexp
from flowtracer.kernels.sequences import Sequences

CASES: dict[str, dict[str, Any]] = {
    "grouped heads, padding on both sides": {},
    "group of 4, odd width": {"heads": 8, "width": 24},
    "one head of keys each": {"heads": 3, "key_heads": 3},
    "wide heads": {"width": 256},
    "window": {"window": 20},
    "soft cap": {"softcap": 5.0},
    "sinks": {"sinks": True},
    "window, soft cap and sinks": {"window": 33, "softcap": 3.0, "sinks": True},
}


def kernel_errors(device: torch.device, length: int = 300) -> list[dict[str, Any]]:
    """Largest absolute error of each case and dtype: padded batch, packed rows, cached prompt, strip."""
    rows = []
    for name, options in CASES.items():
        for dtype in (torch.float32, torch.bfloat16):
            errors = case_errors(device, dtype, length, **options)
            rows.append({"case": name, "dtype": str(dtype).removeprefix("torch."), **errors})
    return rows


def case_errors(
    device: torch.device,
    dtype: torch.dtype,
    length: int,
    *,
    heads: int = 4,
    key_heads: int = 2,
    width: int = 64,
    window: int | None = None,
    softcap: float | None = None,
    sinks: bool = False,
) -> dict[str, float]:
    """Errors of one case; layouts as a model has them, heads interleaved in time."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    query = (normal(2, length, heads, width) * 2).to(dtype).transpose(1, 2)
    key = (normal(2, length, key_heads, width) * 2).to(dtype).transpose(1, 2)
    sink = normal(heads) if sinks else None
    real = torch.ones(2, length, dtype=torch.bool, device=device)
    real[1, : length // 7] = False
    real[1, -(length // 9) :] = False
    limits = {"window": window, "softcap": softcap}
    exact = eager(query, key, real, sink=sink, **limits)

    def mean(
        sequences: Sequences, out: Tensor, query: Tensor, key: Tensor, rows: Any = None
    ) -> Tensor:
        scaling = width**-0.5
        lse = layer_logsumexp(
            query,
            key,
            sequences.table,
            sink,
            queries=sequences.queries,
            scaling=scaling,
            softcap=softcap or 0.0,
            window=window or 0,
        )
        add_head_sum(
            out, query, key, lse, sequences, scaling=scaling, weight=1 / heads, rows=rows, **limits
        )
        return out

    def empty(*shape: int) -> Tensor:
        return torch.zeros(*shape, device=device)

    padded = mean(Sequences.padded(real), empty(2, length, length), query, key)

    lengths = real.sum(1)
    first = lengths.cumsum(0) - lengths
    start = real.int().argmax(1)
    at = torch.arange(2, device=device) * length * length + start * (length + 1)
    rows = Sequences.packed(first, lengths, int(lengths.max()), at, length)
    together = [torch.cat([part[0], part[1][:, real[1]]], 1)[None] for part in (query, key)]
    packed = mean(rows, empty(2, length, length), *together)

    cached = length // 3
    behind = Sequences.padded(real, length - cached)
    after = mean(behind, empty(2, length, length), query[:, :, cached:], key)

    begin, stop = length // 4, length // 2
    text = Sequences.strips(1, length, stop - begin, query.device)
    strip = mean(text, empty(1, stop - begin, length), query[:1], key[:1], (begin, stop))
    return {
        "padded": worst(padded, exact),
        "packed": worst(packed, exact),
        "cached": worst(after[:, cached:], exact[:, cached:]),
        "strip": worst(strip, exact[:1, begin:stop]),
    }


def worst(values: Tensor, exact: Tensor) -> float:
    return float((values - exact).abs().max())


def eager(
    query: Tensor,
    key: Tensor,
    real: Tensor,
    *,
    window: int | None,
    softcap: float | None,
    sink: Tensor | None,
) -> Tensor:
    """Mean over heads in float64, 0 at padding."""
    batch, heads, length, width = query.shape
    keys = key.double().repeat_interleave(heads // key.shape[1], 1)
    logits = query.double() @ keys.transpose(2, 3) * width**-0.5
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    position = torch.arange(length, device=query.device)
    distance = position[:, None] - position[None, :]
    seen = (distance >= 0) & (distance < (window or length)) & real[:, None, :]
    logits = logits.masked_fill(~seen[:, None], -torch.inf)
    if sink is not None:
        column = sink.double()[None, :, None, None].expand(batch, heads, length, 1)
        logits = torch.cat([logits, column], -1)
    probabilities = logits.softmax(-1)[..., :length].nan_to_num(0.0).mean(1)
    return probabilities * real[:, :, None] * real[:, None, :]


def flow_error(device: torch.device, length: int = 700) -> dict[str, float]:
    """Largest relative error of potential, passage and throughput against the solves of PyTorch."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, length, length, generator=generator).to(device) * 2
    future = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
    attention = logits.masked_fill(future, -torch.inf).softmax(-1)
    position = torch.arange(length, device=device).expand(3, -1)
    question, answer = position < length // 4, (position >= length - 30).float()
    answer[:, -10:] = 0
    answer[:, -20:-15] *= 2.5
    worst_of: dict[str, float] = {}
    for answer_tokens in ("absorb", "relay"):
        exact = send_flow(
            attention.cpu(), question.cpu(), answer.cpu(), answer_tokens=answer_tokens
        )
        with kernels_everywhere():
            flow = send_flow(attention, question, answer, answer_tokens=answer_tokens)
        for name in ("reach", "passage", "throughput"):
            expected = getattr(exact, name).double()
            error = (getattr(flow, name).cpu().double() - expected).abs()
            relative = float((error / expected.clamp(min=1e-300))[expected > 0].max())
            worst_of[name] = max(worst_of.get(name, 0.0), relative)
    return worst_of
