"""Mean attention of a model's chosen layers from one truncated forward pass.

transformers lets an attention function be registered by name; ours sees queries, keys and values
after rotary embedding and norms. The model is switched to it for the length of one call and is
exactly what it was afterwards. `output_attentions=True` is not used: it keeps L x H x T x T.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from flowtracer.attention.kernel import attend
from flowtracer.attention.layers import Layers, select_layers
from flowtracer.attention.memory import check_memory

INTERFACE = "flowtracer_mean"
SUPPORTED = (
    "decoder-only models of transformers that use its AttentionInterface (Llama, Mistral, Qwen, "
    "Gemma, Phi, gpt-oss and their like)"
)


class AttentionCaptureError(ValueError):
    """The model's attention cannot be captured; the message names its class and what can."""


@dataclass
class _Capture:
    """What one forward pass is to collect."""

    layers: tuple[int, ...]
    mean: Tensor  # (B, T, T) float32
    progress: Callable[[int, int], None] | None
    seen: set[int] = field(default_factory=set)


class _AllSeen(Exception):
    """Ends the forward pass: the last chosen layer's attention is known."""


_capture: ContextVar[_Capture] = ContextVar("flowtracer_capture")
_one_at_a_time = threading.RLock()  # the switch lives in the model's config, which threads share


def mean_attention(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    layers: Layers = "middle",
    position_ids: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Attention averaged over the chosen layers and all their heads, (B, T, T) float32.

    `[b, k, i]` is how much token k looks at token i. Rows and columns of padding are 0; the other
    rows sum to 1 (less with attention sinks, whose share goes nowhere). Layers above the last chosen
    one and the language-model head do not run; memory beyond the result is one block of queries.

    Args:
        model: a decoder-only model of transformers, PEFT-wrapped or compiled ones included.
        input_ids: (B, T).
        attention_mask: (B, T), 0 at padding, on either side. None: no padding.
        layers: see `select_layers`. Default "middle", section 3.3 of the paper.
        position_ids: (B, T). None: counted from each row's first token.
        progress: called with the layers done and the layers to do.

    Raises:
        AttentionCaptureError: the model's attention does not go through transformers' interface.
        ValueError: shapes disagree, a layer does not exist, or T x T does not fit into memory.
    """
    if input_ids.ndim != 2 or input_ids.shape[1] == 0:
        raise ValueError(f"input_ids has shape {tuple(input_ids.shape)}; it must be (B, T), T >= 1")
    if attention_mask is not None and attention_mask.shape != input_ids.shape:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)} but input_ids has "
            f"{tuple(input_ids.shape)}"
        )
    decoder = find_decoder(model)
    chosen = select_layers(layers, decoder.config.get_text_config().num_hidden_layers)
    device = next(decoder.get_input_embeddings().parameters()).device
    input_ids = input_ids.to(device)
    padded = attention_mask is not None and not bool(attention_mask.all())
    if attention_mask is not None and padded:
        attention_mask = attention_mask.to(device)
        if position_ids is None:
            position_ids = (attention_mask.long().cumsum(1) - 1).clamp(min=0)
    else:
        attention_mask = None  # lets the kernel use plain causality

    batch, length = input_ids.shape
    check_memory(4 * batch * length * length, device, length)
    mean = torch.zeros(batch, length, length, dtype=torch.float32, device=device)
    capture = _Capture(chosen, mean, progress)
    with _one_at_a_time, torch.no_grad(), _switched(decoder, type(model).__name__):
        token = _capture.set(capture)
        try:
            decoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                use_cache=False,
            )
        except _AllSeen:
            pass
        finally:
            _capture.reset(token)
    missing = sorted(set(chosen) - capture.seen)
    if missing:
        raise AttentionCaptureError(
            f"{type(decoder).__name__}: layers {missing} have no softmax attention to capture; "
            f"choose other layers or use {SUPPORTED}"
        )
    if attention_mask is not None:
        real = attention_mask.to(mean.dtype)
        mean.mul_(real[:, :, None]).mul_(real[:, None, :])
    return mean


def find_decoder(model: nn.Module) -> PreTrainedModel:
    """The stack of layers without head, out of compiled and PEFT wrappers.

    Raises AttentionCaptureError for anything that is not a decoder-only model of transformers.
    """
    inner: Any = getattr(model, "_orig_mod", model)
    if hasattr(inner, "get_base_model"):  # PEFT; the adapters live inside the base model
        if any(getattr(c, "is_prompt_learning", False) for c in inner.peft_config.values()):
            raise AttentionCaptureError(
                f"{type(inner).__name__}: prompt-learning adapters add tokens that have no place in "
                "the text; merge or remove the adapter"
            )
        inner = inner.get_base_model()
    inner = getattr(inner, "_orig_mod", inner)
    if not isinstance(inner, PreTrainedModel):
        raise AttentionCaptureError(
            f"{type(model).__name__} is not a transformers model; supported are {SUPPORTED}"
        )
    if getattr(inner.config, "is_encoder_decoder", False):
        raise AttentionCaptureError(
            f"{type(inner).__name__} is an encoder-decoder; supported are {SUPPORTED}"
        )
    return inner.get_decoder()


@contextmanager
def _switched(decoder: PreTrainedModel, name: str) -> Iterator[None]:
    """The decoder in evaluation mode and with our attention; everything restored on the way out."""
    # Both registrations are needed: without the mask's, padding and windows are silently lost.
    AttentionInterface.register(INTERFACE, _attention)
    AttentionMaskInterface.register(INTERFACE, sdpa_mask)
    configs: dict[int, Any] = {
        id(module.config): module.config
        for module in decoder.modules()
        if hasattr(getattr(module, "config", None), "_attn_implementation_internal")
    }
    before = [(config, config._attn_implementation) for config in configs.values()]
    training = [module for module in decoder.modules() if module.training]
    try:
        for module in training:
            module.training = False  # dropout would make the graph random
        decoder.set_attn_implementation(INTERFACE)
        if decoder.config._attn_implementation != INTERFACE:
            raise AttentionCaptureError(
                f"{name} does not take its attention from transformers' AttentionInterface; "
                f"supported are {SUPPORTED}"
            )
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation
        for module in training:
            module.training = True


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
    if kwargs.get("position_bias") is not None or getattr(module, "is_causal", True) is False:
        raise AttentionCaptureError(
            f"{type(module).__name__} looks ahead or adds a position bias, which is not captured; "
            f"supported are {SUPPORTED}"
        )
    kwargs.pop("dropout", None)
    if capture.progress:
        capture.progress(layer + 1, capture.layers[-1] + 1)
    if layer not in capture.layers and softcap is None and s_aux is None:
        plain, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain, None
    last = layer == capture.layers[-1]
    wanted = layer in capture.layers
    output = attend(
        query,
        key,
        None if last else value,
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        mask=attention_mask,
        softcap=softcap,
        sinks=s_aux,
        mean_into=capture.mean if wanted else None,
        share=1 / len(capture.layers),
    )
    if wanted:
        capture.seen.add(layer)
    if last:
        raise _AllSeen
    assert output is not None
    return output, None
