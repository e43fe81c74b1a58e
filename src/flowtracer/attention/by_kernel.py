"""A whole layer taken into the mean by kernels, where they run and know what its queries see."""

import torch
from torch import Tensor

from flowtracer.attention.capture import LayerCall
from flowtracer.kernels.availability import kernels_run
from flowtracer.kernels.head_sum import add_head_sum, fits, layer_logsumexp
from flowtracer.kernels.sequences import Sequences


def kernel_reads(call: LayerCall) -> bool:
    """Whether the kernels can read a layer: its device, its shapes, and what its queries see.

    What they see has to be said by a window alone, the mask is not read.
    """
    return kernels_run(call.query.device) and fits(call.query, call.key) and call.says_window


@torch.no_grad()
def add_layer(
    mean: Tensor,
    call: LayerCall,
    sequences: Sequences,
    *,
    weight: float,
    logsumexp: Tensor | None = None,
    rows: tuple[int, int] | None = None,
) -> None:
    """Add `weight` times the sum over a layer's heads of its attention to `mean`, in place.

    mean: contiguous float32, as `sequences` describes it. logsumexp: (B, Hq, T), where the layer's own
    attention gave it. rows: see `add_head_sum`.
    """
    query, key = call.query.detach(), call.key.detach()
    if logsumexp is None:
        logsumexp = layer_logsumexp(
            query,
            key,
            sequences.table,
            sequences.queries,
            call.scaling,
            call.softcap or 0.0,
            call.window or 0,
            None if call.sinks is None else call.sinks.detach(),
        )
    add_head_sum(
        mean,
        query,
        key,
        logsumexp,
        sequences,
        scaling=call.scaling,
        weight=weight,
        softcap=call.softcap,
        window=call.window,
        rows=rows,
    )
