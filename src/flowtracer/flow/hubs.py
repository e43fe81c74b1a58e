"""Hubs: tokens of the response where the flow gathers."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hubs:
    """Local maxima of throughput, in the order of the text."""

    tokens: tuple[int, ...]
    spacing: tuple[int, ...]  # tokens from each hub to the next


def find_hubs(throughput: Tensor, response: Tensor, *, radius: int = 2) -> Hubs:
    """Tokens whose throughput is the largest within `radius` tokens and above the response's median.

    The paper speaks of periodic hubs without a definition; radius 2 and the median are our choice.
    (The mean would be set by the few answer tokens, which carry nearly everything.)

    Of equal neighbours the earlier one is the hub. Shapes: throughput and response (T,); only
    tokens where `response` is True take part. Distances count tokens of the entire sequence.
    """
    positions = response.nonzero()[:, 0]
    if len(positions) == 0:
        return Hubs((), ())
    values = throughput[positions].double()
    padded = torch.nn.functional.pad(values, (radius, radius), value=-torch.inf)
    windows = padded.unfold(0, 2 * radius + 1, 1)  # (n, 2 radius + 1), the token in the middle
    highest_before = windows[:, :radius].amax(1) if radius else torch.full_like(values, -torch.inf)
    peak = (values >= windows.amax(1)) & (values > highest_before) & (values > values.median())
    tokens = positions[peak]
    return Hubs(tuple(tokens.tolist()), tuple(tokens.diff().tolist()))
