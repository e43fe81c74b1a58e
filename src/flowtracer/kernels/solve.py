"""Both solves of the flow in one launch."""

import torch
from torch import Tensor

from flowtracer.kernels.device import current_device

# Tokens of a substitution and of a panel's tile, warps: the fastest of seven on an H200.
BLOCK, PANEL, WARPS = 128, 64, 8
FEW, SHORT = 8, 1024  # texts and tokens, our choice: see `worth_it`


def worth_it(texts: int, length: int) -> bool:
    """Whether one program per text is faster than PyTorch's solves, which use the entire GPU for each.

    On an H200: 64 texts of 1,024 tokens 1.0 ms against 2.8, 16 of 8,192 tokens 15 against 17, but a
    single one of 8,192 14 against 2.6.
    """
    return texts >= FEW or length <= SHORT


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
    with current_device(sink.device):
        solve_kernel[(texts,)](
            attention, question.to(torch.int8), sink, relays, potential, passage,
            attention.stride(0), attention.stride(1), length, torch.finfo(sink.dtype).tiny,
            BLOCK, PANEL, language.float64 if sink.dtype == torch.float64 else language.float32,
            num_warps=WARPS,
        )  # fmt: skip
    return potential, passage


@solve_flow.register_fake
def _(attention: Tensor, question: Tensor, sink: Tensor, relays: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(sink), torch.empty_like(sink)
