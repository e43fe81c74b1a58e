"""A complete layer added to the mean by kernels, where they run and the mask is one that they know."""

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
) -> None:
    """Add `weight` times the sum over a layer's heads of its attention to `mean`, in place.

    mean: contiguous float32, as `sequences` describes it.
    """
    query, key = call.query, call.key
    logsumexp = call.logsumexp
    if logsumexp is None:
        logsumexp = layer_logsumexp(
            query,
            key,
            sequences.table,
            call.sinks,
            queries=sequences.queries,
            scaling=call.scaling,
            softcap=call.softcap or 0.0,
            window=call.window or 0,
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
    )
