"""Picking the few edges worth showing out of T x T, one strip of the graph at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

from flowtracer.flow.graph import Edge
from flowtracer.flow.targeted import AnswerFlow

STRIP_EDGES = 1 << 19  # edges of one strip, our choice: 4 MiB for each tensor over them
BINS = 1 << 16


def smallest_edge_set(
    flow: AnswerFlow,
    *,
    ratio: float = 0.9,
    limit: int | None = None,
    row: int = 0,
    strip_edges: int = STRIP_EDGES,
) -> list[Edge]:
    """The fewest edges that together carry `ratio` of all edge flow, strongest first.

    That is the shortest prefix of the edges, sorted from the strongest down, whose sum reaches
    `ratio` of the sum over all edges; `limit` cuts it to that many edges. Two passes over strips of
    `strip_edges` edges, never T x T: the first adds up flow in bins that are monotone in the value
    (exponent and upper 8 bits of the mantissa), the second collects and sorts only the edges in or
    above the bin where the ratio is reached. Ties go to the earlier target, then source.

    Raises ValueError if `ratio` is not in (0, 1].
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio is {ratio}; it must be above 0 and at most 1")
    flow = flow.row(row)
    mass = torch.zeros(BINS, dtype=torch.float64, device=flow.attention.device)
    count = torch.zeros(BINS, dtype=torch.long, device=flow.attention.device)
    for _, strip in _strips(flow, strip_edges):
        strip = strip.flatten()
        bins = _bin(strip)
        mass += torch.bincount(bins, weights=strip.double(), minlength=BINS)
        count += torch.bincount(bins, minlength=BINS)
    falling = mass.flip(0).cumsum(0)
    total = falling[-1]
    if total == 0:  # every question token is an answer token: nothing moves
        return []
    enough = falling >= ratio * total * (1 - 1e-12)
    if limit is not None:  # nothing below the bin in which the limit is reached is collected
        enough |= count.flip(0).cumsum(0) >= limit
    lowest = BINS - 1 - int(enough.int().argmax())

    sources, targets, values = [], [], []
    for start, strip in _strips(flow, strip_edges):
        target, source = torch.nonzero((_bin(strip) >= lowest) & (strip > 0), as_tuple=True)
        values.append(strip[target, source])
        targets.append(target + start)
        sources.append(source)
    value = torch.cat(values)
    order = value.argsort(descending=True, stable=True)
    reached = value[order].double().cumsum(0) >= ratio * total * (1 - 1e-12)
    needed = int(reached.int().argmax()) + 1 if bool(reached.any()) else len(order)
    kept = order[: needed if limit is None else min(needed, limit)]
    return _edges(torch.cat(sources)[kept], torch.cat(targets)[kept], value[kept])


def strongest_edges(
    flow: AnswerFlow, *, per_token: int = 4, row: int = 0, strip_edges: int = STRIP_EDGES
) -> list[Edge]:
    """The `per_token` strongest edges into and out of every token, each once, by target.

    Of every token also the strongest edge to a target that is no answer token. Linear in T: at most
    `(2 * per_token + 1) * T` edges. Edges without flow are left out.
    """
    flow = flow.row(row)
    answer = flow.sinks[0] > 0
    length = flow.attention.shape[1]
    keep = min(per_token, length)
    device = flow.attention.device
    best = torch.zeros(keep, length, dtype=flow.attention.dtype, device=device)  # out of each token
    best_target = torch.zeros(keep, length, dtype=torch.long, device=device)
    onward = torch.zeros(length, dtype=flow.attention.dtype, device=device)  # apart from the answer
    onward_target = torch.zeros(length, dtype=torch.long, device=device)
    sources, targets, values = [], [], []
    for start, strip in _strips(flow, strip_edges):
        numbers = torch.arange(start, start + strip.shape[0], device=device)
        into, source = strip.topk(keep, dim=1)
        values.append(into.flatten())
        sources.append(source.flatten())
        targets.append(numbers[:, None].expand(-1, keep).flatten())
        # Outgoing edges of a token lie in many strips: the best so far compete with this strip's.
        candidates = torch.cat([best, strip])
        candidate_targets = torch.cat([best_target, numbers[:, None].expand(-1, length)])
        best, chosen = candidates.topk(keep, dim=0)
        best_target = candidate_targets.gather(0, chosen)
        others = strip.masked_fill(answer[start : start + len(strip), None], 0.0).max(dim=0)
        onward_target = torch.where(others.values > onward, others.indices + start, onward_target)
        onward = torch.maximum(others.values, onward)
    values += [best.flatten(), onward]
    targets += [best_target.flatten(), onward_target]
    sources += [
        torch.arange(length, device=device).repeat(keep),
        torch.arange(length, device=device),
    ]

    value, source, target = torch.cat(values), torch.cat(sources), torch.cat(targets)
    key = (target * length + source)[value > 0]
    key, inverse = key.unique(return_inverse=True)
    merged = torch.zeros(len(key), dtype=value.dtype, device=device)
    merged[inverse] = value[value > 0]
    return _edges(key % length, key // length, merged)


def _strips(flow: AnswerFlow, strip_edges: int) -> Iterator[tuple[int, Tensor]]:
    """First target of each strip of a single row's edges, and its flow, (targets, sources)."""
    length = flow.attention.shape[1]
    step = max(8, strip_edges // length)
    for start in range(0, length, step):
        yield start, flow.edges_into(start, min(start + step, length))[0]


def _bin(values: Tensor) -> Tensor:
    """Monotone bin of each non-negative value."""
    return values.float().view(torch.int32).long() >> 15


def _edges(sources: Tensor, targets: Tensor, values: Tensor) -> list[Edge]:
    triples = zip(sources.tolist(), targets.tolist(), values.tolist(), strict=True)
    return [Edge(*triple) for triple in triples]
