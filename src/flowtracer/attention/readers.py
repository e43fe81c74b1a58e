"""Readers of attention, and the truncated forward pass that shows several of them their layers."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Protocol

from torch import Tensor, nn
from transformers import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from flowtracer.attention.capture import LayerCall, Progress, visit_layers
from flowtracer.models.decoder import device_of, find_decoder
from flowtracer.models.padding import text_positions
from flowtracer.models.pictures import ModelInputs, as_model_inputs


class AttentionReader(Protocol):
    """Takes in the attention of some layers, a block of queries at a time."""

    @property
    def layers(self) -> Collection[int]: ...

    def take(self, call: LayerCall) -> bool:
        """Add a complete layer without its probabilities; whether that was possible."""
        ...

    def read(self, call: LayerCall, start: int, weights: Tensor) -> None:
        """Queries start..start + rows of one layer, (B, heads, rows, keys), from start 0 on."""


def read_attention(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    readers: Sequence[AttentionReader],
    *,
    position_ids: Tensor | None = None,
    model_inputs: ModelInputs | None = None,
    past: Cache | None = None,
    progress: Progress | None = None,
) -> None:
    """Show every reader the attention of its layers while one truncated forward pass runs.

    A reader takes a complete layer, or gets the probabilities of a block of queries at a time, keys from the
    first on; rows of padding hold numbers without meaning. It must use them at once: their memory is
    reused.

    past: a cache of what precedes `input_ids`, to which their keys and values are added;
    needs `position_ids`. Everything else as in `mean_attention`.
    """
    device = device_of(find_decoder(model))
    known = as_model_inputs(model, model_inputs, input_ids)
    pictures = {} if known is None else known.arguments(device)
    padded = attention_mask is not None and not bool(attention_mask.all())
    if attention_mask is not None and padded:
        attention_mask = attention_mask.to(device)
        if position_ids is None and not pictures:  # the model itself knows where pictures stand
            position_ids = text_positions(attention_mask)
    else:
        attention_mask = None  # lets the kernel use plain causality

    def visit(call: LayerCall) -> Tensor | None:
        asking = [reader for reader in readers if call.layer in reader.layers]
        asking = [reader for reader in asking if not reader.take(call)]
        if not asking and call.last:
            return None
        if not asking and call.softcap is None and call.sinks is None:
            output, _ = sdpa_attention_forward(
                call.module,
                call.query,
                call.key,
                call.value,
                call.mask,
                scaling=call.scaling,
                **call.arguments,
            )
            return output
        return call.attend(mask=call.mask, read=partial(_show, asking, call) if asking else None)

    inputs = {
        "input_ids": input_ids.to(device),
        "attention_mask": attention_mask,
        "position_ids": position_ids,
        "past_key_values": past,
        "use_cache": past is not None,
    } | pictures
    layers = {layer for reader in readers for layer in reader.layers}
    visit_layers(model, inputs, layers, visit, progress=progress)


def _show(readers: Sequence[AttentionReader], call: LayerCall, start: int, weights: Tensor) -> None:
    for reader in readers:
        reader.read(call, start, weights)
