"""Both solves of the flow in one launch."""

import torch
from torch import Tensor

BLOCK = 64  # tokens of a substitution, and of a panel's tile: our choice, registers of four warps
WARPS = 4


@torch.library.custom_op("flowtracer::solve_flow", mutates_args=())
def solve_flow(
    attention: Tensor, question: Tensor, sink: Tensor, relays: Tensor
) -> tuple[Tensor, Tensor]:
    """Potential h and passage g, (B, T) each in the dtype of `sink`.

    `h(i) = sink(i) + relays(i) sum over k > i of A[k, i] h(k)`, and with the unit source in equal parts
    on question tokens that have h > 0, `g(k) = source(k) / h(k) + sum over i < k of A[k, i] relays(i)
    g(i)` where h > 0, else 0. Values of h below the smallest normal number are 0.

    Shapes: attention (B, T, T) with its last stride 1, question (B, T) bool, sink and relays (B, T).
    """
    from triton import language

    from flowtracer.kernels.solve_kernel import solve_kernel

    texts, length = sink.shape
    potential, passage = torch.empty_like(sink), torch.empty_like(sink)
    solve_kernel[(texts,)](
        attention, question.to(torch.int8), sink, relays, potential, passage,
        attention.stride(0), attention.stride(1), length, torch.finfo(sink.dtype).tiny,
        BLOCK, BLOCK, language.float64 if sink.dtype == torch.float64 else language.float32,
        num_warps=WARPS,
    )  # fmt: skip
    return potential, passage


@solve_flow.register_fake
def _(attention: Tensor, question: Tensor, sink: Tensor, relays: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(sink), torch.empty_like(sink)
