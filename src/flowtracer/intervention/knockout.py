"""Attention knockout: hidden tokens do not exist as keys for any later token, in every layer and head.

`visible'[q, k] = visible[q, k] and not (hidden[k] and q != k)`: a hidden token still sees itself, so
that every token has something to attend to. Done where transformers makes its masks, once a
forward pass, so that sliding windows, caches and padding stay what they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import and_masks, sdpa_mask

from flowtracer.models.decoder import AttentionCaptureError, find_decoder
from flowtracer.models.layer_kinds import (
    keeps_plain_cache,
    named_layers,
    text_config,
    unseen_layers,
)
from flowtracer.models.swap import eager_attention, swapped_attention


@dataclass
class Knockout:
    """What is hidden in the next forward passes: (B, K) bool, K at least the number of keys."""

    hidden: Tensor | None = None

    def mask(self, *args: Any, **kwargs: Any) -> Tensor | None:
        """transformers' mask (B or 1, 1, Q, K), bool, without what is hidden."""
        hidden = self.hidden
        if hidden is None:
            return sdpa_mask(*args, **kwargs)

        def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return ~(hidden[row, key] & (query != key))

        kwargs["mask_function"] = and_masks(kwargs["mask_function"], visible)
        kwargs["allow_is_causal_skip"] = False
        return sdpa_mask(*args, **kwargs)


def check_knockout(model: nn.Module) -> None:
    """Raise AttentionCaptureError for a model in which a token cannot be hidden from all later ones."""
    config, name = text_config(model), type(model).__name__
    unseen = unseen_layers(config)
    if unseen:
        raise AttentionCaptureError(
            f"{name} is a hybrid model: attention knockout hides a token from softmax attention, and "
            f"{named_layers(unseen)} would pass it on; use a model with softmax attention alone"
        )
    if not keeps_plain_cache(config):
        raise AttentionCaptureError(
            f"{name} shares keys among layers, attends in chunks or to a selection of tokens, which "
            "attention knockout does not take; use another model"
        )


@contextmanager
def attention_knockout(model: nn.Module) -> Iterator[Knockout]:
    """The model in evaluation mode, without gradients, blind to the tokens in `knockout.hidden`.

    Set `knockout.hidden` before each forward pass. The model is exactly what it was afterwards.

    Raises AttentionCaptureError for a model that `check_knockout` refuses.
    """
    check_knockout(model)
    knockout = Knockout()
    swapped = swapped_attention(
        find_decoder(model), _attention, knockout.mask, name=type(model).__name__
    )
    with torch.no_grad(), swapped:
        yield knockout


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention signature; soft caps and sinks go to the model's own eager function."""
    if softcap is None and s_aux is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    if attention_mask is None:
        rows, columns = query.shape[2], key.shape[2]
        attention_mask = torch.ones(rows, columns, dtype=torch.bool, device=query.device)
        attention_mask = attention_mask.tril(columns - rows)[None, None]
    additive = torch.zeros(attention_mask.shape, dtype=query.dtype, device=query.device)
    additive.masked_fill_(~attention_mask, torch.finfo(query.dtype).min)
    extra = {"softcap": softcap} if softcap is not None else {"s_aux": s_aux}
    return eager_attention(module)(module, query, key, value, additive, **kwargs, **extra)
