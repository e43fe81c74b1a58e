"""Attention of texts without a mask on a GPU, and the logsumexp that PyTorch's kernels have anyway."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from flowtracer.attention.capture import LayerCall

WIDEST = 256  # head that flash attention takes


def no_mask(*args: Any, **kwargs: Any) -> None:
    """No T x T mask: padding follows its text, and windows are those that a layer states."""
    return None


def attend_causal(call: LayerCall) -> tuple[Tensor | None, Tensor | None]:
    """Output (B, T, Hq, D) of a layer and its logsumexp (B, Hq, T), None where no kernel gives it.

    Every query sees all tokens before it, or those in the layer's window. The operations are those that
    `scaled_dot_product_attention` would choose, so that outputs are the same, and gradients flow.
    """
    if not gives_logsumexp(call):
        return call.attend(window=call.window), None
    query, key, value = call.query, call.key, call.value
    if call.window is not None:
        length = query.shape[2]
        output, logsumexp, *_ = torch.ops.aten._flash_attention_forward(
            *(part.transpose(1, 2) for part in (query, key, value)),
            None, None, length, length, 0.0, True, False, scale=call.scaling,
            window_size_left=call.window - 1, window_size_right=0,
        )  # fmt: skip
        return output, logsumexp if logsumexp.shape == query.shape[:3] else None
    grouped = query.shape[1] != key.shape[1]
    backend = torch._fused_sdp_choice(query, key, value, None, 0.0, True, enable_gqa=grouped)
    if backend == SDPBackend.CUDNN_ATTENTION.value:
        output, logsumexp, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
            query, key, value, None, True, 0.0, True, False, scale=call.scaling
        )
    elif backend == SDPBackend.FLASH_ATTENTION.value:
        output, logsumexp, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
            query, key, value, 0.0, True, False, scale=call.scaling
        )
    else:
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=call.scaling, enable_gqa=grouped
        )
        return output.transpose(1, 2), None
    return output.transpose(1, 2), logsumexp.reshape(query.shape[:3])


def attend_packed(
    call: LayerCall, bounds: Tensor, lengths: Sequence[int]
) -> tuple[Tensor | None, Tensor | None]:
    """The same of sequences one after another in a single row, which do not see each other.

    bounds: (N + 1,) int32, where each begins and the last one ends. lengths: of each.
    """
    if not gives_logsumexp(call):
        return _one_by_one(call, lengths), None
    longest = max(lengths)
    window: dict[str, int] = {}
    if call.window is not None:
        window = {"window_size_left": call.window - 1, "window_size_right": 0}
    query, key, value = (part[0].transpose(0, 1) for part in (call.query, call.key, call.value))
    output, logsumexp, *_ = torch.ops.aten._flash_attention_forward(
        query, key, value, bounds, bounds, longest, longest, 0.0, True, False,
        scale=call.scaling, **window,
    )  # fmt: skip
    # Versions of PyTorch differ in its shape; where it is another, a kernel of ours computes it.
    usual = logsumexp.shape == (query.shape[1], query.shape[0])
    return output[None], logsumexp[None] if usual else None


def gives_logsumexp(call: LayerCall) -> bool:
    """Whether a kernel of PyTorch takes a layer: half precision on a GPU, as many queries as keys."""
    width = call.query.shape[3]
    return (
        call.softcap is None
        and call.sinks is None
        and call.query.is_cuda
        and call.query.shape[2] == call.key.shape[2] > 1
        and call.query.dtype in (torch.float16, torch.bfloat16)
        and call.query.dtype == call.key.dtype == call.value.dtype
        and width == call.value.shape[3]
        and width % 8 == 0
        and width <= WIDEST
    )


def _one_by_one(call: LayerCall, lengths: Sequence[int]) -> Tensor:
    """Sequence by sequence, for whatever flash attention does not do."""
    parts: list[Tensor] = []
    start = 0
    for length in lengths:
        if length:
            part = call.part(slice(start, start + length))
            output = part.attend(window=part.window)
            assert output is not None
            parts.append(output)
        start += length
    return torch.cat(parts, 1)
