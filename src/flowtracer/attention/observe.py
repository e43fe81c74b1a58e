"""A model's own forward pass, unchanged, while its layers' queries and keys are shown to an observer.

`visit_layers` makes a pass of its own; here a pass that runs anyway, such as that of a training
step, is looked at. Every layer calls the attention function and gets the mask that it would have had,
in the model's mode and with gradients.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from flowtracer.attention.capture import LayerCall, layer_call
from flowtracer.attention.causal import attend_causal, gives_logsumexp
from flowtracer.models.decoder import find_decoder
from flowtracer.models.layer_kinds import masks_are_plain, text_config
from flowtracer.models.pictures import looks_ahead
from flowtracer.models.swap import (
    masked_by_selection,
    named_attention,
    only_in_this_thread,
    restored_names,
    switch,
)

PREFIX = "flowtracer_over_"  # flash attention is recognised by the word in what follows
Observer = Callable[[LayerCall], None]


@dataclass
class _Observation:
    layers: frozenset[int]
    observe: Observer
    looks_ahead: bool = False  # whether picture tokens attend to later ones, as only the mask says
    seen: set[int] = field(default_factory=set)  # layers of the forward pass that runs


_observation: ContextVar[_Observation | None] = ContextVar("flowtracer_observation", default=None)


@contextmanager
def observe_layers(model: nn.Module, layers: Collection[int], observe: Observer) -> Iterator[None]:
    """Show what the chosen layers hand to their attention, in each forward pass within the block.

    `observe` is called without gradient and outside of autocast, once a layer and forward pass: what
    gradient checkpointing recomputes is not shown again. `LayerCall.mask` is what the model passed
    where that is a matrix (sdpa, eager); else None, for causal attention in the layer's window over
    tokens that are not padding. Other threads are not observed.

    The model must be one of which `why_not_observed` tells nothing. Raises AttentionCaptureError for one
    that does not take its attention from transformers' interface.
    """
    decoder = find_decoder(model)
    observation = _Observation(frozenset(layers), observe, looks_ahead(model))
    with restored_names(decoder) as before:
        switch(decoder, name=type(model).__name__)  # refuses a model that has no such switch
        for config, name in before:
            if name is not None:
                config._attn_implementation_internal = _observed_name(name)
        hook = decoder.register_forward_pre_hook(
            only_in_this_thread(lambda *args: observation.seen.clear())
        )
        token = _observation.set(observation)
        try:
            yield
        finally:
            _observation.reset(token)
            hook.remove()


def why_not_observed(model: nn.Module) -> str | None:
    """What keeps the model from being observed, in a few words; None: nothing."""
    decoder = find_decoder(model)
    compiled = hasattr(model, "_orig_mod") or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()
    )
    if compiled:
        return "the model is compiled"
    name = str(decoder.config._attn_implementation)
    with_mask = name in ("eager", "sdpa")
    if not with_mask and "flash" not in name and name != "flex_attention":
        return f"the model's attention is {name!r}"
    if not with_mask and not masks_are_plain(text_config(model)):
        return f"the model attends in chunks or to a selection of tokens, and its attention is {name!r}"
    return None


def _observed_name(original: str) -> str:
    """The name of an attention function that shows what it gets and calls the original."""
    if original.startswith(PREFIX):  # observed within an observation
        return original
    name = PREFIX + original
    AttentionInterface.register(name, partial(_attention, original))
    masks = AttentionMaskInterface()
    if original in masks:  # without an entry a model makes no mask, as with the original
        AttentionMaskInterface.register(name, masks[original])
    return name


def _attention(
    original: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    **arguments: Any,
) -> tuple[Tensor, Tensor | None]:
    function = named_attention(module, original)
    if original in ("eager", "sdpa"):  # others take the selection as it is
        attention_mask, arguments = masked_by_selection(key, attention_mask, arguments)
    observation = _observation.get()
    layer = getattr(module, "layer_idx", None)
    if observation is None or layer not in observation.layers or layer in observation.seen:
        return function(module, query, key, value, attention_mask, **arguments)
    observation.seen.add(layer)
    matrix = isinstance(attention_mask, Tensor) and attention_mask.ndim == 4
    mask = attention_mask if matrix else None
    call = layer_call(
        module,
        (query, key, value),
        mask,
        arguments,
        chosen=True,
        last=False,
        by_mask=matrix and observation.looks_ahead,
    )
    plain = original == "sdpa" and attention_mask is None and not arguments.get("dropout")
    logsumexp = None
    if plain and call.window is None and gives_logsumexp(call):
        output, logsumexp = attend_causal(call)  # what sdpa would call itself
        assert output is not None
        result: tuple[Tensor, Tensor | None] = (output, None)
    else:
        result = function(module, query, key, value, attention_mask, **arguments)
    states = {
        "query": query,
        "key": key,
        "value": value,
        "sinks": call.sinks,
        "logsumexp": logsumexp,
    }
    detached: dict[str, Any] = {
        name: None if part is None else part.detach() for name, part in states.items()
    }
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        observation.observe(replace(call, **detached, last=True))
    return result
