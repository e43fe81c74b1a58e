"""Attention of a model's chosen layers from one truncated forward pass.

transformers lets an attention function be registered by name; ours sees queries, keys and values
after rotary embedding and norms. The model is switched to it for the length of one call and is
exactly what it was afterwards. `output_attentions=True` is not used: it keeps L x H x T x T.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from flowtracer.attention.kernel import attend
from flowtracer.models.decoder import (
    SUPPORTED,
    AttentionCaptureError,
    device_of,
    find_decoder,
    first_layers_only,
    is_sharded,
)
from flowtracer.models.swap import check_causal, switched

INTERFACE = "flowtracer_mean"
ReadLayerBlock = Callable[[int, int, Tensor], None]
BeginLayer = Callable[[nn.Module, Tensor], None]


@dataclass
class _Capture:
    """What one forward pass is to collect."""

    layers: tuple[int, ...]
    read: ReadLayerBlock
    begin: BeginLayer | None
    progress: Callable[[int, int], None] | None
    stop_early: bool
    seen: set[int] = field(default_factory=set)


class _AllSeen(Exception):
    """Ends the forward pass: the last chosen layer's attention is known."""


_capture: ContextVar[_Capture] = ContextVar("flowtracer_capture")


def read_attention(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    read: ReadLayerBlock,
    *,
    layers: tuple[int, ...],
    begin: BeginLayer | None = None,
    position_ids: Tensor | None = None,
    past: Cache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Show the chosen layers' attention to `read` while one truncated forward pass runs.

    `read(layer, start, P)` gets the probabilities of queries start..start + rows of one layer,
    (B, heads, rows, keys), keys from the first on; rows of padding hold numbers without meaning. P
    must be used at once: its memory is reused. `begin(module, value)` is called before a chosen
    layer's first block, with its module and its values (B, Hkv, T, D). past: a cache of what stands
    in front of `input_ids`, to which their keys and values are added; needs `position_ids`.
    Everything else as in `mean_attention`.
    """
    decoder = find_decoder(model)
    device = device_of(decoder)
    input_ids = input_ids.to(device)
    padded = attention_mask is not None and not bool(attention_mask.all())
    if attention_mask is not None and padded:
        attention_mask = attention_mask.to(device)
        if position_ids is None:
            position_ids = (attention_mask.long().cumsum(1) - 1).clamp(min=0)
    else:
        attention_mask = None  # lets the kernel use plain causality

    sharded = is_sharded(model)
    capture = _Capture(layers, read, begin, progress, stop_early=not sharded)
    inputs: dict[str, Any] = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "position_ids": position_ids,
        "past_key_values": past,
        "use_cache": past is not None,
    }
    ours = switched(decoder, INTERFACE, _attention, sdpa_mask, name=type(model).__name__)
    with torch.no_grad(), ours:
        token = _capture.set(capture)
        try:
            if sharded:
                with first_layers_only(decoder, layers[-1] + 1):
                    model(**inputs, logits_to_keep=1)
            else:
                decoder(**inputs)
        except _AllSeen:
            pass
        finally:
            _capture.reset(token)
    missing = sorted(set(layers) - capture.seen)
    if missing:
        raise AttentionCaptureError(
            f"{type(decoder).__name__}: layers {missing} have no softmax attention to capture; "
            f"choose other layers or use {SUPPORTED}"
        )


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention signature; query (B, Hq, T, D), key and value (B, Hkv, T, D)."""
    capture = _capture.get()
    layer: int = module.layer_idx  # type: ignore[assignment]
    check_causal(module, kwargs)
    kwargs.pop("dropout", None)
    if capture.progress:
        capture.progress(layer + 1, capture.layers[-1] + 1)
    if layer not in capture.layers and softcap is None and s_aux is None:
        plain, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain, None
    last = layer == capture.layers[-1] and capture.stop_early
    wanted = layer in capture.layers
    if wanted and capture.begin:
        capture.begin(module, value)
    output = attend(
        query,
        key,
        None if last else value,
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        mask=attention_mask,
        softcap=softcap,
        sinks=s_aux,
        read=partial(capture.read, layer) if wanted else None,
    )
    if wanted:
        capture.seen.add(layer)
    if last:
        raise _AllSeen
    assert output is not None
    return output, None
