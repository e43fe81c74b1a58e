"""One truncated forward pass that shows what every layer hands to its attention.

transformers' attention functions get queries, keys and values after rotary embedding and norms. The
model is switched to ours for the length of one pass and is exactly what it was afterwards.
`output_attentions=True` is not used: it keeps L x H x T x T.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import sdpa_mask

from flowtracer.attention.kernel import attend
from flowtracer.models import unsloth
from flowtracer.models.decoder import (
    SUPPORTED,
    AttentionCaptureError,
    find_decoder,
    first_layers_only,
    is_sharded,
)
from flowtracer.models.layer_kinds import PLAIN, layer_types
from flowtracer.models.pictures import (
    check_pictured,
    has_pictures,
    looks_ahead,
    run_with_pictures,
)
from flowtracer.models.swap import Mask, check_causal, swapped_attention

Progress = Callable[[int, int], None]  # layers done, layers to do


@dataclass(frozen=True)
class LayerCall:
    """What one layer hands to its attention function, for T queries and K keys."""

    layer: int
    module: nn.Module
    query: Tensor  # (B, Hq, T, D)
    key: Tensor  # (B, Hkv, K, D), those of a cache first
    value: Tensor  # (B, Hkv, K, D)
    mask: Tensor | None  # as the model passed it; None: plain causal attention
    scaling: float
    softcap: float | None  # Gemma 2
    sinks: Tensor | None  # (Hq,), gpt-oss
    window: int | None  # tokens that a query sees, itself included, where fewer than K
    arguments: Mapping[str, Any]  # whatever else transformers passes
    chosen: bool  # whether the layer is one of those to visit
    last: bool  # whether its output is not needed, because no layer runs behind it or ours is not asked
    logsumexp: Tensor | None = None  # (B, Hq, T) float32, where the attention function gave it
    by_mask: bool = False  # whether only the mask says what a query sees, later tokens included

    def take(self, rows: Tensor | slice, columns: slice) -> "LayerCall":
        """Some rows (indices) and a range of columns, the same of queries and keys."""
        if isinstance(rows, Tensor):
            rows = rows.to(self.query.device)  # layers may live on several devices
        mask = self.mask
        if mask is not None:
            mask = (mask if len(mask) == 1 else mask[rows])[:, :, columns, columns]
        query, key, value = (
            part[rows][:, :, columns] for part in (self.query, self.key, self.value)
        )
        known = self.logsumexp
        if known is not None:  # of all keys in front, so only of columns from the first on
            known = None if columns.start else known[rows][:, :, columns]
        return replace(self, query=query, key=key, value=value, mask=mask, logsumexp=known)

    @property
    def says_window(self) -> bool:
        """Whether what a query sees is known without the mask: everything before it, or a window.

        Padding is no matter: who asks knows it. A mask of each head is the layer's own (Doge).
        """
        if self.by_mask or (self.mask is not None and self.mask.shape[1] > 1):
            return False
        config = getattr(self.module, "config", None)
        kinds = layer_types(config)
        windowed = getattr(config, "sliding_window", None) is not None
        kind = kinds[self.layer] if kinds else ("sliding" if windowed else "attention")
        named = self.arguments.get("sliding_window") is not None
        return kind in PLAIN | {"sliding"} and ("sliding" not in kind or named)

    def part(self, columns: slice) -> "LayerCall":
        """The same for some of the tokens only, which see nothing of the others."""
        query, key, value = (part[:, :, columns] for part in (self.query, self.key, self.value))
        window = self.window if self.window and self.window < key.shape[2] else None
        part = replace(self, query=query, key=key, value=value, window=window)
        return replace(part, mask=None, logsumexp=None)

    def attend(self, **options: Any) -> Tensor | None:
        """Output (B, T, Hq, D), None of the last layer. options: `read` and others of `attend`."""
        return attend(
            self.query,
            self.key,
            None if self.last else self.value,
            scaling=self.scaling,
            softcap=self.softcap,
            sinks=self.sinks,
            looks_ahead=self.by_mask,
            **options,
        )


Visitor = Callable[[LayerCall], Tensor | None]  # the layer's output (B, T, Hq, D), None of the last


def layer_call(
    module: nn.Module,
    states: tuple[Tensor, Tensor, Tensor],
    mask: Tensor | None,
    arguments: Mapping[str, Any],
    *,
    chosen: bool,
    last: bool,
    by_mask: bool = False,
) -> LayerCall:
    """What transformers passes to an attention function, named.

    states: queries, keys and values. arguments: what is passed by name. by_mask: see `LayerCall`.

    Raises AttentionCaptureError for attention that is not captured, see `check_causal`.
    """
    check_causal(module, arguments)
    rest = dict(arguments)
    rest.pop("dropout", None)  # attention is read without it
    scaling, softcap, sinks = (rest.pop(name, None) for name in ("scaling", "softcap", "s_aux"))
    query, key, value = states
    window = rest.get("sliding_window")
    return LayerCall(
        module.layer_idx,  # type: ignore[arg-type]
        module,
        query,
        key,
        value,
        mask,
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        softcap=softcap,
        sinks=sinks,
        window=window if window and window < key.shape[2] else None,
        arguments=rest,
        chosen=chosen,
        last=last,
        by_mask=by_mask,
    )


class _AllSeen(Exception):
    """Ends the forward pass: the last chosen layer was visited."""


def visit_layers(
    model: nn.Module,
    inputs: Mapping[str, Any],
    layers: Collection[int],
    visit: Visitor,
    *,
    mask: Mask = sdpa_mask,
    progress: Progress | None = None,
) -> None:
    """Run the model up to the last of `layers`, with `visit` in place of every layer's attention.

    Layers behind it and the language-model head do not run, unless the model is sharded and has to be
    left at its end.

    inputs: what the stack of layers is called with, or, where pictures are among it, the complete model.
    mask: makes the attention mask, see transformers.
    progress: called with the layers done and the layers to do.

    Raises AttentionCaptureError for a model or a layer whose attention cannot be captured, and for tokens
    that stand for pictures which are not among the inputs.
    """
    decoder = find_decoder(model)
    check_pictured(model, inputs.get("input_ids"), inputs)
    by_mask = has_pictures(inputs) and looks_ahead(model)
    sharded = is_sharded(model)
    top = max(layers)
    visited: set[int] = set()

    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **arguments: Any,
    ) -> tuple[Tensor, None]:
        layer = _number_of(module, visited, decoder)
        if progress:
            progress(layer + 1, top + 1)
        call = layer_call(
            module,
            (query, key, value),
            attention_mask,
            arguments,
            chosen=layer in layers,
            last=layer == top and not sharded,
            by_mask=by_mask,
        )
        output = visit(call)
        visited.add(layer)
        if call.last:
            raise _AllSeen
        assert output is not None
        return output, None

    swapped = swapped_attention(decoder, attention, mask, name=type(model).__name__)
    with torch.no_grad(), swapped, suppress(_AllSeen):
        _run(model, inputs, top + 1)
    missing = sorted(set(layers) - visited)
    if missing:
        unsloth.check_model(model)
        raise AttentionCaptureError(
            f"{type(decoder).__name__}: layers {missing} have no softmax attention to capture; "
            f"choose other layers or use {SUPPORTED}"
        )


def _number_of(module: nn.Module, visited: Collection[int], decoder: nn.Module) -> int:
    """The layer that an attention module is in. Raises AttentionCaptureError if that is not clear."""
    layer = getattr(module, "layer_idx", None)
    if not isinstance(layer, int) or layer < 0 or layer in visited:
        raise AttentionCaptureError(
            f"{type(decoder).__name__} does not have one attention a layer; supported are {SUPPORTED}"
        )
    return layer


def _run(model: nn.Module, inputs: Mapping[str, Any], count: int) -> None:
    """The first `count` layers of the model, at least."""
    decoder = find_decoder(model)
    pictures = run_with_pictures(model) if has_pictures(inputs) else nullcontext()
    if is_sharded(model):
        with pictures, first_layers_only(decoder, count):
            model(**inputs, logits_to_keep=1)
    elif has_pictures(inputs):
        with pictures:
            model(**inputs, logits_to_keep=1)
    else:
        decoder(**inputs)
