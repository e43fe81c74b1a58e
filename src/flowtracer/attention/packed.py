"""Mean attention of a batch whose rows are packed into one without padding, on a GPU.

No mask is made, nothing is computed of padding, every attention is that of flash attention with
lengths; the kernel writes each row's mean where it stands in the padded result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.attention.by_kernel import add_layer, kernel_reads
from flowtracer.attention.capture import LayerCall, Progress, visit_layers
from flowtracer.kernels.availability import kernels_run
from flowtracer.kernels.sequences import Sequences
from flowtracer.models.decoder import (
    AttentionCaptureError,
    device_of,
    find_decoder,
    is_sharded,
    kinds_of_layers,
)


@dataclass(frozen=True)
class PackedRows:
    """Where N rows stand in one row of their real tokens."""

    index: Tensor  # (tokens,), of each token in the flattened batch
    bounds: Tensor  # (N + 1,) int32, where each row begins and the last one ends
    lengths: list[int]

    @classmethod
    def of(cls, real: Tensor) -> "PackedRows":
        """real: (B, T) bool; rows without tokens are rows of length 0."""
        counts = real.sum(1)
        bounds = torch.zeros(len(real) + 1, dtype=torch.int32, device=real.device)
        bounds[1:] = counts.cumsum(0)
        return cls(real.reshape(-1).nonzero()[:, 0], bounds, counts.tolist())


def can_pack(model: nn.Module) -> bool:
    """Whether a model's rows can be read packed: on a GPU, unsharded, softmax attention only."""
    decoder = find_decoder(model)
    if not kernels_run(device_of(decoder)) or is_sharded(model):
        return False
    devices = {parameter.device for parameter in decoder.parameters()}
    return len(devices) == 1 and kinds_of_layers(model) <= {"full_attention", "sliding_attention"}


def packed_mean_attention(
    model: nn.Module,
    input_ids: Tensor,
    real: Tensor,
    layers: tuple[int, ...],
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Attention averaged over layers and heads, (B, T, T) float32; 0 in rows and columns of padding.

    Shapes: input_ids and real (B, T), on the model's device; the real tokens of a row stand together.

    Raises AttentionCaptureError as `mean_attention`.
    """
    rows, length = input_ids.shape
    packed = PackedRows.of(real)
    first = real.int().argmax(1)
    row = torch.arange(rows, device=real.device)
    begins = packed.bounds[:-1].long()
    sequences = Sequences.packed(
        begins,
        packed.bounds.diff().long(),
        max(packed.lengths),
        row * length * length + first * length + first,
        length,
    )
    mean = torch.zeros(rows, length, length, dtype=torch.float32, device=real.device)

    def visit(call: LayerCall) -> Tensor | None:
        if not call.says_window or (call.chosen and not kernel_reads(call)):
            raise AttentionCaptureError(
                f"{type(call.module).__name__} does not say what its queries see, or has heads that "
                "the kernels cannot read; set `FLOWTRACER_KERNELS=0` in the environment"
            )
        output, logsumexp = (None, None) if call.last else attend_packed(call, packed)
        if call.chosen:
            weight = 1 / (len(layers) * call.query.shape[1])
            add_layer(mean, call, sequences, weight=weight, logsumexp=logsumexp)
        return output

    inputs = {
        "input_ids": input_ids.reshape(-1)[packed.index][None],
        "position_ids": (real.long().cumsum(1) - 1).reshape(-1)[packed.index][None],
        "use_cache": False,
    }
    visit_layers(model, inputs, layers, visit, mask=_no_mask, progress=progress)
    return mean


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """No T x T mask: rows are kept apart by their bounds."""
    return None


def attend_packed(call: LayerCall, packed: PackedRows) -> tuple[Tensor, Tensor | None]:
    """Output (1, tokens, Hq, D) of a layer and, where the kernel gives it, logsumexp (1, Hq, tokens)."""
    plain = call.softcap is None and call.sinks is None
    width = call.query.shape[3]
    half = call.query.dtype in (torch.float16, torch.bfloat16)
    same = call.query.dtype == call.key.dtype == call.value.dtype
    if plain and same and half and call.query.is_cuda and width % 8 == 0 and width <= 256:
        return _flash(call, packed)
    return _one_by_one(call, packed.lengths), None


def _flash(call: LayerCall, packed: PackedRows) -> tuple[Tensor, Tensor | None]:
    """PyTorch's flash attention of rows of given lengths."""
    query, key, value = (part[0].transpose(0, 1) for part in (call.query, call.key, call.value))
    longest = max(packed.lengths)
    window: dict[str, int] = {}
    if call.window is not None:
        window = {"window_size_left": call.window - 1, "window_size_right": 0}
    output, logsumexp, *_ = torch.ops.aten._flash_attention_forward(
        query, key, value, packed.bounds, packed.bounds, longest, longest, 0.0, True, False,
        scale=call.scaling, **window,
    )  # fmt: skip
    # Versions of PyTorch differ in its shape; where it is another, the kernel computes it.
    usual = logsumexp.shape == (query.shape[1], query.shape[0])
    return output[None], logsumexp[None] if usual else None


def _one_by_one(call: LayerCall, lengths: Sequence[int]) -> Tensor:
    """The same row by row, for whatever flash attention does not do."""
    parts = []
    start = 0
    for length in lengths:
        columns = slice(start, start + length)
        part = call.part(columns)
        if length:
            parts.append(part.attend(window=part.window))
        start += length
    return torch.cat([part for part in parts if part is not None], 1)
