"""Which layers' attention is averaged."""

from collections.abc import Iterable, Sequence
from itertools import chain

from torch import nn

from flowtracer.models.layer_kinds import check_readable, ranges, text_config

Layers = str | int | range | Iterable[int]
NAMES = ("middle", "early", "late", "all")


def select_layers(
    layers: Layers, depth: int, *, softmax: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Turn a layer choice into sorted 0-based layer numbers of a model with `depth` layers.

    Accepts "middle" (the default everywhere: floor(L/3) up to, not including, floor(2L/3); section
    3.3 of the paper), "early" (before the middle), "late" (after it), "all", one number, "10-20"
    (both ends included), "3,5,8", a range, or any iterable of numbers. Negative numbers count from
    the end. Of two layers the first is the middle, and so is a single layer (our choice).

    softmax: layers with softmax attention, where some have none. A name then means those of them that
    lie in its third, by depth; if none does, the nearest, which are two if they are equally far on
    either side (our choice: the paper has no hybrid models). Numbers stay strict.

    Raises ValueError if nothing is chosen, or a layer does not exist or has no softmax attention.
    """
    first, last = depth // 3, max(2 * depth // 3, depth // 3 + 1)
    named = {
        "middle": range(first, last),
        "early": range(first),
        "late": range(last, depth),
        "all": range(depth),
    }
    if isinstance(layers, str):
        chosen: Iterable[int] = named[layers] if layers in named else _parse(layers)
    elif isinstance(layers, int):
        chosen = [layers]
    else:
        chosen = layers
    numbers = set()
    for number in chosen:
        if not -depth <= number < depth:
            raise ValueError(
                f"layers: {number} does not exist; this model has layers 0 to {depth - 1}"
            )
        numbers.add(number % depth)
    if not numbers:
        raise ValueError(f"layers: {layers!r} chooses no layer of a model with {depth} layers")
    if softmax is not None and isinstance(layers, str) and layers in named:
        return nearest(softmax, min(numbers), max(numbers))
    without = sorted(numbers - set(softmax)) if softmax is not None else []
    if softmax is not None and without:
        raise ValueError(
            f"layers: {without[0]} has no softmax attention in this hybrid model; choose among "
            f"{ranges(softmax)}"
        )
    return tuple(sorted(numbers))


def nearest(softmax: Sequence[int], first: int, last: int) -> tuple[int, ...]:
    """Those of some ascending layers that lie in first..last, else the nearest to it on either side."""
    distance = {layer: max(first - layer, layer - last, 0) for layer in softmax}
    least = min(distance.values())
    return tuple(layer for layer in softmax if distance[layer] == least)


def model_layers(model: nn.Module, layers: Layers) -> tuple[int, ...]:
    """`select_layers` for a model, by the kinds of layers that its config names.

    Raises AttentionCaptureError for a model without softmax attention, or whose attention is not read.
    """
    config = text_config(model)
    softmax = check_readable(config, type(model).__name__)
    return select_layers(layers, config.num_hidden_layers, softmax=softmax)


def check_layers(layers: Layers) -> None:
    """Raise ValueError for a text that names no layers of any model."""
    if isinstance(layers, str) and layers not in NAMES:
        _parse(layers)


def _parse(text: str) -> Iterable[int]:
    """Read "7", "3,5,8" and "10-20"; of a range only as much as is requested."""
    ranges: list[Iterable[int]] = []
    try:
        for part in text.split(","):
            low, dash, high = (
                part.strip().partition("-") if part.strip()[:1] != "-" else (part, "", "")
            )
            ranges.append(range(int(low), int(high) + 1) if dash else [int(low)])
    except ValueError:
        raise ValueError(
            f"layers: cannot read {text!r}; use middle, early, late, all, '10-20' or '3,5,8'"
        ) from None
    return chain.from_iterable(ranges)
