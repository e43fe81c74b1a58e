"""The decoder inside a model: its stack of layers, out of whatever wraps or shards it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

SUPPORTED = (
    "decoder-only models of transformers that use its AttentionInterface (Llama, Mistral, Qwen, "
    "Gemma, Phi, gpt-oss and their like)"
)


# Parts of a config that describe how other things than text come in, as models of transformers 5 and
# their forerunners with code of their own name them.
OTHER_INPUTS = re.compile("vision|visual|image|img|video|audio|speech|multimodal|vq_config")


# Models that are read with their pictures; each is tested against eager attention.
WITH_PICTURES = frozenset({
    "gemma3", "gemma4", "idefics3", "internvl", "llava", "mistral3", "qwen2_vl", "qwen2_5_vl", "qwen3_5",
    "qwen3_vl", "qwen3_vl_moe", "smolvlm",
})  # fmt: skip


class AttentionCaptureError(ValueError):
    """The model's attention cannot be captured; the message names its class and what is supported."""


def depth_of(model: nn.Module) -> int:
    """Number of layers."""
    return find_decoder(model).config.get_text_config().num_hidden_layers


def is_sharded(model: nn.Module) -> bool:
    """Whether FSDP or ZeRO-3 holds only a part of each weight in this process.

    Such a model must run from its first module to its last, or its hooks do not gather and free the
    weights, and every process must make the same calls.
    """
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return True
    return any(hasattr(p, "ds_id") or hasattr(p, "_local_tensor") for p in model.parameters())


def layer_stack(model: nn.Module) -> nn.ModuleList:
    """The model's layers in order. Raises AttentionCaptureError for a model without a list of them."""
    decoder = find_decoder(model)
    for stack in decoder.children():
        if isinstance(stack, nn.ModuleList) and len(stack) == depth_of(model):
            return stack
    raise AttentionCaptureError(
        f"{type(decoder).__name__} has no list of its layers; supported are {SUPPORTED}"
    )


@contextmanager
def first_layers_only(decoder: PreTrainedModel, count: int) -> Iterator[None]:
    """Run `count` layers in models that loop over `layers[:config.num_hidden_layers]`, as most do.

    The others run all of them.
    """
    config = decoder.config.get_text_config()
    before = config.num_hidden_layers
    config.num_hidden_layers = count
    try:
        yield
    finally:
        config.num_hidden_layers = before


def device_of(decoder: PreTrainedModel) -> torch.device:
    """Device for token ids: that of the embeddings, or, if FSDP1 took their weights, of any weight."""
    embeddings = decoder.get_input_embeddings().parameters()
    return next(chain(embeddings, decoder.parameters())).device


def find_decoder(model: nn.Module) -> PreTrainedModel:
    """The stack of layers without its head, taken out of FSDP, compiled and PEFT wrappers.

    Of a model that takes pictures it is the part that reads text.

    Raises AttentionCaptureError for anything that is not a decoder-only model of transformers for
    text, or for text and pictures.
    """
    inner = unwrapped(model)
    if getattr(inner.config, "is_encoder_decoder", False):
        raise AttentionCaptureError(
            f"{type(inner).__name__} is an encoder-decoder; supported are {SUPPORTED}"
        )
    check_inputs(inner.config, type(inner).__name__)
    decoder = inner.get_decoder()
    # ModernBERT calls its head `decoder`.
    return decoder if isinstance(decoder, PreTrainedModel) else inner.base_model  # type: ignore[return-value]


def unwrapped(model: nn.Module) -> PreTrainedModel:
    """The model of transformers inside FSDP, compiled and PEFT wrappers.

    Raises AttentionCaptureError for anything else, and for prompt-learning adapters.
    """
    inner: Any = getattr(model, "_orig_mod", model)
    inner = getattr(inner, "_fsdp_wrapped_module", inner)  # FSDP1; FSDP2 does not wrap
    if hasattr(inner, "get_base_model"):  # PEFT; the adapters live inside the base model
        if any(getattr(c, "is_prompt_learning", False) for c in inner.peft_config.values()):
            raise AttentionCaptureError(
                f"{type(inner).__name__}: prompt-learning adapters add tokens that are not in the "
                "text; merge or remove the adapter"
            )
        inner = inner.get_base_model()
    inner = getattr(inner, "_orig_mod", inner)
    if not isinstance(inner, PreTrainedModel):
        raise AttentionCaptureError(
            f"{type(model).__name__} is not a transformers model; supported are {SUPPORTED}"
        )
    return inner


def check_inputs(config: PreTrainedConfig, name: str) -> None:
    """Raise AttentionCaptureError for a model that takes more than text and is not `WITH_PICTURES`.

    name: of the model's class, for the error.
    """
    if config.model_type not in WITH_PICTURES:
        read = ", ".join(sorted(WITH_PICTURES))
        check_text_only(config, name, instead=f"a model of text only, or of the kinds {read}")


def check_text_only(
    config: PreTrainedConfig, name: str, *, instead: str = "a model of text only"
) -> None:
    """Raise AttentionCaptureError for a model that takes images, video or audio beside its text.

    It would be read without them. name: of the model's class, for the error. instead: what to use.
    """
    for key, value in vars(config).items():
        if OTHER_INPUTS.search(key) and isinstance(value, PreTrainedConfig | dict):
            raise AttentionCaptureError(
                f"{name} takes images, video or audio (`{key}` in its config), which are not read; "
                f"use {instead}"
            )
