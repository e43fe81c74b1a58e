"""Which layers' attention is averaged."""

from collections.abc import Iterable
from itertools import chain

Layers = str | int | range | Iterable[int]
NAMES = ("middle", "early", "late", "all")


def select_layers(layers: Layers, depth: int) -> tuple[int, ...]:
    """Turn a layer choice into sorted 0-based layer numbers of a model with `depth` layers.

    Accepts "middle" (the default everywhere: floor(L/3) up to, not including, floor(2L/3); section
    3.3 of the paper), "early" (before the middle), "late" (after it), "all", one number, "10-20"
    (both ends included), "3,5,8", a range, or any iterable of numbers. Negative numbers count from
    the end. A model with two layers has one middle layer, with one layer that one (our choice).

    Raises ValueError if nothing is chosen or a layer does not exist.
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
    return tuple(sorted(numbers))


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
