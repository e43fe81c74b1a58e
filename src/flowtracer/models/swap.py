"""A model with another attention function for the length of one block, and as it was afterwards.

transformers lets an attention function be registered by name. Ours is registered once; what it does
is set for the length of a block, so that every reader of attention goes through the same switch. The
switch is in the model's config, which threads share: a forward pass of another thread, which set
nothing, gets the attention that the model had before.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from flowtracer.models.decoder import SUPPORTED, AttentionCaptureError

INTERFACE = "flowtracer"
Attention = Callable[..., tuple[Tensor, Tensor | None]]  # transformers' signature
Mask = Callable[..., Tensor | None]


class _Swap(NamedTuple):
    attention: Attention
    mask: Mask


_swap: ContextVar[_Swap] = ContextVar("flowtracer_swap")
_lock = threading.RLock()
# What each config named before, by its id. Entries stay: a forward pass of another thread can still be
# under way when the switch ends.
_original: dict[int, str] = {}


@contextmanager
def swapped_attention(
    decoder: PreTrainedModel, attention: Attention, mask: Mask, *, name: str
) -> Iterator[None]:
    """The decoder in evaluation mode and with our attention; everything restored on the way out.

    name: of the model's class, for the error.

    Raises AttentionCaptureError for a model that does not take its attention from transformers'
    interface.
    """
    with evaluating(decoder), restored_names(decoder) as before:
        _original.update({id(config): name for config, name in before if name != INTERFACE})
        token = _swap.set(_Swap(attention, mask))
        try:
            with torch.compiler.set_stance("force_eager"):
                switch(decoder, name=name)
                yield
        finally:
            _swap.reset(token)


def switch(decoder: PreTrainedModel, *, name: str) -> None:
    """Make the decoder ask for the attention function of our name.

    name: of the model's class, for the error.

    Raises AttentionCaptureError for a model that does not take its attention from transformers'
    interface.
    """
    # Both registrations are needed: without the mask's, padding and windows are silently lost.
    AttentionInterface.register(INTERFACE, _attention)
    AttentionMaskInterface.register(INTERFACE, _mask)
    decoder.set_attn_implementation(INTERFACE)
    if decoder.config._attn_implementation != INTERFACE:
        raise AttentionCaptureError(
            f"{name} does not take its attention from transformers' AttentionInterface; "
            f"supported are {SUPPORTED}"
        )


@contextmanager
def restored_names(decoder: PreTrainedModel) -> Iterator[list[tuple[Any, str]]]:
    """Every config of the decoder with the name of its attention function, put back on the way out.

    One thread at a time, or one would put back what another has set.
    """
    with _lock:
        configs: dict[int, Any] = {
            id(module.config): module.config
            for module in decoder.modules()
            if hasattr(getattr(module, "config", None), "_attn_implementation_internal")
        }
        before = [(config, config._attn_implementation) for config in configs.values()]
        try:
            yield before
        finally:
            for config, implementation in before:
                config._attn_implementation_internal = implementation


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    **arguments: Any,
) -> tuple[Tensor, Tensor | None]:
    swap = _swap.get(None)
    attention = _own_attention(module) if swap is None else swap.attention
    attention_mask, arguments = masked_by_selection(key, attention_mask, arguments)
    return attention(module, query, key, value, attention_mask, **arguments)


def masked_by_selection(
    key: Tensor, attention_mask: Any, arguments: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Mask and other arguments of an attention function, with the keys that an indexer left out masked.

    Under "eager" and "sdpa" transformers' models (DeepSeek V3.2) put their selection into the mask; under
    any other name they pass it on, as `indices` (B, T, selected).
    """
    rest = dict(arguments)
    indices = rest.pop("indices", None)
    if indices is None:
        return attention_mask, rest
    left_out = indices.new_ones(*indices.shape[:2], key.shape[2], dtype=torch.bool)
    left_out = left_out.scatter(-1, indices.long(), False)[:, None]
    if attention_mask.dtype == torch.bool:
        return attention_mask & ~left_out, rest
    return attention_mask.masked_fill(left_out, torch.finfo(attention_mask.dtype).min), rest


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    swap = _swap.get(None)
    if swap is not None:
        return swap.mask(*args, **kwargs)
    mask: Mask = AttentionMaskInterface()[_original[id(kwargs["config"])]]
    return mask(*args, **kwargs)


def _own_attention(module: nn.Module) -> Attention:
    """The attention function that the model's config named before it was switched."""
    return named_attention(module, _original[id(module.config)])


def named_attention(module: nn.Module, name: str) -> Attention:
    """The attention function that an attention module takes for this name in its config."""
    if name == "eager":
        return eager_attention(module)
    functions = getattr(sys.modules[type(module).__module__], "ALL_ATTENTION_FUNCTIONS", None)
    function: Attention = (functions or AttentionInterface())[name]
    return function


def eager_attention(module: nn.Module) -> Attention:
    """The eager attention function of the model that an attention module belongs to."""
    eager: Attention | None
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if eager is None:
        raise AttentionCaptureError(
            f"{type(module).__name__} has no eager attention function; supported are {SUPPORTED}"
        )
    return eager


def only_in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook of a module that does nothing when another thread runs the model."""
    thread = threading.get_ident()

    def run(*args: Any) -> Any:
        return hook(*args) if threading.get_ident() == thread else None

    return run


def check_causal(module: nn.Module, arguments: Mapping[str, Any]) -> None:
    """Raise AttentionCaptureError for attention that looks ahead or adds a bias of its own.

    arguments: what the model passes to its attention function beside queries, keys and values.
    """
    if arguments.get("position_bias") is not None or getattr(module, "is_causal", True) is False:
        raise AttentionCaptureError(
            f"{type(module).__name__} looks ahead or adds a position bias, which is not captured; "
            f"supported are {SUPPORTED}"
        )
    if arguments.get("block_indices") is not None:
        raise AttentionCaptureError(
            f"{type(module).__name__} attends to selected blocks of tokens, which is not captured; "
            f"supported are {SUPPORTED}"
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode (dropout would make attention random), every module restored.

    One thread at a time, or one would restore what another still needs.
    """
    with _lock:
        training = [module for module in model.modules() if module.training]
        try:
            for module in training:
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True
