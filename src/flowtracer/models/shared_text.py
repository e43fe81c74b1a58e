"""Attention of many rows to texts that they share, which are kept once, and to tokens of their own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from flowtracer.models.cache import Layers, RoomyLayer
from flowtracer.models.decoder import SUPPORTED, AttentionCaptureError
from flowtracer.models.swap import check_causal, swapped_attention

# Models whose layers attend by a plain softmax over all earlier tokens, or over those of a window, and
# that were tested here. Others copy the text to every row.
PLAIN = {"qwen2", "qwen3", "llama", "mistral", "phi3", "gemma3_text"}


def attend_shared(
    query: Tensor,
    text: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    bias: Tensor,
    *,
    scaling: float,
) -> Tensor:
    """Softmax attention of each row's newest token, (R, 1, Hq, D), in one softmax over both parts.

    Scores of the text are one matrix product for all rows, so that its keys are read once instead of
    once a row.

    query: (R, Hq, 1, D). text: keys and values (Hkv, T, D). own: keys and values (R, Hkv, n, D). bias:
    (R, T + n), 0 for what a row attends to, -inf elsewhere.
    """
    rows, heads, _, width = query.shape
    (text_keys, text_values), (keys, values) = text, own
    shared, tokens, _ = text_keys.shape
    grouped = (query * scaling).view(rows, shared, heads // shared, width)
    scores = query.new_empty(rows, shared, heads // shared, tokens + keys.shape[2])
    by_head = grouped.transpose(0, 1).reshape(shared, -1, width)
    scores[..., :tokens] = (by_head @ text_keys.mT).view(shared, rows, -1, tokens).transpose(0, 1)
    scores[..., tokens:] = grouped @ keys.mT
    scores += bias[:, None, None]
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    of_text = weights[..., :tokens].transpose(0, 1).reshape(shared, -1, tokens) @ text_values
    of_own = weights[..., tokens:] @ values
    output = of_text.view(shared, rows, *of_own.shape[2:]).transpose(0, 1) + of_own
    return output.reshape(rows, 1, heads, -1)


def can_share(decoder: PreTrainedModel, tokens: int) -> bool:
    """Whether a text of so many tokens is seen by plain softmax attention in every layer."""
    config: Any = decoder.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    return config.model_type in PLAIN and not (window and window < tokens)


@contextmanager
def attending_to(
    decoder: PreTrainedModel, text: Layers, cache: Cache, hidden: Callable[[], Tensor]
) -> Iterator[None]:
    """The decoder with every row of its input going on from a part of one text.

    It is called with a token a row and the cache, which holds the rows' own tokens only.

    text: of each layer keys and values, (1, Hkv, T, D); several texts may be joined to one. hidden: which of
    its tokens each row of the current call does not see, (R, T).
    """
    bias: Tensor | None = None  # of the current call, built by its first layer

    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        scaling: float | None = None,
        softcap: float | None = None,
        s_aux: Tensor | None = None,
        **arguments: Any,
    ) -> tuple[Tensor, None]:
        check_causal(module, arguments)
        if softcap is not None or s_aux is not None or attention_mask is not None:
            raise AttentionCaptureError(
                f"{type(module).__name__} caps its scores, has sinks or a mask of its own, which a "
                f"shared text does not take; supported are {SUPPORTED}"
            )
        number: int = module.layer_idx  # type: ignore[assignment]
        layer = cache.layers[number]
        assert isinstance(layer, RoomyLayer)
        own = layer.room
        nonlocal bias
        if number == 0:
            unused = torch.arange(own[0].shape[2], device=query.device) >= key.shape[2]
            unseen = torch.cat([hidden(), unused.expand(len(query), -1)], 1)
            bias = query.new_zeros(unseen.shape).masked_fill_(unseen, float("-inf"))
        assert bias is not None
        keys, values = text[number]
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        return attend_shared(query, (keys[0], values[0]), own, bias, scaling=scaling), None

    with swapped_attention(
        decoder, attention, lambda *args, **kwargs: None, name=type(decoder).__name__
    ):
        yield
