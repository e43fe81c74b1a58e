"""Which layers of a model attend by a softmax, and which pass on information by other means, by its config.

Hybrids mix layers of softmax attention with linear attention, convolutions or state spaces.
"""

import warnings
from collections.abc import Collection
from typing import Any

from torch import nn

from flowtracer.models.decoder import AttentionCaptureError, find_decoder

# Names in `layer_types`, those of transformers 4 included.
OTHER_MEANS = {"linear_attention", "conv", "mamba", "recurrent"}
BOTH = {"hybrid", "hybrid_sliding"}  # softmax attention beside a state space or a convolution
BY_TOKEN = {"moe", "mlp"}  # layers of their own that pass nothing from token to token
# Kinds whose softmax sees all earlier tokens, or those of a window that the layer states.
PLAIN = {"full_attention", "sliding_attention", "attention"} | BOTH
# Architectures, by `model_type`, whose mean attention would say something else than where information
# comes from, or cannot be told apart layer by layer.
NOT_READ = {
    "deepseek_v4": "attends to compressed tokens beside those of the text",
    "diffllama": "subtracts one softmax from another",
    "hrm_text": "runs each layer several times on one text",
    "longcat_flash": "has two attentions in each layer",
    "recurrent_gemma": "passes padding on through its recurrent layers, so that credit would depend on it",
    "zamba": "shares one attention among layers, which does not say in which of them it runs",
    "zamba2": "shares one attention among layers, which does not say in which of them it runs",
}


def layer_types(config: Any) -> list[str]:
    """The kind of each layer of a text config, as transformers names them; empty if it names none."""
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    return list(kinds or ())


def softmax_layers(config: Any) -> tuple[int, ...]:
    """Layers with softmax attention; all of them where the text config names no kinds."""
    kinds = layer_types(config) or ["full_attention"] * config.num_hidden_layers
    without = OTHER_MEANS | BY_TOKEN
    return tuple(number for number, kind in enumerate(kinds) if kind not in without)


def unseen_layers(config: Any) -> tuple[int, ...]:
    """Layers that pass information from token to token by other means than softmax attention."""
    by_other_means = OTHER_MEANS | BOTH
    return tuple(n for n, kind in enumerate(layer_types(config)) if kind in by_other_means)


def masks_are_plain(config: Any) -> bool:
    """Whether no layer with softmax attention sees chunks or a selection of the earlier tokens."""
    return set(layer_types(config)) <= PLAIN | OTHER_MEANS | BY_TOKEN


def has_plain_attention(config: Any) -> bool:
    """Whether every layer of a text config attends by a softmax, to all tokens or a window, and no more."""
    return set(layer_types(config)) <= {"full_attention", "sliding_attention"}


def keeps_plain_cache(config: Any) -> bool:
    """Whether every layer of a text config keeps keys and values of all tokens, and nothing else."""
    return has_plain_attention(config) and not getattr(config, "num_kv_shared_layers", 0)


def keeps_own_state(config: Any) -> bool:
    """Whether a model keeps what it has read elsewhere than in a cache of transformers."""
    return bool(config.model_type == "minimax")


def check_readable(config: Any, name: str) -> tuple[int, ...]:
    """Layers with softmax attention of a text config.

    name: of the model's class, for the error.

    Raises AttentionCaptureError, with the reason, for a model whose attention is not read.
    """
    reason = NOT_READ.get(config.model_type)
    if reason is not None:
        raise AttentionCaptureError(
            f"{name} {reason}; its attention is not captured, use another model"
        )
    softmax = softmax_layers(config)
    if not softmax:
        raise AttentionCaptureError(
            f"{name} has no layer with softmax attention, so there is nothing to capture; use another "
            "model"
        )
    return softmax


def text_config(model: nn.Module) -> Any:
    """The config of a model's stack of layers."""
    return find_decoder(model).config.get_text_config()


def unseen_note(unseen: Collection[int]) -> str:
    """What is not seen of a model with such layers, in one sentence; "" where there are none."""
    if not unseen:
        return ""
    return (
        f"what {named_layers(unseen)} of this hybrid model pass on by linear attention, a "
        "convolution or a state space is not seen, only softmax attention is"
    )


def warn_of_unseen(model: nn.Module) -> None:
    """Warn of a hybrid model that part of what it passes on is not seen."""
    note = unseen_note(unseen_layers(text_config(model)))
    if note:
        warnings.warn(f"{type(model).__name__}: {note}", stacklevel=3)


def named_layers(numbers: Collection[int]) -> str:
    """ "layer 3" or "layers 0-2, 4"."""
    return f"{'layer' if len(numbers) == 1 else 'layers'} {ranges(sorted(numbers))}"


def ranges(numbers: Collection[int]) -> str:
    """ "10-19" for consecutive ascending numbers, "1, 3-5" otherwise."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][-1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)
