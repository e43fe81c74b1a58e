"""Mean attention of a padded batch on a GPU without a mask: rows moved to the left, or packed.

Padding behind a text is seen by none of its tokens, so rows that begin in the first column need no mask
and take PyTorch's fastest attention. Where that would compute too much padding, the rows are packed into
one. The kernel writes each row's mean to its position in the padded result.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from flowtracer.attention.by_kernel import add_layer, kernel_reads
from flowtracer.attention.capture import LayerCall, Progress, visit_layers
from flowtracer.attention.causal import attend_causal, attend_packed, no_mask
from flowtracer.kernels.availability import kernels_run
from flowtracer.kernels.sequences import Sequences
from flowtracer.models.decoder import (
    device_of,
    find_decoder,
    is_sharded,
)
from flowtracer.models.layer_kinds import has_plain_attention, text_config
from flowtracer.models.padding import text_positions

LEAST_REAL = (
    0.8  # of the tokens of a batch, our choice: flash attention of packed rows takes twice as long
)

Attend = Callable[[LayerCall], tuple[Tensor | None, Tensor | None]]


@dataclass(frozen=True)
class Layout:
    """How the rows of a batch go through the model."""

    input_ids: Tensor
    position_ids: Tensor
    sequences: Sequences
    attend: Attend


def maskless(model: nn.Module) -> bool:
    """Whether a model's rows can be read so: on a GPU, in one piece, softmax attention only."""
    decoder = find_decoder(model)
    if not kernels_run(device_of(decoder)) or is_sharded(model):
        return False
    devices = {parameter.device for parameter in decoder.parameters()}
    return len(devices) == 1 and has_plain_attention(text_config(model))


def maskless_mean_attention(
    model: nn.Module,
    input_ids: Tensor,
    real: Tensor,
    layers: tuple[int, ...],
    *,
    least_real: float = LEAST_REAL,
    progress: Progress | None = None,
) -> Tensor | None:
    """Attention averaged over layers and heads, (B, T, T) float32; 0 in rows and columns of padding.

    None for a model with a layer that does not say what its queries see, or that the kernels cannot read.

    Shapes: input_ids and real (B, T), on the model's device; the real tokens of a row are contiguous.
    least_real: ratio of real tokens below which rows are packed.

    Raises AttentionCaptureError as `mean_attention`.
    """
    rows, length = input_ids.shape
    mean = torch.zeros(rows, length, length, dtype=torch.float32, device=real.device)
    counts = real.sum(1)
    lengths = counts.tolist()
    if not max(lengths):
        return mean
    layout = _layout(input_ids, real, counts, lengths, least_real=least_real)

    def visit(call: LayerCall) -> Tensor | None:
        if not call.says_window or (call.chosen and not kernel_reads(call)):
            raise _CannotRead
        output, logsumexp = (None, None) if call.last else layout.attend(call)
        if call.chosen:
            weight = 1 / (len(layers) * call.query.shape[1])
            add_layer(mean, replace(call, logsumexp=logsumexp), layout.sequences, weight=weight)
        return output

    inputs = {
        "input_ids": layout.input_ids,
        "position_ids": layout.position_ids,
        "use_cache": False,
    }
    try:
        visit_layers(model, inputs, layers, visit, mask=no_mask, progress=progress)
    except _CannotRead:
        return None
    return mean


class _CannotRead(Exception):
    """Ends the forward pass: a layer needs PyTorch's way."""


def _layout(
    input_ids: Tensor, real: Tensor, counts: Tensor, lengths: list[int], *, least_real: float
) -> Layout:
    """counts, lengths: the real tokens of each row, on the device and on the host."""
    rows, length = real.shape
    longest = max(lengths)
    first = real.int().argmax(1)
    row = torch.arange(rows, device=real.device)
    at = row * length * length + first * (length + 1)  # of each row's first token in the result
    if sum(lengths) >= least_real * rows * longest:
        column = torch.arange(longest, device=real.device).expand(rows, -1)
        ids = input_ids.gather(1, (first[:, None] + column).clamp(max=length - 1))
        sequences = Sequences.rows(counts, longest, at, length)
        return Layout(ids, column, sequences, attend_causal)
    bounds = torch.zeros(rows + 1, dtype=torch.int32, device=real.device)
    bounds[1:] = counts.cumsum(0)
    index = real.reshape(-1).nonzero()[:, 0]
    positions = text_positions(real).reshape(-1)[index]
    sequences = Sequences.packed(bounds[:-1].long(), counts, longest, at, length)
    return Layout(
        input_ids.reshape(-1)[index][None],
        positions[None],
        sequences,
        lambda call: attend_packed(call, bounds, lengths),
    )
