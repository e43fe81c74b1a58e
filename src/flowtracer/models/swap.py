"""Swap a model's attention function, or its training mode, inside a `with` block."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from flowtracer.models.decoder import SUPPORTED, AttentionCaptureError

Attention = Callable[..., tuple[Tensor, Tensor | None]]  # transformers' signature
Mask = Callable[..., Tensor | None]

_swap_lock = threading.RLock()  # the setting is in the model's config, which threads share


@contextmanager
def switched(
    decoder: PreTrainedModel, interface: str, attention: Attention, mask: Mask, *, name: str
) -> Iterator[None]:
    """The decoder in evaluation mode and with our attention; everything is restored at the end.

    interface: the name to register under. name: of the model's class, for the error.

    Raises AttentionCaptureError for a model that does not take its attention from transformers'
    interface.
    """
    # Both registrations are needed: without the mask's, padding and windows are silently lost.
    AttentionInterface.register(interface, attention)
    AttentionMaskInterface.register(interface, mask)
    with _swap_lock, evaluating(decoder):  # dropout would make the graph random
        configs: dict[int, Any] = {
            id(module.config): module.config
            for module in decoder.modules()
            if hasattr(getattr(module, "config", None), "_attn_implementation_internal")
        }
        before = [(config, config._attn_implementation) for config in configs.values()]
        try:
            decoder.set_attn_implementation(interface)
            if decoder.config._attn_implementation != interface:
                raise AttentionCaptureError(
                    f"{name} does not take its attention from transformers' AttentionInterface; "
                    f"supported are {SUPPORTED}"
                )
            with torch.compiler.set_stance("force_eager"):
                yield
        finally:
            for config, implementation in before:
                config._attn_implementation_internal = implementation


def check_causal(module: nn.Module, arguments: Mapping[str, Any]) -> None:
    """Raise AttentionCaptureError for attention that looks ahead or adds a bias of its own.

    arguments: what the model passes to its attention function beside queries, keys and values.
    """
    if arguments.get("position_bias") is not None or getattr(module, "is_causal", True) is False:
        raise AttentionCaptureError(
            f"{type(module).__name__} looks ahead or adds a position bias, which is not captured; "
            f"supported are {SUPPORTED}"
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; every module is restored at the end."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True
